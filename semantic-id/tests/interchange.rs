//! Foreign files: real ones, each format's habits, and what is wrong with bad ones.

use std::path::PathBuf;

use proptest::prelude::*;
use semantic_id::interchange::{Table, csv, index_json};
use semantic_id::{Code, Error, ItemId, ItemIndex, Manifest, TokenFormat};

fn manifest() -> Manifest {
    Manifest::new("import", ().into())
}

fn message<T>(result: Result<T, Error>) -> String {
    result.err().expect("a bad file").to_string()
}

#[test]
fn tutorial() {
    let json = br#"{"7": ["<s_a_1>", "<s_b_300>"], "9": ["<s_a_1>"]}"#;
    let table = index_json::read(json, None).unwrap();
    assert_eq!(table.keys().iter().collect::<Vec<_>>(), ["7", "9"]);
    assert_eq!(table.space().sizes(), [256, 512]);
    assert_eq!(table.codes().row(ItemId(1)), [Code(1), Code(512)]); // 512 is the padding
    assert_eq!(
        table.token_format(),
        &TokenFormat::new(&["<s_a_{code}>", "<s_b_{code}>"]).unwrap()
    );

    let index = table.build(manifest()).unwrap();
    let table = Table::of(&index).unwrap();
    let text = String::from_utf8(index_json::write(&table)).unwrap();
    assert_eq!(
        text,
        "{\n\"7\": [\"<s_a_1>\",\"<s_b_300>\"],\n\"9\": [\"<s_a_1>\"]\n}\n"
    );
    assert_eq!(csv::write(&table), b"key,c0,c1\n7,1,300\n9,1,\n");
}

#[test]
fn codebooks_have_the_size_asked_for() {
    let json = br#"{"x": ["<a_12>", "<b_3>"]}"#;
    assert_eq!(
        index_json::read(json, Some(13)).unwrap().space().sizes(),
        [13, 13]
    );
    let error = message(index_json::read(json, Some(12)));
    assert!(error.contains("code 12 at level 0"), "{error}");
    let json = br#"{"x": ["<a_65535>"], "y": ["<a_0>", "<b_1>"]}"#;
    assert_eq!(
        index_json::read(json, None).unwrap().space().sizes(),
        [65536, 256]
    );
    let json = br#"{"x": ["<a_0>", "<b_65535>"], "y": ["<a_0>"]}"#;
    let error = message(index_json::read(json, None));
    assert!(error.contains("level 1 has all 65536 codes"), "{error}");
}

#[test]
fn removed_items_are_not_exported() {
    let table = csv::read(b"key,c0\nx,1\ny,2\n", None).unwrap();
    let index = table
        .build(manifest())
        .unwrap()
        .remove(&[ItemId(0)])
        .unwrap();
    assert_eq!(csv::write(&Table::of(&index).unwrap()), b"key,c0\ny,2\n");
}

#[test]
fn bad_json_is_named() {
    let cases: [(&str, &[&str]); 10] = [
        (
            r#"{"x": ["<a_1>"], "x": ["<a_2>"]}"#,
            &["items 0 and 1", "\"x\""],
        ),
        (
            r#"{"x": ["<a_1>"], "y": ["<b_2>"]}"#,
            &[
                "item \"y\"",
                "<b_2>",
                "level 0's <a_{code}>",
                "line 1 column",
            ],
        ),
        (r#"{"x": ["<a_1>"], "y": ["<a_02>"]}"#, &["<a_02>"]),
        (r#"{"x": ["<a_65536>"]}"#, &["<a_65536>", "0 to 65535"]),
        (r#"{"x": ["apple"]}"#, &["apple", "decimal number"]),
        (r#"{"x": []}"#, &["item \"x\" has 0 codes"]),
        (
            r#"{"x": "<a_1><b_2>"}"#,
            &["a list of tokens for item \"x\""],
        ),
        (r#"{"x": [1.5]}"#, &["1.5"]),
        (r#"{"x": [1]} {}"#, &["trailing"]),
        (r#"{"#, &["EOF", "line 1"]),
    ];
    for (json, expected) in cases {
        let error = message(index_json::read(json.as_bytes(), None));
        assert!(
            expected.iter().all(|part| error.contains(part)),
            "{json}: {error}"
        );
    }
    assert!(matches!(index_json::read(b"{}", None), Err(Error::Empty)));
}

#[test]
fn bad_csv_is_named() {
    let cases: [(&[u8], &str); 8] = [
        (b"", "got columns []"),
        (b"key\nx\n", "got columns [\"key\"]"),
        (b"id,c0\nx,1\n", "got columns [\"id\", \"c0\"]"),
        (
            b"key,c0\nx,1\ny,1,2\n",
            "csv line 3: got 3 cells, expected at most 2",
        ),
        (
            b"key,c0\nx,1\ny,minus\n",
            "csv line 3, column c0: got token \"minus\"",
        ),
        (
            b"key,c0,c1\nx,1,2\ny,,2\n",
            "csv line 3, column c0: got token \"\"",
        ),
        (b"key,c0\nx,1\ny,\n", "csv line 3: item \"y\" has 0 codes"),
        (b"key,c0\nx,1\n\xff,2\n", "invalid"),
    ];
    for (file, expected) in cases {
        let error = message(csv::read(file, None));
        assert!(error.contains(expected), "{error}");
    }
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use super::*;
    use semantic_id::interchange::parquet;

    #[test]
    fn integers_stay_integers_and_tokens_are_open_one_recs() {
        let table = csv::read(b"key,c0,c1\n42,1,2\n-7,1,\n", None).unwrap();
        let again = parquet::read(parquet::write(&table).unwrap(), None).unwrap();
        assert_eq!(again.keys(), table.keys());
        assert_eq!(again.codes(), table.codes());
        assert_eq!(again.token_format(), &TokenFormat::open_one_rec(2));
        let index = again.build(manifest()).unwrap();
        assert_eq!(
            index.text(ItemId(1)).unwrap(),
            "<|sid_begin|><s_a_1><|sid_end|>"
        );
    }

    #[test]
    fn bad_parquet_is_named() {
        let error = message(parquet::read(b"PAR1".to_vec(), None));
        assert!(error.starts_with("parquet: "), "{error}");
    }
}

/// Rows with distinct unicode keys and ragged, often shared paths.
fn rows() -> impl Strategy<Value = Vec<(String, Vec<u16>)>> {
    let code = prop_oneof![0..3_u16, 0..32768_u16];
    let path = prop::collection::vec(code, 1..6);
    prop::collection::btree_map("\\PC{0,4}|[,\"\\\\\r\n ]{0,3}", path, 1..30)
        .prop_map(|rows| rows.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn every_format_brings_back_what_it_took(rows in rows(), style in 0..3) {
        let levels = rows.iter().map(|(_, path)| path.len()).max().unwrap_or(0);
        let format = match style {
            0 => TokenFormat::lc_rec(levels),
            1 => TokenFormat::open_one_rec(levels).between("", "")?,
            _ => TokenFormat::new(&vec!["[2]{code}:"; levels])?,
        };
        let tokens = |path: &[u16]| -> Vec<String> {
            path.iter().enumerate().map(|(level, &code)| format.token(level, Code(code))).collect()
        };
        let object: serde_json::Map<_, _> =
            rows.iter().map(|(key, path)| (key.clone(), tokens(path).into())).collect();
        let json = serde_json::to_vec(&object).expect("strings");

        let table = index_json::read(&json, None)?;
        prop_assert_eq!(table.token_format(), &format);
        let index = table.build(manifest())?;
        index.validate()?;
        for (key, path) in &rows {
            let id = index.semantic_id(index.find(key)?.expect("was imported"))?;
            let path: Vec<Code> = path.iter().copied().map(Code).collect();
            prop_assert_eq!(index.space().unpadded(&id), &*path);
        }
        prop_assert_eq!(&Table::of(&index)?, &table);
        prop_assert_eq!(&index_json::read(&index_json::write(&table), None)?, &table);
        let from_csv = csv::read(&csv::write(&table), None)?;
        prop_assert_eq!((from_csv.keys(), from_csv.codes()), (table.keys(), table.codes()));
        #[cfg(feature = "parquet")]
        {
            use semantic_id::interchange::parquet;
            let again = parquet::read(parquet::write(&table)?, None)?;
            prop_assert_eq!((again.keys(), again.codes()), (table.keys(), table.codes()));
        }
    }
}

/// Published indexes, with the number of items and of distinct codes that are known of them.
#[test]
fn published_indexes_are_read() {
    let Some(data) = std::env::var_os("SEMID_DATA").map(PathBuf::from) else {
        println!("SEMID_DATA is not set: published indexes are not read");
        return;
    };
    let known = [
        (
            "scientific/indexes/rkmeans_native/Scientific.index.json",
            4344,
            3469,
        ),
        (
            "scientific/indexes/rqvae_native/Scientific.index.json",
            4344,
            3790,
        ),
        (
            "scientific/indexes/letter_native/Scientific.index.json",
            4344,
            4317,
        ),
        (
            "scientific/indexes/quasid_native/Scientific.index.json",
            4344,
            4222,
        ),
        (
            "scientific/indexes/rqvae_zcr/Scientific.index.json",
            4344,
            4344,
        ),
        (
            "scientific/indexes/mql4grec/Scientific.index.json",
            4344,
            4344,
        ),
        ("games/Games.index.json", 16859, 16717),
    ];
    for (file, items, unique) in known {
        let bytes = std::fs::read(data.join(file)).expect("readable");
        let table = index_json::read(&bytes, None).expect(file);
        assert_eq!(
            (table.keys().len(), table.codes().unique()),
            (items, unique),
            "{file}"
        );
        assert_eq!(table.token_format(), &TokenFormat::lc_rec(4), "{file}");
        assert_eq!(table.space().sizes(), [256; 4], "{file}");

        let index = table.build(manifest()).expect(file);
        let index = ItemIndex::open(index.bytes()).expect(file);
        index.validate().expect(file);
        assert_eq!(
            index.level(3).expect("four levels").codes.len(),
            unique,
            "{file}"
        );
        let again = index_json::write(&Table::of(&index).expect(file));
        let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).expect(file);
        assert_eq!(value(&again), value(&bytes), "{file}");
    }
}
