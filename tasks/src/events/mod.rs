mod fields;
mod format;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod sink;
mod table;
#[cfg(test)]
mod tests;

use crate::input::{self, Input};
use crate::{Error, Place, Result};
use sink::Sink;

pub use format::EventFormat;

/// One interaction of a user with an item, as a file tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// The user's key.
    pub user: &'a str,
    /// The item's key.
    pub item: &'a str,
    /// When it was, in microseconds since 1970.
    pub micros: Option<i64>,
    /// How the user liked it; finite.
    pub rating: Option<f32>,
}

impl Event<'_> {
    /// Microseconds since 1970 of a number in the unit that [`EventOptions`] tells by its size;
    /// `None` if it is none. Whole seconds are exact: 10^6 is 2^6 times 15,625, and 37 + 14 bits
    /// fit into a float's 53.
    pub fn micros_of(time: f64) -> Option<i64> {
        let micros = match time.abs() {
            ..1e11 => time * 1e6,
            ..1e14 => time * 1e3,
            ..1e17 => time,
            ..1e20 => time / 1e3,
            _ => return None,
        };
        Some(micros.round() as i64)
    }
}

/// How to read a file of interactions.
///
/// A field that is not named is the first there is of its usual names, in any case of letters, as
/// the header or the first record has them:
///
/// | | |
/// |---|---|
/// | user | `user_id`, `userid`, `reviewerid`, `user`, `customer_id` |
/// | item | `item_id`, `itemid`, `parent_asin`, `asin`, `movie_id`, `movieid`, `product_id`, `sku`, `item` |
/// | time | `timestamp`, `unixreviewtime`, `time`, `ts` |
/// | rating | `rating`, `overall`, `stars`, `score` |
///
/// A file may do without times and ratings. If it has them, every event has. Times are numbers
/// since 1970; their unit is told by their size `t`: seconds if `|t| < 1e11` (until the year
/// 5138), milliseconds below 1e14 (from 1973 on), microseconds below 1e17, else nanoseconds.
/// Parquet's own types of time and date say their unit.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// The format; told by content and ending if `None`.
    pub format: Option<EventFormat>,
    /// The field with the user's key.
    pub user: Option<String>,
    /// The field with the item's key.
    pub item: Option<String>,
    /// The field with the time; an empty name: times are not read.
    pub time: Option<String>,
    /// The field with the rating; an empty name: ratings are not read.
    pub rating: Option<String>,
}

/// Reads a file of interactions, and gives each event on, with its place, in the order of the
/// file. Memory: one record; for Parquet one page a column.
pub(crate) fn read(
    file: &str,
    mut input: Input<'_>,
    options: &EventOptions,
    take: &mut dyn FnMut(Place, Event<'_>) -> Result<()>,
) -> Result<()> {
    let unreadable = |error: std::io::Error| Error::Format {
        file: file.to_owned(),
        problem: error.to_string(),
    };
    let mut sink = Sink::new(file, options, take);
    let is_parquet = match options.format {
        Some(format) => format == EventFormat::Parquet,
        None => input.is_parquet().map_err(unreadable)?,
    };
    if is_parquet {
        #[cfg(feature = "parquet")]
        return parquet::read(input, &mut sink);
        #[cfg(not(feature = "parquet"))]
        return Err(sink.unreadable("built without the feature `parquet`"));
    }
    let reader = input.into_reader().map_err(unreadable)?;
    let (head, mut reader) = input::peek(reader).map_err(unreadable)?;
    let format = match options.format {
        Some(format) => format,
        None => EventFormat::detect(file, &head)?,
    };
    match format {
        EventFormat::Jsonl => json::read_lines(&mut reader, &mut sink),
        EventFormat::LcRec => json::read_lc_rec(&mut reader, &mut sink),
        EventFormat::Csv => table::read_csv(&mut reader, &mut sink),
        EventFormat::RecBole => table::read_recbole(&mut reader, &mut sink),
        EventFormat::MovieLens => table::read_movie_lens(&mut reader, &mut sink),
        EventFormat::Parquet => Err(sink.unreadable("a stream; Parquet is read from a file only")),
    }
}
