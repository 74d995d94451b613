use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::{Items, List};
use crate::{Error, Part, Place, Result};

/// Whom a system is asked to recommend to, and what would be right.
#[derive(Debug, Clone)]
pub struct Truth {
    /// In order of their keys, so that no figure depends on that of the file.
    users: Vec<User>,
    /// Those without a true item.
    idle: Vec<User>,
}

/// A user of a truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's key.
    pub key: String,
    /// The rows of the true items, ascending and distinct.
    pub targets: Vec<u32>,
    /// The rows of all events that training does not see.
    pub held_out: Vec<u32>,
    /// Events that a recommendation may be made from, where the file tells.
    pub history: Option<u64>,
}

/// A line of the truth.
#[derive(serde::Deserialize)]
struct TruthLine<'a> {
    #[serde(borrow)]
    user: Key<'a>,
    #[serde(borrow)]
    items: Option<Vec<Key<'a>>>,
    #[serde(borrow)]
    valid: Option<Vec<Key<'a>>>,
    #[serde(borrow)]
    test: Option<Vec<Key<'a>>>,
    train_end: Option<u64>,
    valid_end: Option<u64>,
}

impl Truth {
    /// Reads JSONL, a line a user: the `split.jsonl` of a corpus, of which `part` is taken, or
    /// `{"user", "items": [keys]}`. `file` is its name, for errors.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] for a line that is none of these or has the user of another line,
    /// [`Error::Format`] if no user has a true item.
    pub fn read(file: &str, bytes: &[u8], part: Part, items: &mut Items<'_>) -> Result<Self> {
        let mut users = Vec::new();
        each_line(file, bytes, |place, line: TruthLine<'_>| {
            let mut rows = |keys: &Option<Vec<Key<'_>>>| -> Option<Vec<u32>> {
                let keys = keys.as_ref()?.iter();
                Some(keys.map(|key| items.row(&key.0)).collect())
            };
            let parts = [rows(&line.items), rows(&line.valid), rows(&line.test)];
            let held_out = parts.iter().flatten().flatten().copied().collect();
            let [all, valid, test] = parts;
            let (of_part, history) = match part {
                Part::Train => (None, None),
                Part::Valid => (valid, line.train_end),
                Part::Test => (test, line.valid_end),
            };
            let mut targets = all.or(of_part).ok_or_else(|| {
                let problem = "expected a field `valid` and a field `test`, or `items`";
                bad(file, place, problem)
            })?;
            targets.sort_unstable();
            targets.dedup();
            let user = User {
                key: line.user.0.into_owned(),
                targets,
                held_out,
                history,
            };
            users.push((user, place));
            Ok(())
        })?;
        users.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        if let Some([first, second]) = users.array_windows().find(|[a, b]| a.0.key == b.0.key) {
            return Err(twice(file, second.1, &first.0.key, first.1));
        }
        let users = users.into_iter().map(|(user, _)| user);
        let (users, idle): (Vec<_>, Vec<_>) = users.partition(|user| !user.targets.is_empty());
        if users.is_empty() {
            return Err(Error::Format {
                file: file.to_owned(),
                problem: format!("none of its {} users has a true item", idle.len()),
            });
        }
        Ok(Self { users, idle })
    }

    /// The users with a true item, in order of their keys.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The users without a true item, in order of their keys.
    pub fn idle(&self) -> &[User] {
        &self.idle
    }
}

/// What a system recommended to the users of a truth that have a true item.
#[derive(Debug, Clone)]
pub struct Predictions {
    lists: Vec<List>,
    missing: usize,
    others: usize,
}

/// A line of the predictions.
#[derive(serde::Deserialize)]
struct PredictionLine<'a> {
    #[serde(borrow)]
    user: Key<'a>,
    #[serde(borrow)]
    items: Option<Vec<Key<'a>>>,
    #[serde(borrow)]
    ids: Option<Vec<Key<'a>>>,
    scores: Option<Vec<f64>>,
}

impl Predictions {
    /// Reads JSONL, a line a user: `{"user", "items": [keys]}` or, if there is an index,
    /// `{"user", "ids": ["<a_1><b_2>", ...]}`, best first; `"scores"` may be there. An ID that no
    /// item has is a miss. Users that the truth lacks are counted and left out.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] for a line that is neither, with scores that do not fit, or with the user
    /// of another line; [`Error::Format`] if it has none of the users.
    pub fn read(file: &str, bytes: &[u8], truth: &Truth, items: &mut Items<'_>) -> Result<Self> {
        let users = truth.users();
        let mut lists = vec![List::default(); users.len()];
        let mut places: Vec<Option<Place>> = vec![None; users.len()];
        let mut others = 0;
        each_line(file, bytes, |place, line: PredictionLine<'_>| {
            let list = list(&line, items).map_err(|problem| bad(file, place, problem))?;
            let key = &*line.user.0;
            let Ok(user) = users.binary_search_by(|user| user.key.as_str().cmp(key)) else {
                others += 1;
                return Ok(());
            };
            if let Some(first) = places[user].replace(place) {
                return Err(twice(file, place, key, first));
            }
            lists[user] = list;
            Ok(())
        })?;
        let missing = places.iter().filter(|place| place.is_none()).count();
        if missing == users.len() {
            let (got, known, such) = (others, users.len(), &users[0].key);
            return Err(Error::Format {
                file: file.to_owned(),
                problem: format!(
                    "none of its {got} users is among the {known} of the truth, such as {such:?}"
                ),
            });
        }
        Ok(Self {
            lists,
            missing,
            others,
        })
    }

    /// The list of each user, in the truth's order; empty if there is none.
    pub fn lists(&self) -> &[List] {
        &self.lists
    }

    /// Each user's list, and the rows of their true items, as [`super::Scores`] takes them.
    pub fn paired<'a>(&'a self, truth: &'a Truth) -> Vec<(&'a List, &'a [u32])> {
        let targets = truth.users.iter().map(|user| &*user.targets);
        self.lists.iter().zip(targets).collect()
    }

    /// Users without a line.
    pub fn missing_users(&self) -> usize {
        self.missing
    }

    /// Lines of users that the truth lacks, or has no true item for.
    pub fn other_users(&self) -> usize {
        self.others
    }
}

fn list(line: &PredictionLine<'_>, items: &mut Items<'_>) -> std::result::Result<List, String> {
    let list = match (&line.items, &line.ids) {
        (Some(keys), None) => {
            let rows: Vec<u32> = keys.iter().map(|key| items.row(&key.0)).collect();
            List::of_items(&rows)
        }
        (None, Some(_)) if !items.has_index() => {
            return Err("got semantic IDs; give the index that they are of".to_owned());
        }
        (None, Some(ids)) => {
            let entries = ids.iter().map(|id| items.rows_of_id(&id.0));
            let entries: semantic_id::Result<Vec<_>> = entries.collect();
            List::new(entries.map_err(|error| error.to_string())?)
        }
        _ => return Err("expected either a field `items` or a field `ids`".to_owned()),
    };
    let Some(scores) = &line.scores else {
        return Ok(list);
    };
    if scores.len() != list.len() {
        return Err(format!(
            "got {} scores for {} entries",
            scores.len(),
            list.len()
        ));
    }
    match scores.array_windows().position(|[a, b]| a < b) {
        Some(at) => Err(format!(
            "score {} is higher than the one before it; expected the best first",
            at + 2
        )),
        None => Ok(list),
    }
}

/// Reads one JSON object a line; blank lines are passed over.
fn each_line<'a, T: Deserialize<'a>>(
    file: &str,
    bytes: &'a [u8],
    mut take: impl FnMut(Place, T) -> Result<()>,
) -> Result<()> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = Place::line(number);
        let line = serde_json::from_slice(line)
            .map_err(|error| bad(file, place, crate::catalogue::reason(&error)))?;
        take(place, line)?;
    }
    Ok(())
}

fn bad(file: &str, place: Place, problem: impl Into<String>) -> Error {
    Error::Record {
        file: file.to_owned(),
        place,
        problem: problem.into(),
    }
}

fn twice(file: &str, place: Place, user: &str, first: Place) -> Error {
    let problem = format!("user {user:?} has a line already, {first}; expected one a user");
    bad(file, place, problem)
}

/// A key or an ID: a string, or an integer as other tools write keys.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct OfKey;

        impl<'de> Visitor<'de> for OfKey {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(key.into()))
            }

            fn visit_str<E>(self, key: &str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(key.to_owned().into()))
            }

            fn visit_u64<E>(self, key: u64) -> std::result::Result<Key<'de>, E> {
                Ok(Key(key.to_string().into()))
            }

            fn visit_i64<E>(self, key: i64) -> std::result::Result<Key<'de>, E> {
                Ok(Key(key.to_string().into()))
            }
        }

        deserializer.deserialize_any(OfKey)
    }
}
