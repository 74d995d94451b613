use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use semantic_id::{Code, CodeSpace, Digest, Manifest, TokenFormat};
use serde_json::{Value, json};

use super::*;
use crate::{Part, Provenance, SequenceItem, Target};

fn provenance() -> Provenance<'static> {
    Provenance {
        task: "sequential".into(),
        template: "en/sequential/next-3".into(),
        part: Part::Train,
        epoch: 0,
        sample: 7,
        user: Some("u1".into()),
        reads: Some([0, 2]),
        target: Some(2),
        horizon: Some(2),
        made_at: None,
        stage: None,
        place: None,
    }
}

/// A row that fits every format.
fn with_row<T>(texts: [&str; 4], take: impl FnOnce(&Row<'_>) -> T) -> T {
    let [system, prompt, answer, rejected] = texts;
    let item = |key, id, title| SequenceItem { key, id, title };
    take(&Row {
        system: Some(system),
        prompt,
        answer,
        rejected: &[rejected.to_owned(), "<a_9><b_9>".to_owned()],
        target: Some(Target {
            key: "B03",
            id: "<a_1><b_2>",
            codes: &[Code(1), Code(2)],
        }),
        sequence: Some(&[
            item("B01", "<a_5><b_6>", prompt),
            item("17", "<a_7><b_8>", "Tetris"),
            item("B03", "<a_1><b_2>", answer),
        ]),
        fields: Some(&[("history", prompt), ("item", answer)]),
        provenance: &provenance(),
    })
}

const PLAIN: [&str; 4] = [
    "You recommend.",
    "After <a_5><b_6>, <a_7><b_8>?",
    "<a_1><b_2>",
    "<a_1><b_3>",
];

const CHAT: &str = r#"{
    "eos_token": "</s>",
    "chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
}"#;

fn writer(format: RowFormat, container: Container) -> RowWriter {
    let chat = ChatTemplate::read(CHAT, None, None).expect("template");
    RowWriter::new(format, container, 42)
        .expect("fits")
        .chat(chat)
}

fn block(format: RowFormat, container: Container, texts: [&str; 4]) -> (String, u64) {
    let mut block = Vec::new();
    let rows = with_row(texts, |row| {
        writer(format, container).write(row, &mut block)
    });
    (
        String::from_utf8(block).expect("UTF-8"),
        rows.expect("fits"),
    )
}

#[test]
fn tutorial() -> crate::Result<()> {
    let writer = RowWriter::new(RowFormat::Messages, Container::JsonlZst, 42)?;
    let mut shard = ShardWriter::new(RowFormat::Messages, Container::JsonlZst, Vec::new())?;
    let mut block = Vec::new();
    for _ in 0..3 {
        block.clear();
        let rows = with_row(PLAIN, |row| writer.write(row, &mut block))?;
        shard.write(&block, rows)?;
    }
    let name = shard_name(Part::Train, 0, Some(10), Container::JsonlZst);
    let (file, shard) = shard.finish(name)?;
    assert_eq!(shard.file, "train/part-00000-of-00010.jsonl.zst");
    assert_eq!((shard.rows, shard.bytes), (3, file.len() as u64));
    assert_eq!(shard.blake3, Digest::of(&file));
    let lines = zstd::decode_all(&*file).expect("zstd");
    assert_eq!(lines, block.repeat(3));
    Ok(())
}

#[test]
fn golden_rows() {
    let mut golden = String::new();
    for format in RowFormat::ALL {
        for &container in format.containers() {
            if container != Container::JsonlZst {
                let (block, _) = block(format, container, PLAIN);
                golden.push_str(&format!("{format} {container}\n{block}\n"));
            }
        }
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn a_format_that_does_not_fit_names_task_and_format() {
    with_row(PLAIN, |row| {
        let bare = Row {
            rejected: &[],
            target: None,
            sequence: None,
            fields: None,
            ..*row
        };
        for format in RowFormat::ALL {
            format.check(row).expect("has all");
            assert_eq!(format.check(&bare).is_ok(), format.needs() == Need::Nothing);
        }
        let error = RowFormat::SDpo.check(&bare).unwrap_err().to_string();
        let expected = "task \"sequential\" does not fit the format s-dpo: its rows lack rejected \
                        answers; leave the task out or take another format";
        assert_eq!(error, expected);
    });
    let error = RowWriter::new(RowFormat::MiniOneRec, Container::Parquet, 0).unwrap_err();
    let expected = "the format minionerec does not go into parquet files here; it goes into csv";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn chat_templates_refuse_what_transformers_refuses() {
    let refusing =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
    let template = ChatTemplate::read("{}", Some(refusing), None).expect("template");
    let error = with_row(PLAIN, |row| template.prompt(row)).unwrap_err();
    assert!(error.to_string().contains("no system"), "{error}");
    ChatTemplate::read("{}", None, None).expect_err("no template");
    ChatTemplate::read("{", Some(""), None).expect_err("no JSON");
    ChatTemplate::read("{}", Some("{% if %}"), None).expect_err("no Jinja");
}

#[test]
fn ids_of_rows_differ_by_seed_and_sample_alone() {
    let mut ids = BTreeMap::new();
    for (seed, sample) in [(1, 1), (1, 2), (2, 1), (1, 1)] {
        let provenance = Provenance {
            sample,
            ..provenance()
        };
        let writer = RowWriter::new(RowFormat::OpenOneRec, Container::Parquet, seed).expect("fits");
        let mut block = Vec::new();
        with_row(PLAIN, |row| {
            let row = Row {
                provenance: &provenance,
                ..*row
            };
            writer.write(&row, &mut block).expect("fits");
        });
        let row: Value = serde_json::from_slice(&block).expect("JSON");
        let id = row["uuid"].as_str().expect("text").to_owned();
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        ids.insert(id, (seed, sample));
    }
    assert_eq!(ids.len(), 3);
}

#[test]
fn all_tokens_of_an_index_are_listed_once() -> crate::Result<()> {
    let space = CodeSpace::new(vec![2, 3])?;
    let tokens = new_tokens(&TokenFormat::lc_rec(2), &space);
    assert_eq!(tokens, ["<a_0>", "<a_1>", "<b_0>", "<b_1>", "<b_2>"]);
    let tokens = new_tokens(&TokenFormat::open_one_rec(2), &space);
    assert_eq!(tokens[..3], ["<|sid_begin|>", "<|sid_end|>", "<s_a_0>"]);
    let same = TokenFormat::new(&["<{code}>", "<{code}>"])?;
    assert_eq!(new_tokens(&same, &space), ["<0>", "<1>", "<2>"]);
    Ok(())
}

/// A folder in memory, which fails after some files, as a killed build would.
#[derive(Debug, Default)]
struct Memory {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    files_left: RefCell<Option<usize>>,
}

impl Folder for Memory {
    type File = Vec<u8>;

    fn create(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn finish(&self, name: &str, file: Vec<u8>) -> io::Result<()> {
        match &mut *self.files_left.borrow_mut() {
            Some(0) => return Err(io::Error::other("killed")),
            Some(left) => *left -= 1,
            None => (),
        }
        self.files.borrow_mut().insert(name.to_owned(), file);
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.borrow().get(name).cloned())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.borrow_mut().remove(name);
        Ok(())
    }
}

/// Builds three shards; gives the folder and how many of them had to be made.
fn build(folder: &Memory, build: Digest) -> crate::Result<usize> {
    let rows = writer(RowFormat::Alpaca, Container::Jsonl);
    let mut made = 0;
    let mut corpus = CorpusFolder::open(folder, build)?;
    for part in [Part::Train, Part::Valid, Part::Test] {
        let name = shard_name(part, 0, Some(1), Container::Jsonl);
        corpus.shard(&name, &rows, |shard| {
            made += 1;
            let (block, rows) = block(RowFormat::Alpaca, Container::Jsonl, PLAIN);
            shard.write(block.as_bytes(), rows)?;
            Ok([("sequential".to_owned(), rows)].into())
        })?;
    }
    corpus.file("README.md", b"# card")?;
    corpus.finish(Manifest::new("tasks build", json!({})))?;
    Ok(made)
}

#[test]
fn a_killed_build_goes_on_where_it_stopped() -> crate::Result<()> {
    let id = Digest::of(b"recipe");
    let whole = Memory::default();
    assert_eq!(build(&whole, id)?, 3);
    let manifest: Manifest =
        serde_json::from_slice(&whole.files.borrow()["manifest.json"]).expect("JSON");
    assert_eq!(manifest.counts["rows"], 3);
    assert_eq!(manifest.counts["sequential"], 3);
    for (name, file) in &*whole.files.borrow() {
        if name != "manifest.json" {
            manifest.check(name, Digest::of(file)).expect(name);
        }
    }
    assert_eq!(whole.files.borrow().len(), 5);

    let killed = Memory {
        files_left: Some(5).into(),
        ..Memory::default()
    };
    build(&killed, id).expect_err("killed");
    killed.files_left.replace(None);
    CorpusFolder::open(&killed, Digest::of(b"another"))?;
    let left: Vec<_> = killed.files.into_inner().into_keys().collect();
    assert_eq!(left, ["journal.json"], "shards of another build are gone");

    for files in 0..9 {
        let killed = Memory {
            files_left: Some(files).into(),
            ..Memory::default()
        };
        build(&killed, id).expect_err("killed");
        let resumed = Memory {
            files: killed.files,
            ..Memory::default()
        };
        // The journal, and then each shard and the journal anew.
        let finished = (files.saturating_sub(1) / 2).min(3);
        assert_eq!(build(&resumed, id)?, 3 - finished, "{files} files");
        assert_eq!(resumed.files, whole.files);

        let other = Memory {
            files: resumed.files,
            ..Memory::default()
        };
        assert_eq!(build(&other, Digest::of(b"another"))?, 3);
    }
    Ok(())
}

#[test]
fn the_card_tells_files_and_types() {
    let shard = |part, shard| Shard {
        file: shard_name(part, shard, None, Container::Jsonl),
        rows: 5,
        bytes: 500,
        blake3: Digest::of(b""),
        counts: [("sequential".to_owned(), 5)].into(),
    };
    let shards = [
        shard(Part::Train, 0),
        shard(Part::Train, 1),
        shard(Part::Valid, 0),
    ];
    let card = DatasetCard {
        title: "Games",
        format: RowFormat::SDpo,
        container: Container::Jsonl,
        shards: &shards,
    };
    insta::assert_snapshot!(card.to_string());
    insta::assert_json_snapshot!(dataset_info("games", &shards));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x7f\u{2028}é任🎲'\"\\\\]{0,80}"]
}

/// All strings in a value, JSON within strings opened.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            found.push(text.clone());
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                strings(&inner, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(values) => values.values().for_each(|value| strings(value, found)),
        _ => (),
    }
}

proptest! {
    #[test]
    fn every_json_row_reads_back(system in text(), prompt in text(), answer in text(), rejected in text()) {
        let texts = [&*system, &prompt, &answer, &rejected];
        for format in RowFormat::ALL {
            for &container in format.containers().iter().filter(|&&c| c != Container::Csv) {
                let (block, rows) = block(format, container, texts);
                prop_assert_eq!(block.lines().count() as u64, rows);
                let mut found = Vec::new();
                for line in block.split_terminator('\n') {
                    strings(&serde_json::from_str(line).expect("JSON"), &mut found);
                }
                let rejects = format.needs() == Need::Rejected;
                let asks = !matches!(format, RowFormat::TrlGrpo | RowFormat::Verl);
                let wanted = [(&prompt, true), (&answer, asks), (&rejected, rejects)];
                for (text, wanted) in wanted {
                    let there = found.iter().any(|found| found.contains(&**text));
                    prop_assert!(there || !wanted, "{format} lost {text:?}");
                }
            }
        }
    }

    #[test]
    fn csv_cells_read_back(title in text()) {
        let (block, _) = block(RowFormat::MiniOneRec, Container::Csv, ["", &title, &title, ""]);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(block.as_bytes());
        let row = reader.records().next().expect("a row").expect("CSV");
        prop_assert_eq!(row.len(), 8);
        prop_assert_eq!(&row[2], &*title);
        let literal = row[1].strip_prefix("['").and_then(|list| list.strip_suffix("', 'Tetris']"));
        prop_assert_eq!(unescape(literal.expect("a list")), title);
        prop_assert_eq!(&row[3], "['B01', 17]");
    }
}

/// Reads the inside of a Python string, by its grammar.
fn unescape(literal: &str) -> String {
    let mut text = String::new();
    let mut chars = literal.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next().expect("an escape") {
                'x' => {
                    let hex: String = chars.by_ref().take(2).collect();
                    text.push(u8::from_str_radix(&hex, 16).expect("hex").into());
                }
                char => text.push(char),
            },
            '\'' | '\n' | '\r' | '\0' => panic!("{char:?} would end the literal"),
            _ => text.push(char),
        }
    }
    text
}

#[cfg(feature = "parquet")]
mod parquet {
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use arrow_json::LineDelimitedWriter;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn files_read_back_however_the_blocks_were_cut() {
        const ROWS: usize = 20_000;
        for format in RowFormat::ALL {
            if !format.containers().contains(&Container::Parquet) {
                continue;
            }
            let (line, rows) = block(format, Container::Parquet, PLAIN);
            let lines = line.repeat(ROWS);
            let write = |cut: usize| {
                let mut shard =
                    ShardWriter::new(format, Container::Parquet, Vec::new()).expect("fits");
                for block in lines.as_bytes().chunks(cut * line.len()) {
                    let rows = (block.len() / line.len()) as u64 * rows;
                    shard.write(block, rows).expect("memory");
                }
                let (file, shard) = shard.finish("").expect("memory");
                assert_eq!(shard.rows, ROWS as u64 * rows);
                file
            };
            let file = write(7);
            assert!(file == write(ROWS), "{format}: equal rows, other bytes");

            let reader =
                ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).expect("Parquet");
            assert!(reader.metadata().num_row_groups() > 1);
            let mut back = LineDelimitedWriter::new(Vec::new());
            for batch in reader.build().expect("Parquet") {
                back.write(&batch.expect("rows")).expect("memory");
            }
            back.finish().expect("memory");
            let parse = |lines: &[u8]| -> Vec<Value> {
                let lines = lines
                    .split(|&byte| byte == b'\n')
                    .filter(|line| !line.is_empty());
                lines
                    .map(|line| serde_json::from_slice(line).expect("JSON"))
                    .collect()
            };
            let expected = parse(line.as_bytes());
            let rows = parse(&back.into_inner());
            assert_eq!(rows.len(), ROWS * expected.len());
            assert!(rows.chunks(expected.len()).all(|rows| rows == expected));
        }
    }
}
