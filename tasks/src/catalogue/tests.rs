use super::*;

fn read(file: &str, text: &str) -> Result<Catalogue> {
    Catalogue::read(file, text.as_bytes(), &ItemOptions::default())
}

fn keys(catalogue: &Catalogue) -> Vec<&str> {
    catalogue.keys().iter().collect()
}

fn message(file: &str, text: &str) -> String {
    read(file, text).expect_err("a bad file").to_string()
}

/// The same two items in every text format.
#[test]
fn all_formats_say_the_same() -> Result<()> {
    let files = [
        (
            "items.jsonl",
            r#"{"item_id": "7", "title": "Toy Story", "genres": "Comedy"}
               {"item_id": "9", "title": "Heat", "genres": null}"#,
        ),
        (
            "Toys.item.json",
            r#"{"7": {"title": "Toy Story", "categories": "Comedy"},
                "9": {"title": "Heat", "categories": ""}}"#,
        ),
        (
            "items.csv",
            "movieId,title,genres\n7,\"Toy Story\",Comedy\n9,Heat,\n",
        ),
        (
            "toys.item",
            "item_id:token\tmovie_title:token_seq\tclass:token_seq\n7\tToy Story\tComedy\n9\tHeat\t\n",
        ),
    ];
    for (file, text) in files {
        let catalogue = read(file, text)?;
        assert_eq!(keys(&catalogue), ["7", "9"], "{file}");
        let (story, heat) = (ItemId(0), ItemId(1));
        assert_eq!(catalogue.text(story, "title"), Some("Toy Story"), "{file}");
        assert_eq!(
            catalogue.text(story, "categories"),
            Some("Comedy"),
            "{file}"
        );
        assert_eq!(catalogue.text(heat, "categories"), None, "{file}");
        assert!(!catalogue.has_field("description"), "{file}");
        let texts: Vec<_> = catalogue.texts(&["title", "categories"])?.collect();
        assert_eq!(texts, ["Toy Story. Comedy", "Heat"], "{file}");
    }
    Ok(())
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_reads_lists_numbers_and_gaps() -> Result<()> {
    let catalogue = Catalogue::read("items.bin", &parquet_file(), &ItemOptions::default())?;
    assert_eq!(keys(&catalogue), ["7", "9"]);
    assert_eq!(
        catalogue.text(ItemId(0), "categories"),
        Some("Comedy, Family")
    );
    assert_eq!(catalogue.text(ItemId(1), "title"), None);

    let mut broken = parquet_file();
    broken.truncate(broken.len() / 2);
    Catalogue::read("items.bin", &broken, &ItemOptions::default()).expect_err("cut off");
    Ok(())
}

/// Run with `cargo nextest run -p semid-tasks --features parquet --run-ignored only`.
#[cfg(feature = "parquet")]
#[test]
#[ignore = "writes the binary seed of the fuzz target anew"]
fn write_seeds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/items_parquet");
    std::fs::write(format!("{folder}/films.parquet"), parquet_file()).expect("writable");
}

/// Keys 7 and 9; only the first has a title and categories.
#[cfg(feature = "parquet")]
fn parquet_file() -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use std::sync::Arc;

    let schema = "message items {
        required int64 id;
        optional binary title (UTF8);
        optional group categories (LIST) { repeated group list { optional binary element (UTF8); } }
    }";
    let schema = ::parquet::schema::parser::parse_message_type(schema).expect("schema");
    let properties = Arc::new(WriterProperties::default());
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, Arc::new(schema), properties).expect("writer");
    let mut rows = writer.next_row_group().expect("row group");
    let bytes = |texts: &[&str]| {
        texts
            .iter()
            .map(|t| ByteArray::from(*t))
            .collect::<Vec<_>>()
    };

    let mut column = rows.next_column().expect("next").expect("id");
    column
        .typed::<Int64Type>()
        .write_batch(&[7, 9], None, None)
        .expect("ids");
    column.close().expect("close");
    let mut column = rows.next_column().expect("next").expect("title");
    let titles = bytes(&["Toy Story"]);
    column
        .typed::<ByteArrayType>()
        .write_batch(&titles, Some(&[1, 0]), None)
        .expect("titles");
    column.close().expect("close");
    let mut column = rows.next_column().expect("next").expect("categories");
    let categories = bytes(&["Comedy", "Family"]);
    column
        .typed::<ByteArrayType>()
        .write_batch(&categories, Some(&[3, 3, 0]), Some(&[0, 1, 0]))
        .expect("categories");
    column.close().expect("close");
    rows.close().expect("close");
    writer.close().expect("close");
    file
}

#[test]
fn lc_rec_items_follow_the_numbers_of_their_keys() -> Result<()> {
    let item = |key: usize| format!(r#""{key}": {{"title": "title {key}"}}"#);
    // As a tool that sorts keys as strings writes them.
    let mut order: Vec<usize> = (0..12).collect();
    order.sort_by_key(usize::to_string);
    let items: Vec<_> = order.into_iter().map(item).collect();
    let catalogue = read("x.item.json", &format!("{{{}}}", items.join(",")))?;

    let texts: Vec<_> = catalogue.texts(&["title"])?.collect();
    let expected: Vec<_> = (0..12).map(|key| format!("title {key}")).collect();
    assert_eq!(texts, expected);

    let words = r#"{"b": {"title": "x"}, "a": {"title": "y"}}"#;
    assert_eq!(keys(&read("x.item.json", words)?), ["b", "a"]);
    Ok(())
}

#[test]
fn texts_are_cleaned_and_the_changes_counted() -> Result<()> {
    let catalogue = read(
        "items.jsonl",
        r#"{"id": 1, "title": "Pok&eacute;mon  &amp;\n Friends. ", "year": 1998, "details": {"a": 1}}
           {"id": 2, "title": ".", "tags": ["  ", ["a", "b&#39;s"]]}"#,
    )?;
    assert_eq!(
        catalogue.text(ItemId(0), "title"),
        Some("Pokémon & Friends.")
    );
    assert_eq!(catalogue.text(ItemId(0), "year"), Some("1998"));
    assert_eq!(catalogue.text(ItemId(1), "title"), None);
    assert_eq!(catalogue.text(ItemId(1), "tags"), Some("a, b's"));
    assert_eq!(
        catalogue.fields().collect::<Vec<_>>(),
        ["title", "year", "tags"]
    );
    let expected = Cleaning {
        entities_decoded: 2,
        space_normalized: 2,
        nested_skipped: 1,
    };
    assert_eq!(catalogue.cleaning(), expected);
    Ok(())
}

#[test]
fn the_key_field_can_be_named() -> Result<()> {
    let text = r#"{"0": {"asin": "B9", "title": "x"}, "1": {"asin": "B1", "title": "y"}}"#;
    assert_eq!(keys(&read("x.item.json", text)?), ["0", "1"]);

    let options = ItemOptions {
        key: Some("asin".to_owned()),
        ..ItemOptions::default()
    };
    let catalogue = Catalogue::read("x.item.json", text.as_bytes(), &options)?;
    assert_eq!(keys(&catalogue), ["B9", "B1"]);
    assert!(!catalogue.has_field("asin"));
    Ok(())
}

#[test]
fn content_and_ending_tell_the_format() -> Result<()> {
    let one = r#"{"id": "a", "title": "x"}"#;
    assert_eq!(keys(&read("no-ending", one)?), ["a"]);
    let lc_rec = r#"{"a": {"title": "x"}}"#;
    assert_eq!(keys(&read("no-ending", lc_rec)?), ["a"]);
    assert_eq!(keys(&read("x.csv", "\u{feff}id,title\na,x\n")?), ["a"]);

    let options = ItemOptions {
        format: Some(ItemFormat::Csv),
        ..ItemOptions::default()
    };
    let forced = Catalogue::read("no-ending", b"id,title\na,x\n", &options)?;
    assert_eq!(keys(&forced), ["a"]);
    assert_eq!("lc-rec".parse(), Ok(ItemFormat::LcRec));
    assert_eq!(ItemFormat::LcRec.to_string(), "lc-rec");
    "xml".parse::<ItemFormat>().expect_err("no such format");
    Ok(())
}

#[test]
fn errors_name_file_line_and_field() {
    let cases = [
        (
            "a.jsonl",
            "\n\n",
            "a.jsonl: the file is empty; the formats are jsonl, parquet, csv, lc-rec, recbole",
        ),
        ("a.csv", "id,title\n", "a.csv: there are no items in it"),
        ("a.json", "{}", "a.json: there are no items in it"),
        (
            "a.txt",
            "hello",
            "a.txt: neither content nor ending tells the format; the formats are jsonl, parquet, csv, lc-rec, recbole",
        ),
        (
            "a.csv",
            "id,title\n1,x\n2\n",
            "a.csv, line 3: 1 cells, but the header has 2",
        ),
        (
            "a.csv",
            "id,id\n1,x\n",
            "a.csv, line 1: the header has an empty or repeated name \"id\"",
        ),
        (
            "a.csv",
            "title,year\nx,1\n",
            "a.csv, line 2: no field looks like a key; name the one to use of: title, year",
        ),
        (
            "a.csv",
            "id,title\n1,x\n,y\n",
            "a.csv, line 3: the key \"id\" is missing",
        ),
        (
            "a.csv",
            "id,title\n1,x\n2,y\n1,z\n",
            "a.csv: line 2 and line 4 have the same key \"1\"; keys must be distinct",
        ),
        (
            "a.jsonl",
            "{\"id\": 1}\n{\"id\": ",
            "a.jsonl, line 2: column 7: EOF while parsing a value",
        ),
        (
            "a.jsonl",
            "{\"id\": 1}\n{\"key\": 2}",
            "a.jsonl, line 2: the key \"id\" is missing",
        ),
        (
            "a.jsonl",
            "{\"id\": [1, 2]}",
            "a.jsonl, line 1: the key \"id\" is a list",
        ),
        (
            "a.json",
            "{\"0\": {\"title\": \"x\"},\n\"0\": {}}",
            "a.json: entry 1 and entry 2 have the same key \"0\"; keys must be distinct",
        ),
        (
            "a.json",
            "{\"0\": {\"title\": \"x\"},\n\"1\": 3}",
            "a.json, line 2: column 6: invalid type: integer `3`, expected a map",
        ),
    ];
    for (file, text, expected) in cases {
        assert_eq!(message(file, text), expected);
    }
    let gone = Catalogue::read("a.csv", b"id,title\n1,\xff\n", &ItemOptions::default());
    assert_eq!(
        gone.expect_err("not UTF-8").to_string(),
        "a.csv, line 2: cell 2: not UTF-8"
    );
}

#[test]
fn texts_can_be_left_as_they_are() -> Result<()> {
    let text = "id,title,description\n1,\" Pok&eacute;mon  Blue\", .\n";
    let options = ItemOptions {
        cleaning: CleaningSteps::NONE,
        ..ItemOptions::default()
    };
    let raw = Catalogue::read("a.csv", text.as_bytes(), &options)?;
    assert_eq!(raw.text(ItemId(0), "title"), Some(" Pok&eacute;mon  Blue"));
    assert!(
        !raw.has_field("description"),
        "a text that says nothing is missing"
    );
    assert_eq!(raw.cleaning(), Cleaning::default());

    let clean = read("a.csv", text)?;
    assert_eq!(clean.text(ItemId(0), "title"), Some("Pokémon Blue"));
    assert_eq!(clean.cleaning().entities_decoded, 1);
    Ok(())
}

#[test]
fn compressed_files_are_read_and_cut_ones_refused() -> Result<()> {
    use std::io::Write;

    let text = "id,title\n1,x\n2,y\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("in memory");
    let gzip = gzip.finish().expect("in memory");
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("in memory");
    let options = ItemOptions::default();
    for (file, bytes) in [("x.csv.gz", gzip), ("x.csv.zst", zstd)] {
        assert_eq!(keys(&Catalogue::read(file, &bytes, &options)?), ["1", "2"]);
        for end in 0..bytes.len() {
            Catalogue::read(file, &bytes[..end], &options).expect_err("cut off");
        }
    }
    Ok(())
}

#[test]
fn an_unknown_field_is_answered_with_the_known_ones() -> Result<()> {
    let catalogue = read("a.csv", "id,name,year\n1,x,1998\n")?;
    let error = catalogue
        .texts(&["name", "colour"])
        .err()
        .expect("no such field");
    assert_eq!(
        error.to_string(),
        "no item has a field \"colour\"; there are: name, year"
    );
    Ok(())
}

/// What reads is as many items as its writer wrote, and what does not is an error: no panics.
mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            format in prop::sample::select(vec!["jsonl", "csv", "lc-rec", "recbole", "parquet"]),
        ) {
            let format = Some(format.parse().expect("a known format"));
            let _ = Catalogue::read("x", &bytes, &ItemOptions { format, ..ItemOptions::default() });
            let _ = Catalogue::read("x", &bytes, &ItemOptions::default());
        }

        #[test]
        fn columns_give_back_what_went_in(
            rows in prop::collection::vec(prop::collection::vec("[a-z]{0,3}", 3), 1..20),
        ) {
            let mut text = String::from("id,a,b,c\n");
            for (id, row) in rows.iter().enumerate() {
                text += &format!("{id},{}\n", row.join(","));
            }
            let catalogue = read("x.csv", &text).expect("a good file");
            for (id, row) in rows.iter().enumerate() {
                for (name, value) in ["a", "b", "c"].into_iter().zip(row) {
                    let got = catalogue.text(ItemId(id as u32), name);
                    prop_assert_eq!(got.unwrap_or_default(), value);
                }
            }
        }
    }
}

/// The files of other projects, where `SEMID_DATA` has them.
#[test]
fn real_files_are_read() -> Result<()> {
    let Some(data) = std::env::var_os("SEMID_DATA") else {
        println!("SEMID_DATA is not set: real files are not read");
        return Ok(());
    };
    let read = |file: &str| {
        let bytes = std::fs::read(std::path::Path::new(&data).join(file)).expect(file);
        Catalogue::read(file, &bytes, &ItemOptions::default())
    };
    let scientific = read("scientific/Scientific.item.json")?;
    assert_eq!(scientific.len(), 4344);
    assert_eq!(scientific.keys().get(ItemId(11)), "11");
    let games = read("games/Games.item.json")?;
    assert_eq!(games.len(), 16_859);
    assert!(games.cleaning().entities_decoded > 0);
    let movies = read("ml-100k/ml-100k.item")?;
    assert_eq!(movies.len(), 1682);
    let texts: Vec<_> = movies.texts(&["title", "categories"])?.take(1).collect();
    assert_eq!(texts, ["Toy Story. Animation Children's Comedy"]);
    Ok(())
}
