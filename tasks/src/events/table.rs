use std::io::BufRead;

use csv::{ReaderBuilder, StringRecord};

use super::fields::{Fields, Record};
use super::sink::Sink;
use crate::catalogue::{check_names, csv_reason};
use crate::{Place, Result};

/// Reads comma-separated values with a header.
pub(super) fn read_csv(reader: &mut dyn BufRead, sink: &mut Sink<'_>) -> Result<()> {
    read(reader, &ReaderBuilder::new(), |cell| cell, sink)
}

/// Reads RecBole's atomic file: tabs, no quotes, a header of `name:type`.
pub(super) fn read_recbole(reader: &mut dyn BufRead, sink: &mut Sink<'_>) -> Result<()> {
    let mut table = ReaderBuilder::new();
    table.delimiter(b'\t').quoting(false);
    read(reader, &table, before_colon, sink)
}

/// The name in a cell of RecBole's header.
fn before_colon(cell: &str) -> &str {
    cell.split(':').next().unwrap_or_default()
}

fn read(
    reader: &mut dyn BufRead,
    table: &ReaderBuilder,
    name: fn(&str) -> &str,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let mut table = table.from_reader(reader);
    let bad = |error, sink: &Sink<'_>, line| {
        let (line, problem) = csv_reason(&error, line);
        sink.bad(Place::line(line), problem)
    };
    let header = table
        .headers()
        .map_err(|error| bad(error, sink, 1))?
        .clone();
    let names: Vec<&str> = header.iter().map(|cell| name(cell.trim())).collect();
    let fields = check_names(&names).and_then(|()| Fields::find(sink.options, &names));
    let fields = fields.map_err(|problem| sink.bad(Place::line(1), problem))?;
    let columns = fields.columns(&names);

    let mut row = StringRecord::new();
    loop {
        let line = table.position().line();
        match table.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(bad(error, sink, line)),
        }
        let line = row.position().map_or(line, csv::Position::line);
        let record = columns.map(|column| Some(row.get(column?)?.into()));
        sink.push(Place::line(line), &fields, &record)?;
    }
}

/// Reads user, item, rating and time, between them `::` or tabs.
pub(super) fn read_movie_lens(reader: &mut dyn BufRead, sink: &mut Sink<'_>) -> Result<()> {
    let fields = Fields::unnamed(sink.options, true);
    for_each_line(reader, sink, |place, line, sink| {
        let between = if line.contains("::") { "::" } else { "\t" };
        let cells: Vec<_> = line.split(between).collect();
        let [user, item, rating, time] = cells[..] else {
            let problem = format!("{} cells, but a MovieLens rating has 4", cells.len());
            return Err(sink.bad(place, problem));
        };
        let record: Record<'_> = [user, item, time, rating].map(|cell| Some(cell.into()));
        sink.push(place, &fields, &record)
    })
}

/// Gives on every line that is not blank, without its end.
pub(super) fn for_each_line(
    reader: &mut dyn BufRead,
    sink: &mut Sink<'_>,
    mut take: impl FnMut(Place, &str, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        let place = Place::line(number);
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(|error| sink.bad(place, error.to_string()))? == 0 {
            break;
        }
        let line = str::from_utf8(bytes.trim_ascii_end()).map_err(|error| {
            let column = error.valid_up_to() + 1;
            sink.bad(place, format!("column {column}: not UTF-8"))
        })?;
        if !line.trim_ascii_start().is_empty() {
            take(place, line, sink)?;
        }
    }
    Ok(())
}
