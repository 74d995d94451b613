use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::catalogue::is_recbole_header;
use crate::input::plain_name;
use crate::{Error, Result};

/// The formats of files of interactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventFormat {
    /// One JSON object a line, as Amazon's reviews of 2014, 2018 and 2023.
    Jsonl,
    /// Parquet, one row an event.
    Parquet,
    /// Comma-separated values with a header, as MovieLens' `ratings.csv`.
    Csv,
    /// LC-Rec's `*.inter.json`: one object, `{"0": [items in order], ...}`, without times.
    LcRec,
    /// RecBole's `.inter`: tab-separated, with a header of `name:type`.
    RecBole,
    /// MovieLens' `ratings.dat` and `u.data`: user, item, rating and time, without a header,
    /// between them `::` or tabs.
    MovieLens,
}

impl EventFormat {
    const NAMES: [(&str, Self); 6] = [
        ("jsonl", Self::Jsonl),
        ("parquet", Self::Parquet),
        ("csv", Self::Csv),
        ("lc-rec", Self::LcRec),
        ("recbole", Self::RecBole),
        ("movielens", Self::MovieLens),
    ];

    /// Tells the format by the first bytes, and by the ending where these are not enough.
    pub(super) fn detect(file: &str, head: &[u8]) -> Result<Self> {
        let name = plain_name(file);
        let unknown = |problem: &str| Error::Format {
            file: file.to_owned(),
            problem: format!("{problem}; the formats are {}", Self::names()),
        };
        let text = head.trim_ascii_start();
        let first_line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match text.first() {
            None => Err(unknown("the file is empty")),
            _ if head.starts_with(b"PAR1") => Ok(Self::Parquet),
            Some(b'{') if name.ends_with(".jsonl") || name.ends_with(".ndjson") => Ok(Self::Jsonl),
            Some(b'{') if has_only_lists(first_line, text) => Ok(Self::LcRec),
            Some(b'{') => Ok(Self::Jsonl),
            _ if is_recbole_header(first_line) => Ok(Self::RecBole),
            _ if is_movie_lens(first_line) => Ok(Self::MovieLens),
            _ if name.ends_with(".csv") || is_csv_header(first_line) => Ok(Self::Csv),
            _ => Err(unknown("neither content nor ending tells the format")),
        }
    }

    fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }
}

/// Whether all values of an object are lists, or the first is, where it goes on beyond the line.
fn has_only_lists(first_line: &[u8], text: &[u8]) -> bool {
    match serde_json::from_slice::<Map<String, Value>>(first_line) {
        Ok(object) => object.values().all(Value::is_array),
        Err(_) => {
            let value = text.splitn(2, |&byte| byte == b':').nth(1);
            value.is_some_and(|value| value.trim_ascii_start().starts_with(b"["))
        }
    }
}

fn is_movie_lens(line: &[u8]) -> bool {
    let is_number = |cell: &str| cell.trim_end().parse::<f64>().is_ok();
    std::str::from_utf8(line).is_ok_and(|line| {
        ["::", "\t"].iter().any(|between| {
            let cells: Vec<_> = line.split(between).collect();
            matches!(cells[..], [_, _, rating, time] if is_number(rating) && is_number(time))
        })
    })
}

fn is_csv_header(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| {
        let names: Vec<_> = line
            .split(',')
            .map(|name| name.trim_matches(['"', ' ', '\r']))
            .collect();
        Fields::are_usual(&names)
    })
}

impl fmt::Display for EventFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, format)| format == self);
        f.write_str(named.expect("every format has a name").0)
    }
}

impl FromStr for EventFormat {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let named = Self::NAMES.iter().find(|(known, _)| *known == name);
        named
            .map(|&(_, format)| format)
            .ok_or_else(|| format!("the formats are {}", Self::names()))
    }
}
