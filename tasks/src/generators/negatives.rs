use std::collections::HashMap;
use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use semantic_id::ItemId;

use super::{Sample, Skip};
use crate::UserId;
use crate::corpus::Context;

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
pub struct Beams(pub HashMap<(UserId, u32), Vec<ItemId>>);

/// Draws for one negative before it is given up: histories are short, catalogues are not.
const TRIES: usize = 64;

impl Negatives {
    /// Appends so many distinct negatives to the rejected items of a sample, whose item and
    /// history are known.
    pub(super) fn choose(
        &self,
        context: &Context<'_>,
        count: usize,
        chance: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Result<(), Skip> {
        let known = |sample: &Sample, item| known(context, sample, item);
        if let NegativeSource::Beams(Beams(beams)) = &self.from {
            let asked = sample.user.zip(sample.target);
            let answers = asked.and_then(|asked| beams.get(&asked));
            for &item in answers.into_iter().flatten() {
                if sample.rejected.len() < count && !known(sample, item) {
                    sample.rejected.push(item);
                }
            }
        }
        let mut depth = match self.from {
            NegativeSource::Tree { depth } => depth,
            _ => 0,
        };
        let mut tries = TRIES;
        while sample.rejected.len() < count {
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
                sample.rejected.push(item);
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

/// Whether an item is no negative: asked for, chosen before the horizon, taken, or without an ID.
fn known(context: &Context<'_>, sample: &Sample, item: ItemId) -> bool {
    let before = || {
        let (user, horizon) = sample.user.zip(sample.horizon)?;
        Some(context.histories.items(user)[..horizon as usize].contains(&item))
    };
    sample.item == Some(item)
        || sample.rejected.contains(&item)
        || context.ids.text(item).is_none()
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
