use std::io::BufRead;

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;

use crate::catalogue::reason;
use crate::{Error, Part, Place, Result};

/// The users of a corpus as its `split.jsonl` tells them.
#[derive(Debug, Default)]
pub(super) struct Users {
    users: IndexMap<Box<str>, Ends>,
    /// Rows of `keys`: of each user in turn those held out, in order of their events.
    held_out: Vec<u32>,
    /// The items that are held out from anybody.
    keys: IndexSet<Box<str>>,
}

/// Where a user's parts end, and where the held-out items lie.
#[derive(Debug, Clone, Copy)]
struct Ends {
    train: u32,
    valid: u32,
    events: u32,
    first: usize,
}

/// A user's parts and held-out items.
#[derive(Debug, Clone, Copy)]
pub(super) struct User<'a> {
    ends: Ends,
    /// The last events, as rows of the keys.
    held_out: &'a [u32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    user: Box<str>,
    events: u32,
    train_end: u32,
    valid_end: u32,
    valid: Vec<Box<str>>,
    test: Vec<Box<str>>,
}

impl Users {
    /// Reads JSON lines, a user a line.
    pub(super) fn read(file: &str, reader: impl BufRead) -> Result<Self> {
        let mut users = Self::default();
        for (line, number) in reader.split(b'\n').zip(1..) {
            let bad = |problem: String| Error::Record {
                file: file.to_owned(),
                place: Place::line(number),
                problem,
            };
            let line = line.map_err(|error| bad(error.to_string()))?;
            let line = serde_json::from_slice(&line).map_err(|error| bad(reason(&error)))?;
            users.add(line).map_err(bad)?;
        }
        Ok(users)
    }

    fn add(&mut self, line: Line) -> std::result::Result<(), String> {
        let Line {
            user,
            events,
            train_end: train,
            valid_end: valid,
            ..
        } = line;
        // A user's first event is no target, in whichever part it lies.
        let fits = |items: &[_], first: u32, end: u32| {
            [first, first.max(1).min(end)].contains(&end.wrapping_sub(items.len() as u32))
        };
        let ascending = train <= valid && valid <= events;
        if !ascending || !fits(&line.valid, train, valid) || !fits(&line.test, valid, events) {
            return Err(format!(
                "user {user:?}: got {} and {} held-out items for parts that end at {train}, \
                 {valid}, {events}; expected one for each event",
                line.valid.len(),
                line.test.len()
            ));
        }
        let first = self.held_out.len();
        for key in line.valid.into_iter().chain(line.test) {
            self.held_out.push(self.keys.insert_full(key).0 as u32);
        }
        let ends = Ends {
            train,
            valid,
            events,
            first,
        };
        if self.users.contains_key(&user) {
            return Err(format!("user {user:?} has a line already"));
        }
        self.users.insert(user, ends);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<User<'_>> {
        let (at, _, &ends) = self.users.get_full(key)?;
        let end = self
            .users
            .get_index(at + 1)
            .map_or(self.held_out.len(), |(_, next)| next.first);
        Some(User {
            ends,
            held_out: &self.held_out[ends.first..end],
        })
    }

    /// The keys of the items that are held out from anybody.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| &**key)
    }
}

impl User<'_> {
    /// The ordinals of a part.
    pub(super) fn part(&self, part: Part) -> std::ops::Range<u32> {
        let Ends {
            train,
            valid,
            events,
            ..
        } = self.ends;
        match part {
            Part::Train => 0..train,
            Part::Valid => train..valid,
            Part::Test => valid..events,
        }
    }

    /// The held-out items at and beyond an ordinal, as rows of the keys.
    pub(super) fn held_out(&self, from: u32) -> &[u32] {
        let beyond = self.ends.events.saturating_sub(from) as usize;
        &self.held_out[self.held_out.len().saturating_sub(beyond)..]
    }
}
