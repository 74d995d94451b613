use std::fmt;
use std::result;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::builder::Builder;
use super::record::{Record, Text};
use crate::{Place, Result};

/// Reads one JSON object a line; blank lines do not count as items.
pub(super) fn read_lines(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = Place::line(number);
        let object: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| builder.bad(place, reason(&error)))?;
        builder.push(Record {
            place,
            outer_key: None,
            fields: fields(object),
        })?;
    }
    Ok(())
}

/// Reads one object of objects, in the order of its keys if these are numbers.
pub(super) fn read_lc_rec(bytes: &[u8], builder: &mut Builder<'_>) -> Result<()> {
    let Entries(mut entries) = serde_json::from_slice(bytes)
        .map_err(|error| builder.bad(Place::line(error.line() as u64), reason(&error)))?;
    let number = |entry: &Entry| entry.key.parse::<u64>().ok();
    if entries.iter().all(|entry| number(entry).is_some()) {
        entries.sort_by_key(number);
    }
    for Entry { place, key, fields } in entries {
        builder.push(Record {
            place,
            outer_key: Some(key),
            fields,
        })?;
    }
    Ok(())
}

struct Entry {
    /// The entry's number in the file, whatever the order of keys.
    place: Place,
    key: String,
    fields: Vec<(String, Text)>,
}

/// The entries of an object in the order of the file, equal keys included.
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of items, {\"0\": {\"title\": ...}, ...}")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> result::Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some((key, object)) = map.next_entry::<String, Map<_, _>>()? {
                    let unit = "entry";
                    let number = entries.len() as u64 + 1;
                    entries.push(Entry {
                        place: Place { unit, number },
                        key,
                        fields: fields(object),
                    });
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(OfMap)
    }
}

fn fields(object: Map<String, Value>) -> Vec<(String, Text)> {
    let field = |(name, value)| {
        let mut text = Text::default();
        flatten(value, &mut text);
        (name, text)
    };
    object.into_iter().map(field).collect()
}

fn flatten(value: Value, text: &mut Text) {
    match value {
        Value::Null => {}
        Value::String(string) => text.parts.push(string),
        Value::Number(_) | Value::Bool(_) => text.parts.push(value.to_string()),
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, text)),
        Value::Object(_) => text.has_nested = true,
    }
}

/// serde_json's message, with the column alone: the line is ours to say.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("column {}: {message}", error.column())
}
