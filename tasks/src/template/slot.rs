use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a template's `{{ name }}` stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// `item`: the ID of the sample's item, the one asked for or described.
    Item,
    /// `user`: the ID of the user.
    User,
    /// `history`: the IDs of the items in the history.
    History,
    /// `history_titles`: their titles, each in double quotes.
    HistoryTitles,
    /// `noisy_history`: the IDs of a history into which one item was planted.
    NoisyHistory,
    /// `noise`: the ID of the planted item.
    Noise,
    /// `replaced`: the ID of the item whose place it took.
    Replaced,
    /// `candidates`: the IDs of the items to choose from.
    Candidates,
    /// `candidate_titles`: their titles, each in double quotes.
    CandidateTitles,
    /// `candidate`: the ID of the one item to judge.
    Candidate,
    /// `candidate_title`: its title, without quotes.
    CandidateTitle,
    /// `worst`: the ID of the candidate that fits least.
    Worst,
    /// `remaining`: the IDs of all other candidates.
    Remaining,
    /// `rating`: a number.
    Rating,
    /// `liked`: `true` or `false`, for `{% if liked %}`; Jinja writes `True` and `False`.
    Liked,
    /// A side text.
    Side(Side),
    /// Any other name: that field of the sample's item, as `title` or `description`.
    Field(String),
}

/// The kinds of texts that stand beside the interactions: reviews, and what a language model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// `intention`: what somebody wants, in words that do not name an item.
    Intention,
    /// `preference`: what somebody likes.
    Preference,
    /// `review`: what a user wrote about an item.
    Review,
    /// `evidence`: what in a history tells of the user.
    Evidence,
    /// `latent_preference`: what follows from the evidence.
    LatentPreference,
    /// `intent`: what the user wants next.
    Intent,
    /// `rewritten_history`: the history as a short story.
    RewrittenHistory,
}

/// The words for the slots, but for the items' fields.
const NAMES: [(&str, Slot); 22] = [
    ("item", Slot::Item),
    ("user", Slot::User),
    ("history", Slot::History),
    ("history_titles", Slot::HistoryTitles),
    ("noisy_history", Slot::NoisyHistory),
    ("noise", Slot::Noise),
    ("replaced", Slot::Replaced),
    ("candidates", Slot::Candidates),
    ("candidate_titles", Slot::CandidateTitles),
    ("candidate", Slot::Candidate),
    ("candidate_title", Slot::CandidateTitle),
    ("worst", Slot::Worst),
    ("remaining", Slot::Remaining),
    ("rating", Slot::Rating),
    ("liked", Slot::Liked),
    ("intention", Slot::Side(Side::Intention)),
    ("preference", Slot::Side(Side::Preference)),
    ("review", Slot::Side(Side::Review)),
    ("evidence", Slot::Side(Side::Evidence)),
    ("latent_preference", Slot::Side(Side::LatentPreference)),
    ("intent", Slot::Side(Side::Intent)),
    ("rewritten_history", Slot::Side(Side::RewrittenHistory)),
];

impl Slot {
    /// All slots but the items' fields.
    pub(crate) fn named() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(_, slot)| slot.clone())
    }
}

impl From<&str> for Slot {
    fn from(name: &str) -> Self {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map_or_else(|| Self::Field(name.to_owned()), |(_, slot)| slot.clone())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            _ => {
                let named = NAMES.iter().find(|(_, slot)| slot == self);
                f.write_str(named.expect("every slot has a name").0)
            }
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Slot::Side(*self).fmt(f)
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match Slot::from(name) {
            Slot::Side(side) => Ok(side),
            _ => {
                let sides = NAMES
                    .iter()
                    .filter(|(_, slot)| matches!(slot, Slot::Side(_)));
                let names: Vec<_> = sides.map(|(name, _)| *name).collect();
                Err(format!("the kinds are {}", names.join(", ")))
            }
        }
    }
}

/// The values of one sample's slots; written only where a template uses them.
pub trait Values {
    /// Whether the sample has a value for the slot; it is never empty then.
    fn has(&self, slot: &Slot) -> bool;

    /// Appends the value. Called only for slots that the sample has.
    fn write(&self, slot: &Slot, out: &mut String);
}
