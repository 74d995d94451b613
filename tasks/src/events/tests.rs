use std::io::Write;

use super::*;

/// The events of a file, as `user item seconds rating` each.
fn read_with(file: &str, bytes: &[u8], options: &EventOptions) -> Result<Vec<String>> {
    let mut events = Vec::new();
    super::read(file, bytes.into(), options, &mut |_, event| {
        let mut text = format!("{} {}", event.user, event.item);
        if let Some(micros) = event.micros {
            text += &format!(" {}", micros as f64 / 1e6);
        }
        if let Some(rating) = event.rating {
            text += &format!(" {rating}");
        }
        events.push(text);
        Ok(())
    })?;
    Ok(events)
}

fn read(file: &str, text: &str) -> Result<Vec<String>> {
    read_with(file, text.as_bytes(), &EventOptions::default())
}

fn message(file: &str, text: &str) -> String {
    read(file, text).expect_err("a bad file").to_string()
}

/// The same two events in every text format that has times.
#[test]
fn all_formats_say_the_same() -> Result<()> {
    let files = [
        (
            "events.jsonl",
            r#"{"user_id": "ann", "item_id": "go", "timestamp": 1000000001, "rating": 5}
               {"user_id": "bob", "item_id": "ur", "timestamp": 1000000002.5, "rating": 4.5}"#,
        ),
        (
            "amazon-2014-and-2018.json",
            r#"{"helpful": [0, 1], "reviewerID": "ann", "asin": "go", "overall": 5.0, "unixReviewTime": 1000000001}
               {"reviewerID": "bob", "asin": "ur", "overall": 4.5, "unixReviewTime": "1000000002.5"}"#,
        ),
        (
            "amazon-2023",
            r#"{"rating": 5.0, "asin": "x", "parent_asin": "go", "user_id": "ann", "timestamp": 1000000001000}
               {"rating": 4.5, "asin": "y", "parent_asin": "ur", "user_id": "bob", "timestamp": 1000000002500}"#,
        ),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\nann,go,5,1000000001\nbob,\"ur\",4.5,1000000002.5\n",
        ),
        (
            "x.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\nann\tgo\t5\t1000000001.0\nbob\tur\t4.5\t1000000002.5",
        ),
        (
            "ratings.dat",
            "ann::go::5::1000000001\r\nbob::ur::4.5::1000000002.5\r\n",
        ),
        (
            "u.data",
            "ann\tgo\t5\t1000000001\nbob\tur\t4.5\t1000000002.5\n",
        ),
    ];
    for (file, text) in files {
        let expected = ["ann go 1000000001 5", "bob ur 1000000002.5 4.5"];
        assert_eq!(read(file, text)?, expected, "{file}");
        let options = EventOptions {
            time: Some(String::new()),
            rating: Some(String::new()),
            ..EventOptions::default()
        };
        let pairs = read_with(file, text.as_bytes(), &options)?;
        assert_eq!(pairs, ["ann go", "bob ur"], "{file}");
    }
    Ok(())
}

#[test]
fn lc_rec_lists_items_in_order() -> Result<()> {
    let text = "{\"0\": [7, \"b\"],\n \"1\": [], \"2\": [7]}";
    for file in ["x.inter.json", "no-ending"] {
        assert_eq!(read(file, text)?, ["0 7", "0 b", "2 7"]);
    }
    let long = format!("{{\"0\": [{}7]}}", "7, ".repeat(100_000));
    assert_eq!(read("x", &long)?.len(), 100_001);
    Ok(())
}

#[test]
fn compressed_files_are_read_and_cut_ones_refused() -> Result<()> {
    let mut text = String::from("user,item\n");
    for event in 0..1000 {
        text += &format!("{},{}\n", event * 7919 % 1013, event * 104_729 % 997);
    }
    let plain = read("x", &text)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("in memory");
    let gzip = gzip.finish().expect("in memory");
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("in memory");
    for (file, bytes) in [("x.csv.gz", gzip), ("x.csv.zst", zstd)] {
        let options = EventOptions::default();
        assert_eq!(read_with(file, &bytes, &options)?, plain);
        let stream = Input::Stream(Box::new(&bytes[..]));
        super::read(file, stream, &options, &mut |_, _| Ok(()))?;
        for end in 1..bytes.len() {
            read_with(file, &bytes[..end], &options).expect_err("cut off");
        }
    }
    Ok(())
}

#[test]
fn the_unit_of_time_is_told_by_its_size() -> Result<()> {
    let times = [
        ("0", "0"),
        ("-86400", "-86400"),
        ("99999999999", "99999999999"),
        ("1588687728923", "1588687728.923"),
        ("1588687728923456", "1588687728.923456"),
        ("1588687728923456000", "1588687728.923456"),
        (" 1e9 ", "1000000000"),
    ];
    for (time, seconds) in times {
        let text = format!("user,item,time\na,b,{time}\n");
        assert_eq!(read("x.csv", &text)?, [format!("a b {seconds}")]);
    }
    Ok(())
}

#[test]
fn fields_can_be_named() -> Result<()> {
    let text = "who,what,user_id,at\nann,go,1,5\n";
    let options = EventOptions {
        user: Some("who".into()),
        item: Some("what".into()),
        time: Some("at".into()),
        ..EventOptions::default()
    };
    assert_eq!(read_with("x.csv", text.as_bytes(), &options)?, ["ann go 5"]);
    let options = EventOptions {
        user: Some("whom".into()),
        ..options
    };
    assert_eq!(
        read_with("x.csv", text.as_bytes(), &options)
            .expect_err("no such field")
            .to_string(),
        "x.csv, line 1: there is no field \"whom\"; there are: who, what, user_id, at"
    );
    Ok(())
}

#[test]
fn errors_name_file_line_and_field() {
    let all = "jsonl, parquet, csv, lc-rec, recbole, movielens";
    let cases = [
        ("a", "\n", format!("a: the file is empty; the formats are {all}")),
        (
            "a",
            "hello",
            format!("a: neither content nor ending tells the format; the formats are {all}"),
        ),
        (
            "a.csv",
            "user,thing\n",
            "a.csv, line 1: no field looks like the item; name the one to use of: user, thing".into(),
        ),
        (
            "a.csv",
            "user,item,user\n",
            "a.csv, line 1: the header has an empty or repeated name \"user\"".into(),
        ),
        ("a.csv", "user,item\n1,2\n1\n", "a.csv, line 3: 1 cells, but the header has 2".into()),
        ("a.csv", "user,asin\n1,2\n1,\n", "a.csv, line 3: the item \"asin\" is missing".into()),
        (
            "a.csv",
            "user,item,ts\n1,2,2018-01-01\n",
            "a.csv, line 2: the time \"ts\" is \"2018-01-01\", not a number in range".into(),
        ),
        (
            "a.csv",
            "user,item,time\n1,2,1e300\n",
            "a.csv, line 2: the time is \"1e300\", not a number in range".into(),
        ),
        (
            "a.csv",
            "user,item,overall\n1,2,NaN\n",
            "a.csv, line 2: the rating \"overall\" is \"NaN\", not a number in range".into(),
        ),
        (
            "a.jsonl",
            "{\"user\": 1, \"item\": 2}\n{\"user\": [1], \"item\": 2}",
            "a.jsonl, line 2: column 10: the user: invalid type: sequence, expected a text or a number".into(),
        ),
        (
            "a.jsonl",
            "{\"user\": 1, \"item\": 2}\n\n{\"user\": 1",
            "a.jsonl, line 3: column 10: EOF while parsing an object".into(),
        ),
        (
            "a.jsonl",
            "{\"user\": 1, \"item\": 2, \"ts\": 3}\n{\"user\": 1, \"item\": 3, \"ts\": null}",
            "a.jsonl, line 2: the time \"ts\" is missing".into(),
        ),
        (
            "a.inter",
            "{\"1\": [2],\n\"2\": [3, null]}",
            "a.inter, entry 2: the item is missing".into(),
        ),
        (
            "a.inter",
            "{\"1\": [2],\n\"2\": 3}",
            "a.inter, line 2: column 7: invalid type: integer `3`, expected a list of items".into(),
        ),
        (
            "u.data",
            "1\t2\t3\t4\n1\t2\t3\n",
            "u.data, line 2: 3 cells, but a MovieLens rating has 4".into(),
        ),
    ];
    for (file, text, expected) in cases {
        assert_eq!(message(file, text), expected);
    }
    let options = EventOptions::default();
    for (text, expected) in [
        (&b"user,item\n1,\xff\n"[..], "a, line 2: cell 2: not UTF-8"),
        (b"1\t2\t3\t4\n1\t\xff", "a, line 2: column 3: not UTF-8"),
    ] {
        let error = read_with("a", text, &options).expect_err("not UTF-8");
        assert_eq!(error.to_string(), expected);
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// `ann B01 1000000001 5` and `bob B02 1000000002.5 4.5`, times in milliseconds.
    fn file() -> Vec<u8> {
        let schema = "message events {
            required int64 id;
            required binary user_id (UTF8);
            required binary asin (UTF8);
            optional int64 timestamp (TIMESTAMP_MILLIS);
            required double rating;
        }";
        let schema = Arc::new(parse_message_type(schema).expect("schema"));
        let mut file = Vec::new();
        let properties = Arc::new(WriterProperties::default());
        let mut writer = SerializedFileWriter::new(&mut file, schema, properties).expect("writer");
        let mut rows = writer.next_row_group().expect("row group");
        macro_rules! column {
            ($type:ty, $values:expr, $levels:expr) => {
                let mut column = rows.next_column().expect("next").expect("column");
                let values = $values;
                column
                    .typed::<$type>()
                    .write_batch(&values, $levels, None)
                    .expect("values");
                column.close().expect("close");
            };
        }
        column!(Int64Type, [1, 2], None);
        column!(ByteArrayType, ["ann", "bob"].map(ByteArray::from), None);
        column!(ByteArrayType, ["B01", "B02"].map(ByteArray::from), None);
        column!(
            Int64Type,
            [1_000_000_001_000, 1_000_000_002_500],
            Some(&[1, 1][..])
        );
        column!(DoubleType, [5.0, 4.5], None);
        rows.close().expect("close");
        writer.close().expect("close");
        file
    }

    #[test]
    fn rows_are_read_from_bytes_and_files() -> Result<()> {
        let (bytes, options) = (file(), EventOptions::default());
        let expected = ["ann B01 1000000001 5", "bob B02 1000000002.5 4.5"];
        assert_eq!(read_with("x", &bytes, &options)?, expected);

        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        let mut items = Vec::new();
        super::super::read("x", file.into(), &options, &mut |place, event| {
            items.push(format!("{place}: {}", event.item));
            Ok(())
        })?;
        assert_eq!(items, ["row 1: B01", "row 2: B02"]);

        let stream = Input::Stream(Box::new(&bytes[..]));
        let error = super::super::read("x", stream, &options, &mut |_, _| Ok(()));
        assert_eq!(
            error.expect_err("a stream").to_string(),
            "x: a stream; Parquet is read from a file only"
        );
        Ok(())
    }

    /// Run with `carB01 nextest run -p semid-tasks --features parquet --run-ignored only`.
    #[test]
    #[ignore = "writes the binary seed of the fuzz target anew"]
    fn write_seeds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/events_parquet");
        std::fs::write(format!("{folder}/games.parquet"), file()).expect("writable");
    }
}
