//! The `.index.json` of LC-Rec and its descendants: one object from item key to tokens.

use std::borrow::Cow;
use std::fmt;

use serde::Serializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Rows, Table, import};
use crate::Result;

/// Reads `{"0": ["<a_12>", "<b_3>"], ...}`, of any depth and token spelling: the spelling of a
/// level is learnt from its first token. Plain numbers in place of tokens are codes too.
/// `codes` is the size of every codebook; if `None`, 256 or the
/// next power of two above the level's largest code.
///
/// # Errors
///
/// [`Error::Import`](crate::Error::Import) names the item, and the line and column of the file;
/// [`Error::DuplicateKey`](crate::Error::DuplicateKey) and
/// [`Error::CodeOutOfRange`](crate::Error::CodeOutOfRange) name the rows, in order of the file.
pub fn read(bytes: &[u8], codes: Option<u32>) -> Result<Table> {
    let mut rows = Rows::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    json.deserialize_map(Items(&mut rows))
        .and_then(|()| json.end())
        .map_err(|error| import("index.json", error))?;
    rows.finish(codes, None)
}

/// Writes the tokens of each item, one item a line.
pub fn write(table: &Table) -> Vec<u8> {
    let mut json = b"{".to_vec();
    for (row, (key, path)) in table.rows().enumerate() {
        json.extend(if row == 0 { "\n" } else { ",\n" }.as_bytes());
        let tokens = path.iter().enumerate();
        let tokens = tokens.map(|(level, &code)| table.token_format.token(level, code));
        let mut serializer = serde_json::Serializer::new(&mut json);
        let written = serializer.serialize_str(key);
        written.expect("a vector takes all that is written to it");
        json.extend(b": ");
        let mut serializer = serde_json::Serializer::new(&mut json);
        let written = serializer.collect_seq(tokens);
        written.expect("a vector takes all that is written to it");
    }
    json.extend(b"\n}\n");
    json
}

/// The object: reads item after item into the rows, and keeps no tokens.
struct Items<'r>(&'r mut Rows);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from item keys to lists of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let length = map.next_value_seed(Tokens {
                rows: self.0,
                key: &key,
            })?;
            self.0.end(key, length).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The tokens of one item; gives their number.
struct Tokens<'r> {
    rows: &'r mut Rows,
    key: &'r str,
}

impl<'de> DeserializeSeed<'de> for Tokens<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<usize, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tokens<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of tokens for item {:?}", self.key)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<usize, A::Error> {
        let mut level = 0;
        while let Some(Token(token)) = list.next_element()? {
            self.rows
                .push_token(level, &token)
                .map_err(|error| A::Error::custom(format!("item {:?}: {error}", self.key)))?;
            level += 1;
        }
        Ok(level)
    }
}

/// A token, or a code as a plain number.
struct Token<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Token<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Token<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token such as \"<a_12>\", or a code")
            }

            fn visit_borrowed_str<E>(self, token: &'de str) -> std::result::Result<Token<'de>, E> {
                Ok(Token(token.into()))
            }

            fn visit_str<E>(self, token: &str) -> std::result::Result<Token<'de>, E> {
                Ok(Token(token.to_owned().into()))
            }

            fn visit_u64<E>(self, code: u64) -> std::result::Result<Token<'de>, E> {
                Ok(Token(code.to_string().into()))
            }
        }

        json.deserialize_any(Either)
    }
}
