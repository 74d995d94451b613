//! What is held of every reader of `semid-tasks`, whatever the bytes: no panic, and a
//! catalogue that was read has what it says it has.

use semantic_id::ItemId;
use semid_tasks::{Catalogue, ItemFormat, ItemOptions};

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
