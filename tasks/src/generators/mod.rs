//! The tasks, one file each.
//!
//! A task says what it makes samples of, and fills a [`Sample`]: who, which item, which history,
//! which candidates. It writes no text; templates do. No sample depends on another.

mod denoising;
mod elimination;
mod explanation;
mod features;
mod fusion;
mod intention;
mod item_to_text;
mod negatives;
mod pairs;
mod preference;
mod ranking;
mod rating;
mod reasoning;
mod reconstruction;
mod sequential;
mod text_to_item;
mod user_sequential;
mod yes_no;

use std::fmt;

use rand_chacha::ChaCha8Rng;
use semantic_id::ItemId;

use crate::corpus::Context;
use crate::{Error, Part, Result, Side, UserId};

pub use negatives::{Beams, NegativeSource, Negatives};

/// A task of alignment.
#[derive(Clone, Copy)]
pub struct Task {
    /// Its name in recipes and templates, as `text-to-item`.
    pub name: &'static str,
    /// What it makes samples of.
    pub over: Over,
    fill: Fill,
}

/// Fills an empty sample, or tells why there is none.
type Fill = fn(&Context<'_>, At, &TaskOptions, &mut ChaCha8Rng, &mut Sample) -> Filled;

type Filled = std::result::Result<(), Skip>;

impl Task {
    /// The task of a name.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] if there is none; it lists those that are.
    pub fn named(name: &str) -> Result<Self> {
        let task = TASKS.into_iter().find(|task| task.name == name);
        task.ok_or_else(|| {
            let known = TASKS.map(|task| task.name).join(", ");
            Error::Recipe(format!("there is no task {name:?}; there are: {known}"))
        })
    }

    /// Fills an empty sample.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn fill(
        &self,
        context: &Context<'_>,
        at: At,
        options: &TaskOptions,
        chance: &mut ChaCha8Rng,
        sample: &mut Sample,
    ) -> Filled {
        (self.fill)(context, at, options, chance, sample)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a task makes samples of, one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Every event that a part is to predict.
    Targets,
    /// Every item of the catalogue, whatever the part.
    Items,
    /// Every user with events before the horizon.
    Users,
    /// Every side text of a kind that was made for the part.
    Texts(Side),
}

/// One of what a task makes samples of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// An event to predict, or a user as known before it.
    Event {
        /// The user.
        user: UserId,
        /// The event's ordinal; for a user without a target, that of the horizon.
        ordinal: u32,
        /// For whom.
        part: Part,
    },
    /// An item.
    Item(ItemId),
}

/// Why there is no row for a sample: never silent, always counted by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// The item has no semantic ID.
    NoId,
    /// There is no event to read before it, or none whose item has an ID.
    NoHistory,
    /// No template's needs are met, as by an item without any text.
    NoTemplate,
    /// The event has no rating.
    NoRating,
    /// A side text that the sample needs is missing.
    NoSideText,
    /// There are not enough items to choose negatives from.
    NoNegatives,
    /// Even without all that may be left out, the row has too many tokens.
    TooLong,
    /// The answer says nothing: there would be nothing to learn.
    EmptyAnswer,
}

impl Skip {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::NoId,
        Self::NoHistory,
        Self::NoTemplate,
        Self::NoRating,
        Self::NoSideText,
        Self::NoNegatives,
        Self::TooLong,
        Self::EmptyAnswer,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoId => "no-id",
            Self::NoHistory => "no-history",
            Self::NoTemplate => "no-template",
            Self::NoRating => "no-rating",
            Self::NoSideText => "no-side-text",
            Self::NoNegatives => "no-negatives",
            Self::TooLong => "too-long",
            Self::EmptyAnswer => "empty-answer",
        }
    }
}

/// What a row is about, before any text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// The user.
    pub user: Option<UserId>,
    /// The item that is asked for or described.
    pub item: Option<ItemId>,
    /// The ordinal of the event it is about.
    pub target: Option<u32>,
    /// Ordinals `[first, end)` of the events it shows.
    pub reads: Option<[u32; 2]>,
    /// The first ordinal that no text may know.
    pub horizon: Option<u32>,
    /// The items it shows, oldest first; with the planted one, where there is one.
    pub history: Vec<ItemId>,
    /// Where in the history an item was planted, and which one stood there.
    pub planted: Option<(usize, ItemId)>,
    /// The items to choose from, in the order shown.
    pub candidates: Vec<ItemId>,
    /// The one item to judge, or to eliminate.
    pub candidate: Option<ItemId>,
    /// Items that the user did not choose.
    pub negatives: Vec<ItemId>,
    /// Those of them that make worse answers.
    pub rejected: Vec<ItemId>,
    /// What the user gave the item.
    pub rating: Option<f32>,
    /// Whether the user likes the item.
    pub liked: Option<bool>,
}

impl Sample {
    /// Makes it empty again, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        let lists = [
            &mut self.history,
            &mut self.candidates,
            &mut self.negatives,
            &mut self.rejected,
        ];
        let [history, candidates, negatives, rejected] = lists.map(|list| {
            list.clear();
            std::mem::take(list)
        });
        *self = Self {
            history,
            candidates,
            negatives,
            rejected,
            ..Self::default()
        };
    }

    /// Takes the item of an event as what is asked for.
    fn ask_for(&mut self, context: &Context<'_>, at: At) -> Filled {
        let item = match at {
            At::Item(item) => item,
            At::Event { user, ordinal, .. } => {
                self.target = Some(ordinal);
                context.histories.items(user)[ordinal as usize]
            }
        };
        self.item = Some(item);
        context.ids.text(item).map(|_| ()).ok_or(Skip::NoId)
    }

    /// Lets texts know the event itself, since what was written about it is what is asked with.
    fn know_event(&mut self, at: At) {
        if let (At::Event { ordinal, .. }, Some(horizon)) = (at, &mut self.horizon) {
            *horizon = (*horizon).max(ordinal + 1);
        }
    }

    /// Shows what a user did before an event.
    fn show_history(&mut self, context: &Context<'_>, at: At) -> Filled {
        let At::Event {
            user,
            ordinal,
            part,
        } = at
        else {
            return Err(Skip::NoHistory);
        };
        let first = ordinal.saturating_sub(context.style.max_items as u32);
        let items = &context.histories.items(user)[first as usize..ordinal as usize];
        let known = items
            .iter()
            .filter(|&&item| context.ids.text(item).is_some());
        self.history.extend(known);
        self.user = Some(user);
        self.reads = Some([first, ordinal]);
        self.horizon = Some(context.horizon(user, part, ordinal));
        match self.history.is_empty() {
            true => Err(Skip::NoHistory),
            false => Ok(()),
        }
    }
}

/// Settings of the tasks that have some.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// How negatives are chosen.
    pub negatives: Negatives,
    /// Ratings from here on mean that the user likes the item.
    pub liked_from: f32,
}

impl Default for TaskOptions {
    /// Nine negatives by popularity; 4 of 5 stars and more are liked.
    fn default() -> Self {
        Self {
            negatives: Negatives::default(),
            liked_from: 4.0,
        }
    }
}

/// All tasks.
pub const TASKS: [Task; 17] = [
    sequential::TASK,
    text_to_item::TASK,
    item_to_text::TASK,
    fusion::TASK,
    intention::TASK,
    preference::TASK,
    features::TASK,
    reconstruction::TASK,
    denoising::TASK,
    rating::TASK,
    ranking::TASK,
    elimination::TASK,
    yes_no::TASK,
    explanation::TASK,
    reasoning::TASK,
    pairs::TASK,
    user_sequential::TASK,
];
