//! The rows of a corpus, read back from its shards, whatever their format.

mod columns;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

use csv::StringRecord;
use serde::Deserialize;
use serde_json::Value;

use crate::catalogue::reason;
use crate::{Error, Input, Place, Provenance, Result};
use columns::{Columns, Origin};

/// No row of a corpus is longer; a line that is, of a hostile file, is not read to its end.
const LONGEST_LINE: u64 = 1 << 26;

/// A row as it lies in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow<'a> {
    /// What a model is told and asked, with the words of the system; empty where the format keeps
    /// the slots of a template in place of texts.
    pub prompt: &'a str,
    /// What it shall answer.
    pub answer: &'a str,
    /// What it shall not answer, if anything.
    pub rejected: &'a str,
    /// Where the row comes from.
    pub provenance: &'a Provenance<'a>,
}

/// Reads the rows of a shard one by one: JSONL, compressed or not, CSV (by the ending of `file`)
/// or Parquet, in any of the formats that a corpus is written in.
///
/// Memory: one row; for Parquet a row group's pages.
///
/// # Errors
///
/// With file and line, what is no row of a corpus: not JSON, without a provenance, without an
/// answer, cut off. And those of `each`.
pub fn read_rows(
    file: &str,
    mut input: Input<'_>,
    mut each: impl FnMut(Place, StoredRow<'_>) -> Result<()>,
) -> Result<()> {
    let unreadable = |error: io::Error| format_error(file, error.to_string());
    if input.is_parquet().map_err(unreadable)? {
        #[cfg(feature = "parquet")]
        return parquet::read(file, input, &mut each);
        #[cfg(not(feature = "parquet"))]
        return Err(format_error(file, "built without the feature `parquet`"));
    }
    let reader = input.into_reader().map_err(unreadable)?;
    match file.ends_with(".csv") {
        true => read_csv(file, reader, &mut each),
        false => read_lines(file, reader, &mut each),
    }
}

type Each<'e> = dyn FnMut(Place, StoredRow<'_>) -> Result<()> + 'e;

fn read_lines(file: &str, mut reader: impl BufRead, each: &mut Each<'_>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        let bad = |problem: String| record_error(file, Place::line(number), problem);
        line.clear();
        let mut limited = reader.by_ref().take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(|error| bad(error.to_string()))? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE {
            return Err(bad(format!("a line of more than {LONGEST_LINE} bytes")));
        }
        let columns =
            serde_json::from_slice(line.trim_ascii_end()).map_err(|error| bad(reason(&error)))?;
        give(file, Place::line(number), columns, each)?;
    }
    Ok(())
}

fn read_csv(file: &str, reader: impl Read, each: &mut Each<'_>) -> Result<()> {
    let bad = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        record_error(file, Place::line(line), error.to_string())
    };
    let mut reader = csv::Reader::from_reader(reader);
    let header = reader.headers().map_err(bad)?.clone();
    let mut row = StringRecord::new();
    while reader.read_record(&mut row).map_err(bad)? {
        let place = Place::line(row.position().map_or(0, csv::Position::line));
        let cells = header.iter().zip(&row);
        let cells = cells.map(|(name, cell)| (name.to_owned(), cell.into()));
        give_value(file, place, &Value::Object(cells.collect()), each)?;
    }
    Ok(())
}

fn give_value(file: &str, place: Place, row: &Value, each: &mut Each<'_>) -> Result<()> {
    let bad = |error: serde_json::Error| record_error(file, place, error.to_string());
    give(file, place, Columns::deserialize(row).map_err(bad)?, each)
}

fn give(file: &str, place: Place, columns: Columns<'_>, each: &mut Each<'_>) -> Result<()> {
    let bad = |problem: String| record_error(file, place, problem);
    let texts = columns
        .texts()
        .map_err(|error| bad(format!("messages: {error}")))?;
    if texts.answer.is_empty() {
        return Err(bad("the row has no answer in a column of any format".into()));
    }
    let parsed;
    let provenance = match &columns.provenance {
        Some(Origin::Object(provenance)) => provenance,
        Some(Origin::Text(json)) => {
            let provenance = serde_json::from_str(json);
            parsed = provenance.map_err(|error| bad(format!("provenance: {error}")))?;
            &parsed
        }
        None => {
            return Err(bad(
                "the row has no provenance: semid did not build it".into()
            ));
        }
    };
    let row = StoredRow {
        prompt: &texts.prompt,
        answer: &texts.answer,
        rejected: &texts.rejected,
        provenance,
    };
    each(place, row)
}

fn format_error(file: &str, problem: impl Into<String>) -> Error {
    Error::Format {
        file: file.to_owned(),
        problem: problem.into(),
    }
}

fn record_error(file: &str, place: Place, problem: String) -> Error {
    Error::Record {
        file: file.to_owned(),
        place,
        problem,
    }
}
