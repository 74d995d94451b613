//! Comma-separated values with the header `key,c0,c1,...`; keys are quoted where they must be.

use ::csv::{ReaderBuilder, StringRecord, Writer};

use super::{Rows, Table, import};
use crate::{Code, Result};

/// Reads a row an item: its key, then its codes, as numbers or as tokens of any spelling.
/// A shorter ID leaves its last cells empty, or out. `codes` is the size of
/// every codebook; if `None`, 256 or the next power of two above the level's largest code.
///
/// # Errors
///
/// [`Error::Import`](crate::Error::Import) names line and column;
/// [`Error::DuplicateKey`](crate::Error::DuplicateKey) and
/// [`Error::CodeOutOfRange`](crate::Error::CodeOutOfRange) name the rows, 0 after the header.
pub fn read(bytes: &[u8], codes: Option<u32>) -> Result<Table> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|error| import("csv", error))?;
    let expected = (0..header.len().max(2)).map(column);
    if !header.iter().eq(expected) {
        let got: Vec<&str> = header.iter().collect();
        let problem = format!("got columns {got:?}, expected key, c0, c1, ...");
        return Err(import("csv line 1", problem));
    }
    let columns = header.len();
    let mut rows = Rows::default();
    for record in reader.records() {
        read_row(
            &record.map_err(|error| import("csv", error))?,
            columns,
            &mut rows,
        )?;
    }
    rows.finish(codes, None)
}

fn read_row(record: &StringRecord, columns: usize, rows: &mut Rows) -> Result<()> {
    let line = record.position().map_or(0, ::csv::Position::line);
    if record.len() > columns {
        let problem = format!("got {} cells, expected at most {columns}", record.len());
        return Err(import(format!("csv line {line}"), problem));
    }
    let codes: Vec<&str> = record.iter().skip(1).collect();
    let filled = codes.iter().rposition(|cell| !cell.is_empty());
    let length = filled.map_or(0, |last| last + 1);
    for (level, cell) in codes[..length].iter().enumerate() {
        rows.push_token(level, cell)
            .map_err(|error| import(format!("csv line {line}, column c{level}"), error))?;
    }
    let key = record.get(0).unwrap_or_default().to_owned();
    rows.end(key, length)
        .map_err(|problem| import(format!("csv line {line}"), problem))
}

/// Writes the header and a row an item; shorter IDs leave their last cells empty.
pub fn write(table: &Table) -> Vec<u8> {
    let levels = table.space.levels();
    let header: Vec<String> = (0..=levels).map(column).collect();
    let rows = table.rows().map(|(key, path)| {
        let mut cells = vec![key.to_owned()];
        cells.extend(path.iter().map(Code::to_string));
        cells.resize(1 + levels, String::new());
        cells
    });
    let mut writer = Writer::from_writer(Vec::new());
    for cells in std::iter::once(header).chain(rows) {
        let written = writer.write_record(cells);
        written.expect("a vector takes all that is written to it");
    }
    let flushed = writer.into_inner();
    flushed.expect("a vector takes all that is written to it")
}

/// The name of a column: the key, then the code of each level.
fn column(at: usize) -> String {
    match at.checked_sub(1) {
        None => "key".to_owned(),
        Some(level) => format!("c{level}"),
    }
}
