use std::collections::HashSet;

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::builder::Builder;
use super::record::{Record, Text};
use crate::{Error, Place, Result};

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
    let header = reader.headers().map_err(|error| bad(&error, builder))?;
    let names: Vec<String> = header.iter().map(|cell| name(cell.trim())).collect();
    check_names(&names, builder)?;

    let mut row = StringRecord::new();
    while reader
        .read_record(&mut row)
        .map_err(|error| bad(&error, builder))?
    {
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

fn check_names(names: &[String], builder: &Builder<'_>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            let problem = format!("the header has an empty or repeated name {name:?}");
            return Err(builder.bad(Place::line(1), problem));
        }
    }
    Ok(())
}

fn bad(error: &csv::Error, builder: &Builder<'_>) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} cells, but the header has {expected_len}"),
        ErrorKind::Utf8 { err, .. } => format!("cell {}: not UTF-8", err.field() + 1),
        _ => error.to_string(),
    };
    builder.bad(Place::line(line), problem)
}
