use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;
use std::result;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::fields::{Fields, Record};
use super::sink::Sink;
use super::table::for_each_line;
use crate::catalogue::reason;
use crate::{Error, Place, Result};

/// Reads one JSON object a line; blank lines do not count as events.
pub(super) fn read_lines(reader: &mut dyn BufRead, sink: &mut Sink<'_>) -> Result<()> {
    let mut fields = None;
    for_each_line(reader, sink, |place, line, sink| {
        let fields = match &mut fields {
            Some(fields) => fields,
            none => none.insert(find_fields(line, sink.options).map_err(|p| sink.bad(place, p))?),
        };
        let mut json = serde_json::Deserializer::from_str(line);
        let record = RecordOf(fields).deserialize(&mut json);
        let record = record.and_then(|record| json.end().map(|()| record));
        let record = record.map_err(|error| sink.bad(place, reason(&error)))?;
        sink.push(place, fields, &record)
    })
}

fn find_fields(line: &str, options: &super::EventOptions) -> result::Result<Fields, String> {
    let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| reason(&error))?;
    let names: Vec<_> = object.keys().map(String::as_str).collect();
    Fields::find(options, &names)
}

/// Reads an object with the fields that matter; the others are passed over.
struct RecordOf<'f>(&'f Fields);

impl<'de> DeserializeSeed<'de> for RecordOf<'_> {
    type Value = Record<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> result::Result<Record<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordOf<'_> {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> result::Result<Record<'de>, M::Error> {
        let mut record = Record::default();
        while let Some(name) = map.next_key_seed(Text)? {
            match self.0.role(name.as_deref().unwrap_or_default()) {
                Some(role) => {
                    let value = map.next_value_seed(Text);
                    let named = |error| M::Error::custom(format!("{}: {error}", self.0.name(role)));
                    record[role] = value.map_err(named)?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(record)
    }
}

/// A string, number or boolean as text; `None` for null.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> result::Result<Self::Value, E> {
        Ok(Some(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> result::Result<Self::Value, E> {
        Ok(Some(text.to_owned().into()))
    }

    fn visit_u64<E>(self, number: u64) -> result::Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_i64<E>(self, number: i64) -> result::Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> result::Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_unit<E>(self) -> result::Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads `{"user": [items in order], ...}`, item by item.
pub(super) fn read_lc_rec(reader: &mut dyn BufRead, sink: &mut Sink<'_>) -> Result<()> {
    let mut users = Users {
        fields: Fields::unnamed(sink.options, false),
        sink,
        number: 0,
        failed: None,
    };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let done = json.deserialize_map(&mut users).and_then(|()| json.end());
    match (done, users.failed) {
        (_, Some(error)) => Err(error),
        (Err(error), None) => Err(sink.bad(Place::line(error.line() as u64), reason(&error))),
        (Ok(()), None) => Ok(()),
    }
}

/// Gives on the events of each user as they are read.
struct Users<'s, 'a> {
    fields: Fields,
    sink: &'s mut Sink<'a>,
    /// Of the user, from 1.
    number: u64,
    /// Our own error, which serde would make a mere text.
    failed: Option<Error>,
}

impl<'de> Visitor<'de> for &mut Users<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of users, {\"0\": [items], ...}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> result::Result<(), M::Error> {
        while let Some(user) = map.next_key::<String>()? {
            self.number += 1;
            map.next_value_seed(Items { user, users: self })?;
        }
        Ok(())
    }
}

struct Items<'u, 's, 'a> {
    user: String,
    users: &'u mut Users<'s, 'a>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> result::Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> result::Result<(), S::Error> {
        let Users {
            fields,
            sink,
            number,
            failed,
        } = self.users;
        let place = Place {
            unit: "entry",
            number: *number,
        };
        while let Some(item) = list.next_element_seed(Text)? {
            let record = [Some(Cow::Borrowed(&*self.user)), item, None, None];
            sink.push(place, fields, &record).map_err(|error| {
                *failed = Some(error);
                S::Error::custom("stopped")
            })?;
        }
        Ok(())
    }
}
