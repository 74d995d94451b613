//! What is held of every reader of `semantic-id`, whatever the bytes: no panic,
//! and what was read can be written and read again.

use semantic_id::interchange::{Table, csv, index_json, parquet};
use semantic_id::{Change, Churn, Code, Delta, ItemId, ItemIndex, Manifest, TokenFormat};

/// Opens, asks every question of a file that nobody validated, then validates.
pub fn index(bytes: &[u8]) {
    let Ok(index) = ItemIndex::open(bytes) else {
        return;
    };
    let _ = (index.info(), index.digest(), format!("{index:?}"));
    let items = index.items() as u32;
    for item in (0..=items).map(ItemId) {
        let _ = index.key(item).map(|key| index.find(key));
        let _ = (index.rank(item), index.item(item.0), index.is_alive(item));
        let _ = (index.semantic_id(item), index.text(item));
    }
    for id in index.iter().take_while(Result::is_ok).flatten() {
        let _ = (index.items_of(&id.1), index.items_of(&id.1[..1]));
    }
    let _ = (index.items_of(&[]), index.items_of(&[Code(u16::MAX)]));
    for level in (0..=index.levels()).filter_map(|level| index.level(level)) {
        let _ = (
            level.children(0),
            level.children(u32::MAX),
            level.codes.iter().count(),
        );
    }
    let _ = (
        index.codes(),
        index.keys(),
        Table::of(&index),
        index.remove(&[ItemId(0)]),
        index.living(),
        Churn::between(&index, &index),
    );
    if index.validate().is_ok() {
        same_answers(&index);
    }
}

/// The answers of a valid file agree with each other.
fn same_answers(index: &ItemIndex<&[u8]>) {
    let codes = index.codes().expect("valid");
    for (rank, found) in index.iter().enumerate() {
        let (item, id) = found.expect("valid");
        assert_eq!(index.rank(item).expect("valid") as usize, rank);
        assert_eq!(index.semantic_id(item).expect("valid"), id);
        assert_eq!(codes.row(item), &*id);
        assert!(index.items_of(&id).expect("valid").contains(&item));
        let key = index.key(item).expect("valid");
        assert_eq!(index.find(key).expect("valid"), Some(item));
    }
}

/// Reads an `.index.json`; what was read survives a second trip.
pub fn index_json(bytes: &[u8]) {
    if let Ok(table) = index_json::read(bytes, None) {
        let again = index_json::read(&index_json::write(&table), None);
        assert_eq!(again.expect("our own output"), table);
        through_index(&table);
    }
}

/// Reads CSV; keys and codes survive a second trip (the spelling of tokens does not).
pub fn csv(bytes: &[u8]) {
    if let Ok(table) = csv::read(bytes, None) {
        let again = csv::read(&csv::write(&table), None).expect("our own output");
        assert_eq!((again.keys(), again.codes()), (table.keys(), table.codes()));
        through_index(&table);
    }
}

/// Reads OpenOneRec's Parquet; what was read survives a second trip.
pub fn parquet(bytes: &[u8]) {
    if let Ok(table) = parquet::read(bytes.to_vec(), None) {
        let file = parquet::write(&table).expect("a sound table");
        assert_eq!(parquet::read(file, None).expect("our own output"), table);
        through_index(&table);
    }
}

fn through_index(table: &Table) {
    let index = table
        .build(Manifest::new("fuzz", ().into()))
        .expect("a sound table");
    index.validate().expect("our own output");
    assert_eq!(&Table::of(&index).expect("our own output"), table);
}

/// Reads a delta; what was read survives a second trip, and makes a sound index or an error of
/// an index of three items, of which one is removed.
pub fn delta(bytes: &[u8]) {
    let Ok(delta) = Delta::from_json(bytes) else {
        return;
    };
    let again = Delta::from_json(&delta.to_json());
    assert_eq!(again.expect("our own output"), delta);
    let table = csv::read(b"key,c0,c1\nB01,12,3\nB02,12,7\nB03,0,9\n", None);
    let index = table.and_then(|table| table.build(Manifest::new("fuzz", ().into())));
    let index = index.and_then(|index| index.remove(&[ItemId(1)]));
    let index = index.expect("a sound table");
    assert!(delta.apply(&index).is_err());
    let manifest = Manifest::new("fuzz", ().into());
    if let Ok(child) = index.changed(delta.change(), usize::MAX, manifest) {
        child.validate().expect("our own output");
        let change = Change::between(&index, &child).expect("sound");
        let again = index.changed(&change, usize::MAX, Manifest::new("fuzz", ().into()));
        let churn = Churn::between(&again.expect("told by two files"), &child);
        assert_eq!(churn.expect("sound").moved(), 0);
    }
}

/// The first line is a token format as JSON, the rest a text to parse with it.
pub fn token_format(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (json, text) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(format) = serde_json::from_str::<TokenFormat>(json) else {
        return;
    };
    if let Ok(id) = format.parse(text) {
        assert_eq!(format.text(&id), text);
    }
    let codes: Vec<Code> = (0..format.levels())
        .map(|level| Code(level as u16))
        .collect();
    let id = format.parse(&format.text(&codes)).expect("our own output");
    assert_eq!(*id, *codes);
    for (level, &code) in codes.iter().enumerate() {
        let token = format.token(level, code);
        assert_eq!(
            format.parse_token(level, &token).expect("our own output"),
            code
        );
    }
}
