use std::collections::HashSet;
use std::result;

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::builder::Builder;
use super::record::{Record, Text};
use crate::{Place, Result};

/// Reads comma-separated values with a header.
pub(super) fn read_csv(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    read(bytes, &ReaderBuilder::new(), str::to_owned, builder)
}

/// Reads RecBole's atomic file: tabs, no quotes, a header of `name:type`. Words
/// of a `token_seq` stay apart by a space: they are titles as often as lists.
pub(super) fn read_recbole(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    let mut reader = ReaderBuilder::new();
    reader.delimiter(b'\t').quoting(false);
    let name = |cell: &str| cell.split(':').next().unwrap_or_default().to_owned();
    read(bytes, &reader, name, builder)
}

fn read(
    bytes: &[u8],
    reader: &ReaderBuilder,
    name: impl Fn(&str) -> String,
    builder: &mut Builder<'_>,
) -> Result<()> {
    let mut reader = reader.from_reader(bytes);
    let bad = |error: csv::Error| {
        let (line, problem) = csv_reason(&error, 1);
        builder.bad(Place::line(line), problem)
    };
    let header = reader.headers().map_err(bad)?;
    let names: Vec<String> = header.iter().map(|cell| name(cell.trim())).collect();
    check_names(&names).map_err(|problem| builder.bad(Place::line(1), problem))?;

    let mut row = StringRecord::new();
    while reader.read_record(&mut row).map_err(|error| {
        let (line, problem) = csv_reason(&error, 1);
        builder.bad(Place::line(line), problem)
    })? {
        let line = row.position().map_or(0, csv::Position::line);
        builder.push(Record {
            place: Place::line(line),
            outer_key: None,
            fields: names
                .iter()
                .cloned()
                .zip(row.iter().map(Text::from))
                .collect(),
        })?;
    }
    Ok(())
}

/// Refuses a header with empty or repeated names.
pub(crate) fn check_names<S: AsRef<str>>(names: &[S]) -> result::Result<(), String> {
    let mut seen = HashSet::new();
    for name in names.iter().map(AsRef::as_ref) {
        if name.is_empty() || !seen.insert(name) {
            return Err(format!("the header has an empty or repeated name {name:?}"));
        }
    }
    Ok(())
}

/// The line of an error, or else the one given, and our message.
pub(crate) fn csv_reason(error: &csv::Error, line: u64) -> (u64, String) {
    let line = error.position().map_or(line, csv::Position::line);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} cells, but the header has {expected_len}"),
        ErrorKind::Utf8 { err, .. } => format!("cell {}: not UTF-8", err.field() + 1),
        _ => error.to_string(),
    };
    (line, problem)
}
