//! Side texts: what a language model, or the users themselves, wrote about a history.
//!
//! Intentions, preferences, reviews and traces of reasoning come from outside, and know what
//! their writers knew. So every one declares the horizon it was made at, and where it is about
//! one event, which.

mod requests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Histories, Place, Result, Side, UserId};

pub use requests::{Ingested, SideAnswer, SideRequest};

/// One side text, as it stands on a line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideRecord {
    /// What it is.
    pub kind: Side,
    /// The key of the user.
    pub user: String,
    /// The ordinal of the event it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<u32>,
    /// The first ordinal that its writer did not know.
    pub made_at: u32,
    /// What was written.
    pub text: String,
}

/// A side text of a user of some histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideText<'a> {
    /// The user.
    pub user: UserId,
    /// The ordinal of the event it is about.
    pub target: Option<u32>,
    /// The first ordinal that its writer did not know.
    pub made_at: u32,
    /// What was written; never empty.
    pub text: &'a str,
}

/// The side texts of some histories, in order of user and event.
#[derive(Debug, Clone, Default)]
pub struct SideTexts {
    kinds: BTreeMap<Side, BTreeMap<About, (u32, String)>>,
    unknown_users: usize,
}

/// Which user, and which event of theirs, a text is about; with its horizon it is a map's entry.
type About = (UserId, Option<u32>);

impl SideTexts {
    /// Reads JSON lines of [`SideRecord`], beside what there is. Texts of users whom the
    /// histories lack are left out and counted.
    ///
    /// # Errors
    ///
    /// With file and line: what is no record, an empty text, an ordinal beyond the user's
    /// events, a text made before its own event was known without saying so, or two texts of
    /// one kind about the same.
    pub fn read(&mut self, file: &str, bytes: &[u8], histories: &Histories) -> Result<()> {
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let bad = |problem: String| Error::Record {
                file: file.to_owned(),
                place: Place::line(number),
                problem,
            };
            let record: SideRecord =
                serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
            self.add(record, histories).map_err(bad)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        record: SideRecord,
        histories: &Histories,
    ) -> std::result::Result<(), String> {
        let Some(user) = histories.find(&record.user) else {
            self.unknown_users += 1;
            return Ok(());
        };
        let events = histories.items(user).len() as u32;
        if record.made_at > events || record.target.is_some_and(|target| target >= events) {
            return Err(format!(
                "made_at {} and target {:?}, but user {:?} has {events} events",
                record.made_at, record.target, record.user
            ));
        }
        if record.text.trim().is_empty() {
            return Err("the text is empty; leave the line out".to_owned());
        }
        let texts = self.kinds.entry(record.kind).or_default();
        let about = (user, record.target);
        match texts.insert(about, (record.made_at, record.text)) {
            None => Ok(()),
            Some(_) => Err(format!(
                "a second {} of user {:?} about event {:?}",
                record.kind, record.user, record.target
            )),
        }
    }

    /// Texts of a kind.
    pub fn len(&self, kind: Side) -> usize {
        self.kinds.get(&kind).map_or(0, BTreeMap::len)
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Texts left out because the histories lack their users.
    pub fn unknown_users(&self) -> usize {
        self.unknown_users
    }

    /// All texts of a kind, in order of user and event.
    pub fn iter(&self, kind: Side) -> impl Iterator<Item = SideText<'_>> {
        let texts = self.kinds.get(&kind).into_iter().flatten();
        texts.map(|(&(user, target), (made_at, text))| SideText {
            user,
            target,
            made_at: *made_at,
            text,
        })
    }

    /// The text of a kind about an event of a user or, if there is none, about the user.
    pub fn find(&self, kind: Side, user: UserId, target: Option<u32>) -> Option<SideText<'_>> {
        let texts = self.kinds.get(&kind)?;
        let of = |target| texts.get_key_value(&(user, target));
        let (&(user, target), (made_at, text)) = of(target).or_else(|| of(None))?;
        Some(SideText {
            user,
            target,
            made_at: *made_at,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use semantic_id::ItemKeys;

    use super::*;
    use crate::{Event, HistoriesBuilder, HistoryOptions};

    fn histories() -> Histories {
        let items = ItemKeys::new(["chess", "go", "tetris"]).unwrap();
        let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
        for (micros, item) in [(1, "go"), (2, "chess"), (3, "tetris")] {
            let (micros, rating) = (Some(micros), None);
            let user = "ann";
            builder
                .push(Event {
                    user,
                    item,
                    micros,
                    rating,
                })
                .unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_text_is_found_by_its_event_or_else_by_its_user() {
        let histories = histories();
        let lines = br#"
            {"kind": "intent", "user": "ann", "target": 2, "made_at": 2, "text": "falling blocks"}
            {"kind": "intent", "user": "ann", "made_at": 1, "text": "something quiet"}
            {"kind": "intent", "user": "bob", "made_at": 1, "text": "he is nobody"}
        "#;
        let mut side = SideTexts::default();
        side.read("side.jsonl", lines, &histories).unwrap();
        let ann = histories.find("ann").unwrap();
        let text = |target| side.find(Side::Intent, ann, target).unwrap().text;
        assert_eq!(text(Some(2)), "falling blocks");
        assert_eq!(text(Some(1)), "something quiet");
        assert_eq!((side.len(Side::Intent), side.unknown_users()), (2, 1));
        assert!(side.find(Side::Review, ann, None).is_none());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let histories = histories();
        let problem = |line: &str| {
            let first = r#"{"kind": "intent", "user": "ann", "made_at": 1, "text": "quiet"}"#;
            let lines = format!("{first}\n{line}\n");
            let read = SideTexts::default().read("side.jsonl", lines.as_bytes(), &histories);
            read.unwrap_err().to_string()
        };
        for (line, words) in [
            ("{", "EOF"),
            (
                r#"{"kind": "mood", "user": "ann", "made_at": 1, "text": "x"}"#,
                "mood",
            ),
            (
                r#"{"kind": "intent", "user": "ann", "made_at": 1, "text": "x"}"#,
                "a second intent",
            ),
            (
                r#"{"kind": "intent", "user": "ann", "target": 3, "made_at": 1, "text": "x"}"#,
                "3 events",
            ),
            (
                r#"{"kind": "intent", "user": "ann", "target": 1, "made_at": 4, "text": "x"}"#,
                "3 events",
            ),
            (
                r#"{"kind": "intent", "user": "ann", "target": 1, "made_at": 1, "text": " "}"#,
                "empty",
            ),
        ] {
            let problem = problem(line);
            assert!(
                problem.contains("side.jsonl, line 2") && problem.contains(words),
                "{problem}"
            );
        }
    }
}
