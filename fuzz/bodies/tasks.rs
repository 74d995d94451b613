//! What is held of every reader of `semid-tasks`, whatever the bytes: no panic, and a
//! catalogue or histories that were read have what they say they have.

use std::fs::File;
use std::io::Write;

use semantic_id::{ItemId, ItemKeys};
use semid_tasks::audit::{Audit, Sources};
use semid_tasks::{
    Catalogue, Duplicates, EventFormat, EventOptions, Filter, Histories, HistoriesBuilder,
    HistoryOptions, Input, ItemFormat, ItemOptions, Part, Split, UnknownItems, read_rows,
};

/// One JSON object a line.
pub fn items_jsonl(bytes: &[u8]) {
    items(bytes, ItemFormat::Jsonl);
}

/// Comma-separated values.
pub fn items_csv(bytes: &[u8]) {
    items(bytes, ItemFormat::Csv);
}

/// LC-Rec's object of objects.
pub fn items_lc_rec(bytes: &[u8]) {
    items(bytes, ItemFormat::LcRec);
}

/// RecBole's tab-separated values.
pub fn items_recbole(bytes: &[u8]) {
    items(bytes, ItemFormat::RecBole);
}

/// Parquet, one row an item.
pub fn items_parquet(bytes: &[u8]) {
    items(bytes, ItemFormat::Parquet);
}

/// Reads items in a format, and in the one that the bytes suggest.
fn items(bytes: &[u8], format: ItemFormat) {
    let told = ItemOptions {
        format: Some(format),
        ..ItemOptions::default()
    };
    for options in [told, ItemOptions::default()] {
        if let Ok(catalogue) = Catalogue::read("items", bytes, &options) {
            is_sound(&catalogue);
        }
    }
}

fn is_sound(catalogue: &Catalogue) {
    let items = catalogue.len();
    assert!(items > 0 && catalogue.keys().len() == items);
    let fields: Vec<&str> = catalogue.fields().collect();
    for field in &fields {
        let mut texts = (0..items as u32).map(|row| catalogue.text(ItemId(row), field));
        assert!(texts.any(|text| text.is_some()), "no item has {field:?}");
    }
    let texts = catalogue.texts(&fields).expect("its own fields");
    assert_eq!(texts.count(), items);
}

/// Interactions, one JSON object a line.
pub fn events_jsonl(bytes: &[u8]) {
    events(bytes, EventFormat::Jsonl);
}

/// Interactions, comma-separated.
pub fn events_csv(bytes: &[u8]) {
    events(bytes, EventFormat::Csv);
}

/// LC-Rec's object of lists.
pub fn events_lc_rec(bytes: &[u8]) {
    events(bytes, EventFormat::LcRec);
}

/// RecBole's tab-separated interactions.
pub fn events_recbole(bytes: &[u8]) {
    events(bytes, EventFormat::RecBole);
}

/// MovieLens' ratings between `::` or tabs.
pub fn events_movie_lens(bytes: &[u8]) {
    events(bytes, EventFormat::MovieLens);
}

/// Parquet, one row an event; from memory and from a file, which are read differently.
pub fn events_parquet(bytes: &[u8]) {
    events(bytes, EventFormat::Parquet);
    let from_memory = histories(bytes.into(), &EventOptions::default());
    let from_file = histories(file(bytes).into(), &EventOptions::default());
    assert_eq!(from_memory.is_some(), from_file.is_some());
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    file
}

/// Reads interactions in a format, and in the one that the bytes suggest.
fn events(bytes: &[u8], format: EventFormat) {
    let told = EventOptions {
        format: Some(format),
        ..EventOptions::default()
    };
    for options in [told, EventOptions::default()] {
        if let Some(histories) = histories(bytes.into(), &options) {
            are_sound(&histories);
            let filter = Filter {
                duplicates: Duplicates::First,
                core: [1, 2],
                window: Some(2),
            };
            if let Ok((histories, _)) = histories.filter(&filter) {
                are_sound(&histories);
            }
        }
    }
}

fn histories(input: Input<'_>, options: &EventOptions) -> Option<Histories> {
    let items = ItemKeys::new(["B01", "B02", "B03"]).expect("distinct");
    let skip = HistoryOptions {
        unknown_items: UnknownItems::Skip,
        ..HistoryOptions::default()
    };
    let mut builder = HistoriesBuilder::new(&items, skip);
    builder.read("events", input, options).ok()?;
    builder.finish().ok()
}

fn are_sound(histories: &Histories) {
    let split = Split::leave_one_out(histories);
    let mut events = 0;
    for user in histories.users() {
        let items = histories.items(user);
        assert!(!items.is_empty() && items.iter().all(|item| item.0 < 3));
        events += items.len();
        assert_eq!(histories.find(histories.key(user)), Some(user));
        let times = histories.times(user).unwrap_or_default();
        assert!(times.is_sorted() && [0, items.len()].contains(&times.len()));
        let ratings = histories.ratings(user).unwrap_or_default();
        assert!(ratings.iter().all(|rating| rating.is_finite()));
        let targets = Part::ALL.map(|part| split.targets(user, part).len());
        assert_eq!(targets.iter().sum::<usize>(), items.len() - 1);
    }
    assert_eq!(events, histories.events());
    let leakage = split.leakage(histories);
    assert!(leakage.is_none_or(|leakage| (0.0..=1.0).contains(&leakage.per_test)));
}

/// The rows of a shard, as lines, as CSV and as whatever the bytes suggest.
pub fn corpus_rows(bytes: &[u8]) {
    for file in ["rows.jsonl", "rows.csv"] {
        let mut rows = 0;
        let read = read_rows(file, bytes.into(), |_, row| {
            rows += 1;
            assert!(!row.answer.is_empty());
            Ok(())
        });
        let found = audit(b"").and_then(|audit| {
            let found = audit.shard(file, bytes.into())?;
            audit.finish([found])
        });
        assert_eq!(read.is_ok(), found.is_ok());
        assert!(found.is_err() || found.is_ok_and(|report| report.rows == rows));
    }
}

/// The split of a corpus, with a row of a user who may be in it.
pub fn corpus_split(bytes: &[u8]) {
    let row = br#"{"prompt": "a", "completion": "b", "provenance": {"task": "reasoning",
        "template": "", "part": "test", "epoch": 0, "sample": 0, "user": "ann",
        "reads": [0, 4294967295], "target": 4294967295, "horizon": 1}}"#;
    let row: Vec<u8> = row.iter().copied().filter(|byte| *byte != b'\n').collect();
    if let Ok(audit) = audit(bytes) {
        let found = audit.shard("rows.jsonl", row.as_slice().into());
        assert!(audit.finish(found).is_ok_and(|report| !report.ok()));
    }
}

fn audit(split: &[u8]) -> semid_tasks::Result<Audit<'static>> {
    Audit::new("split.jsonl", split, Sources::default())
}
