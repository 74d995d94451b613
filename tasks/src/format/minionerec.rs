//! MiniOneRec's rows: Python lists within CSV.

use super::json::Json;
use crate::{Row, SequenceItem};

/// Appends a row of CSV, each cell in quotes.
pub(super) fn write(row: &Row<'_>, block: &mut Vec<u8>) {
    let (target, history) = row.sequence.and_then(<[_]>::split_last).expect("checked");
    let list = |of: fn(&SequenceItem<'_>) -> String| {
        let items: Vec<String> = history.iter().map(of).collect();
        format!("[{}]", items.join(", "))
    };
    let mut provenance = Vec::new();
    Json(&mut provenance).value(row.provenance);
    let cells = [
        row.provenance.user.as_deref().expect("checked"),
        &list(|item| python(item.title)),
        target.title,
        &list(|item| python_key(item.key)),
        target.key,
        &list(|item| python(item.id)),
        target.id,
        std::str::from_utf8(&provenance).expect("JSON is UTF-8"),
    ];
    let cells = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    block.extend_from_slice(cells.join(",").as_bytes());
    block.push(b'\n');
}

/// A string as Python's `eval` reads it.
fn python(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for char in text.chars() {
        match char {
            '\'' | '\\' => literal.extend(['\\', char]),
            '\0'..' ' | '\x7f' => literal.push_str(&format!("\\x{:02x}", char as u32)),
            _ => literal.push(char),
        }
    }
    literal.push('\'');
    literal
}

/// A key as its readers compare it: an integer where it is one.
fn python_key(key: &str) -> String {
    match key.parse::<u64>() {
        Ok(number) if number.to_string() == key => key.to_owned(),
        _ => python(key),
    }
}
