use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::input::plain_name;
use crate::{Error, Result};

/// The formats of items files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ItemFormat {
    /// One JSON object a line, as Amazon's metadata.
    Jsonl,
    /// Parquet, one row an item.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// LC-Rec's `*.item.json`: one object, `{"0": {"title": ..., ...}, ...}`.
    LcRec,
    /// RecBole's `.item`: tab-separated, with a header of `name:type`.
    RecBole,
}

impl ItemFormat {
    const NAMES: [(&str, Self); 5] = [
        ("jsonl", Self::Jsonl),
        ("parquet", Self::Parquet),
        ("csv", Self::Csv),
        ("lc-rec", Self::LcRec),
        ("recbole", Self::RecBole),
    ];

    /// Tells the format by the first bytes, and by the ending where these are not enough.
    pub(super) fn detect(file: &str, bytes: &[u8]) -> Result<Self> {
        let name = plain_name(file);
        let ends_in = |ending: &str| name.ends_with(ending);
        let unknown = |problem: &str| Error::Format {
            file: file.to_owned(),
            problem: format!("{problem}; the formats are {}", Self::names()),
        };
        let text = bytes.trim_ascii_start();
        let first_line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match text.first() {
            None => Err(unknown("the file is empty")),
            _ if bytes.starts_with(b"PAR1") => Ok(Self::Parquet),
            Some(b'{') if ends_in(".jsonl") || ends_in(".ndjson") => Ok(Self::Jsonl),
            Some(b'{') if is_record(first_line) => Ok(Self::Jsonl),
            Some(b'{') => Ok(Self::LcRec),
            _ if is_recbole_header(first_line) => Ok(Self::RecBole),
            _ if ends_in(".csv") => Ok(Self::Csv),
            _ => Err(unknown("neither content nor ending tells the format")),
        }
    }

    fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }
}

/// Whether a line is a whole object and not one of LC-Rec, in which all values are objects.
fn is_record(line: &[u8]) -> bool {
    serde_json::from_slice::<Map<String, Value>>(line)
        .is_ok_and(|object| !object.values().all(Value::is_object))
}

/// Whether a line is tab-separated cells of `name:type`.
pub(crate) fn is_recbole_header(line: &[u8]) -> bool {
    const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];
    std::str::from_utf8(line).is_ok_and(|line| {
        line.trim_end().split('\t').all(|cell| {
            cell.rsplit_once(':')
                .is_some_and(|(_, kind)| TYPES.contains(&kind))
        })
    })
}

impl fmt::Display for ItemFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, format)| format == self);
        f.write_str(named.expect("every format has a name").0)
    }
}

impl FromStr for ItemFormat {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let named = Self::NAMES.iter().find(|(known, _)| *known == name);
        named
            .map(|&(_, format)| format)
            .ok_or_else(|| format!("the formats are {}", Self::names()))
    }
}
