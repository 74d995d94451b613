use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use semantic_id::ItemId;
use serde::Deserialize;

use super::{Sample, Skip};
use crate::corpus::Context;
use crate::{Catalogue, Error, Histories, Place, Result, UserId};

/// How items are chosen that a user did not choose.
///
/// An item of the user's events before the horizon is never one. What the user chose beyond the
/// horizon is not looked at: that would tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Negatives {
    /// How many for a sample.
    pub count: usize,
    /// Where they come from.
    pub from: NegativeSource,
}

impl Default for Negatives {
    /// Nine, by popularity.
    fn default() -> Self {
        Self {
            count: 9,
            from: NegativeSource::Popularity,
        }
    }
}

/// Where negatives come from.
#[derive(Debug, Clone, PartialEq)]
pub enum NegativeSource {
    /// All items alike.
    Uniform,
    /// By how often they occur in training.
    Popularity,
    /// Items that share the first so many codes with the one asked for: the harder, the more.
    /// Where there are too few, one code less.
    Tree {
        /// Codes shared.
        depth: usize,
    },
    /// What a model answered, best first; where that is not enough, popularity.
    Beams(Beams),
}

/// A model's answers, by user and by the event it was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beams(Arc<HashMap<(UserId, u32), Vec<ItemId>>>);

/// A line of a file of answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    user: String,
    target: u32,
    items: Vec<String>,
}

impl Beams {
    /// Reads JSON lines `{"user": key, "target": ordinal, "items": [keys, best first]}`.
    ///
    /// # Errors
    ///
    /// With file and line: what is no such object, an unknown user or item, an ordinal beyond the
    /// user's events, or two answers for one event.
    pub fn read(
        file: &str,
        bytes: &[u8],
        catalogue: &Catalogue,
        histories: &Histories,
    ) -> Result<Self> {
        let mut beams = HashMap::new();
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let bad = |problem: String| Error::Record {
                file: file.to_owned(),
                place: Place::line(number),
                problem,
            };
            let answer: Answer =
                serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
            let Answer {
                user,
                target,
                items,
            } = answer;
            let known = histories.find(&user);
            let known = known.ok_or_else(|| bad(format!("there is no user {user:?}")))?;
            let events = histories.items(known).len();
            if target as usize >= events {
                return Err(bad(format!(
                    "target {target}, but user {user:?} has {events} events"
                )));
            }
            let item = |key: &String| {
                let item = catalogue.keys().find(key);
                item.ok_or_else(|| bad(format!("there is no item {key:?}")))
            };
            let items = items.iter().map(item).collect::<Result<_>>()?;
            if beams.insert((known, target), items).is_some() {
                return Err(bad(format!(
                    "a second answer for event {target} of user {user:?}"
                )));
            }
        }
        Ok(Self(Arc::new(beams)))
    }
}

/// Draws for one negative before it is given up: histories are short, catalogues are not.
const TRIES: usize = 64;

impl Negatives {
    /// Fills the negatives of a sample, whose item and history are known, to so many. No two of
    /// them, and none and the item, have one ID.
    pub(super) fn choose(
        &self,
        context: &Context<'_>,
        count: usize,
        chance: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> std::result::Result<(), Skip> {
        let known = |sample: &Sample, item| known(context, sample, item);
        if let NegativeSource::Beams(Beams(beams)) = &self.from {
            let asked = sample.user.zip(sample.target);
            let answers = asked.and_then(|asked| beams.get(&asked));
            for &item in answers.into_iter().flatten() {
                if sample.negatives.len() < count && !known(sample, item) {
                    sample.negatives.push(item);
                }
            }
        }
        let mut depth = match self.from {
            NegativeSource::Tree { depth } => depth,
            _ => 0,
        };
        let mut tries = TRIES;
        while sample.negatives.len() < count {
            let item = match &self.from {
                NegativeSource::Popularity | NegativeSource::Beams(_) => {
                    context.popular(chance).ok_or(Skip::NoNegatives)?
                }
                NegativeSource::Uniform | NegativeSource::Tree { .. } => {
                    let kin = kin(context, sample, depth);
                    context.by_codes()[chance.random_range(kin)]
                }
            };
            if !known(sample, item) {
                sample.negatives.push(item);
                tries = TRIES;
            } else if tries > 0 {
                tries -= 1;
            } else if depth > 0 {
                (depth, tries) = (depth - 1, TRIES);
            } else {
                return Err(Skip::NoNegatives);
            }
        }
        Ok(())
    }
}

/// Whether an item is no negative: without an ID, with that of the item asked for or of another
/// negative, or chosen before the horizon.
fn known(context: &Context<'_>, sample: &Sample, item: ItemId) -> bool {
    let before = || {
        let (user, horizon) = sample.user.zip(sample.horizon)?;
        Some(context.histories.items(user)[..horizon as usize].contains(&item))
    };
    let codes = context.ids.codes(item);
    let mut taken = sample.item.iter().chain(&sample.negatives);
    codes.is_empty()
        || taken.any(|&taken| context.ids.codes(taken) == codes)
        || before().unwrap_or(false)
}

/// Where in [`Context::by_codes`] the items are that share a prefix with the sample's item.
fn kin(context: &Context<'_>, sample: &Sample, depth: usize) -> Range<usize> {
    let items = context.by_codes();
    let Some(item) = sample.item else {
        return 0..items.len();
    };
    let codes = context.ids.codes(item);
    let prefix = &codes[..depth.min(codes.len())];
    let of = |item: &ItemId| {
        let codes = context.ids.codes(*item);
        &codes[..depth.min(codes.len())]
    };
    items.partition_point(|item| of(item) < prefix)
        ..items.partition_point(|item| of(item) <= prefix)
}
