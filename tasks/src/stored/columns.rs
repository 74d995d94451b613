use std::borrow::Cow;
use std::fmt;
use std::result;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Provenance;

/// The columns of a row, by what they are to a model; all formats together.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) provenance: Option<Origin<'a>>,
    prompt: Vec<Said<'a>>,
    answer: Vec<Said<'a>>,
    rejected: Said<'a>,
    /// A conversation, whose last turn is the answer.
    chat: Said<'a>,
    /// Prompt and answer as one text.
    whole: Said<'a>,
}

/// A provenance as it is written: an object or, where columns have no fields, JSON in a string.
pub(super) enum Origin<'a> {
    Object(Provenance<'a>),
    Text(String),
}

/// The texts of a row.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) prompt: String,
    pub(super) answer: String,
    pub(super) rejected: String,
}

impl Columns<'_> {
    /// What is to be read in all columns, texts of one kind each on its line.
    pub(super) fn texts(&self) -> serde_json::Result<Texts> {
        let mut texts = Texts::default();
        self.prompt
            .iter()
            .for_each(|said| said.write(&mut texts.prompt));
        self.answer
            .iter()
            .for_each(|said| said.write(&mut texts.answer));
        self.rejected.write(&mut texts.rejected);
        match &self.chat {
            Said::Text(json) => serde_json::from_str::<Said<'_>>(json)?.write_chat(&mut texts),
            chat => chat.write_chat(&mut texts),
        }
        if let Said::Text(whole) = &self.whole {
            let answer = whole.strip_prefix(&*texts.prompt).unwrap_or(whole);
            texts.answer.push_str(answer);
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for Columns<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        struct OfRow;

        impl<'de> Visitor<'de> for OfRow {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of a corpus, an object")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> result::Result<Columns<'de>, M::Error> {
                let mut columns = Columns::default();
                while let Some(Name(name)) = map.next_key()? {
                    match &*name {
                        "provenance" => columns.provenance = Some(map.next_value()?),
                        "messages" | "conversations" => columns.chat = map.next_value()?,
                        "text" => columns.whole = map.next_value()?,
                        "rejected" => columns.rejected = map.next_value()?,
                        "prompt" | "prompt_text" | "system" | "instruction" | "input"
                        | "history_item_title" | "history_item_sid" => {
                            columns.prompt.push(map.next_value()?);
                        }
                        "completion" | "output" | "chosen" | "ground_truth" | "reward_model"
                        | "item_title" | "item_sid" | "fields" => {
                            columns.answer.push(map.next_value()?);
                        }
                        _ => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(columns)
            }
        }

        deserializer.deserialize_map(OfRow)
    }
}

impl<'de> Deserialize<'de> for Origin<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        struct OfOrigin;

        impl<'de> Visitor<'de> for OfOrigin {
            type Value = Origin<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the provenance of a row, an object or JSON in a string")
            }

            fn visit_str<E>(self, json: &str) -> result::Result<Origin<'de>, E> {
                Ok(Origin::Text(json.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> result::Result<Origin<'de>, M::Error> {
                Provenance::deserialize(MapAccessDeserializer::new(map)).map(Origin::Object)
            }
        }

        deserializer.deserialize_any(OfOrigin)
    }
}

/// Texts, and what holds them; anything else is [`Said::Nothing`].
#[derive(Default)]
enum Said<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    List(Vec<Said<'a>>),
    Object(Vec<(Cow<'a, str>, Said<'a>)>),
}

/// Fields of a turn or of a part of it whose values are no words of it.
const MARKS: [&str; 4] = ["role", "from", "type", "style"];

impl Said<'_> {
    /// Appends all texts, each on its line.
    fn write(&self, out: &mut String) {
        match self {
            Self::Nothing => {}
            Self::Text(text) => {
                if !out.is_empty() && !text.is_empty() {
                    out.push('\n');
                }
                out.push_str(text);
            }
            Self::List(list) => list.iter().for_each(|said| said.write(out)),
            Self::Object(fields) => {
                let words = fields.iter().filter(|(name, _)| !MARKS.contains(&&**name));
                words.for_each(|(_, said)| said.write(out));
            }
        }
    }

    fn write_chat(&self, texts: &mut Texts) {
        if let Self::List(turns) = self
            && let Some((answer, prompt)) = turns.split_last()
        {
            prompt.iter().for_each(|turn| turn.write(&mut texts.prompt));
            answer.write(&mut texts.answer);
        }
    }
}

impl<'de> Deserialize<'de> for Said<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        struct OfSaid;

        impl<'de> Visitor<'de> for OfSaid {
            type Value = Said<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts")
            }

            fn visit_unit<E>(self) -> result::Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }

            fn visit_bool<E>(self, _: bool) -> result::Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }

            fn visit_i64<E>(self, _: i64) -> result::Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }

            fn visit_u64<E>(self, _: u64) -> result::Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }

            fn visit_f64<E>(self, _: f64) -> result::Result<Said<'de>, E> {
                Ok(Said::Nothing)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> result::Result<Said<'de>, E> {
                Ok(Said::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> result::Result<Said<'de>, E> {
                Ok(Said::Text(text.to_owned().into()))
            }

            fn visit_seq<S: SeqAccess<'de>>(
                self,
                mut seq: S,
            ) -> result::Result<Said<'de>, S::Error> {
                let mut list = Vec::new();
                while let Some(said) = seq.next_element()? {
                    list.push(said);
                }
                Ok(Said::List(list))
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> result::Result<Said<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), said)) = map.next_entry()? {
                    fields.push((name, said));
                }
                Ok(Said::Object(fields))
            }
        }

        deserializer.deserialize_any(OfSaid)
    }
}

/// A key, borrowed where it can be: serde's own impl for `Cow` copies.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
