use std::fmt::Write as _;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use semantic_id::ItemId;

use super::texts::{Ids, Texts, UserTexts};
use crate::{Catalogue, Histories, Part, SideTexts, Split, UserId};

/// How a history is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStyle {
    /// Most recent items shown.
    pub max_items: usize,
    /// What stands between two items.
    pub separator: String,
    /// Whether items are numbered, `1. ` and so on.
    pub numbered: bool,
    /// What stands before and after a title.
    pub quotes: [String; 2],
    /// Characters taken off both ends of every title, here and elsewhere.
    pub trim_titles: String,
}

impl Default for HistoryStyle {
    /// Twenty items, `", "` between them, titles in double quotes.
    fn default() -> Self {
        Self {
            max_items: 20,
            separator: ", ".to_owned(),
            numbered: false,
            quotes: ["\"".to_owned(), "\"".to_owned()],
            trim_titles: String::new(),
        }
    }
}

impl HistoryStyle {
    /// Appends a list of items, each written by `write`.
    pub(crate) fn write<I>(
        &self,
        items: impl Iterator<Item = I>,
        out: &mut String,
        write: impl Fn(I, &mut String),
    ) {
        for (number, item) in (1_usize..).zip(items) {
            if number > 1 {
                out.push_str(&self.separator);
            }
            if self.numbered {
                let _ = write!(out, "{number}. ");
            }
            write(item, out);
        }
    }
}

/// What rows are made of: read once, never changed, shared by all threads.
#[derive(Debug)]
pub struct Context<'a> {
    /// Items and their texts.
    pub catalogue: &'a Catalogue,
    /// Users and their events.
    pub histories: &'a Histories,
    /// Which events are of training, validation and test.
    pub split: &'a Split,
    /// The items' semantic IDs.
    pub ids: &'a Ids,
    /// Texts that a language model or the users wrote.
    pub side: &'a SideTexts,
    /// The users' IDs, where users are indexed too; else their keys stand for them.
    pub users: Option<&'a UserTexts>,
    /// How histories are written.
    pub style: &'a HistoryStyle,
    titles: Texts,
    /// How often each item occurs before the horizons of training, `[N]`.
    popularity: Vec<u32>,
    /// The events of all items up to each, `[N]`.
    events: Vec<u64>,
    /// All items with an ID, in order of their codes: neighbours share the longest prefixes.
    by_codes: Vec<ItemId>,
}

impl<'a> Context<'a> {
    /// Brings the inputs together. `O(N log N + E)`.
    pub fn new(
        catalogue: &'a Catalogue,
        histories: &'a Histories,
        split: &'a Split,
        ids: &'a Ids,
        side: &'a SideTexts,
        users: Option<&'a UserTexts>,
        style: &'a HistoryStyle,
    ) -> Self {
        let items = || (0..catalogue.len() as u32).map(ItemId);
        let mut titles = Texts::default();
        for item in items() {
            let title = catalogue.text(item, "title").unwrap_or_default();
            titles.push(title.trim().trim_matches(|c| style.trim_titles.contains(c)));
        }
        let mut popularity = vec![0; catalogue.len()];
        for user in histories.users() {
            for item in &histories.items(user)[..split.train_end(user)] {
                popularity[item.index()] += 1;
            }
        }
        let mut by_codes: Vec<ItemId> = items().filter(|&item| ids.text(item).is_some()).collect();
        by_codes.sort_by(|&a, &b| ids.codes(a).cmp(ids.codes(b)).then(a.cmp(&b)));
        let context = Self {
            catalogue,
            histories,
            split,
            ids,
            side,
            users,
            style,
            titles,
            popularity: Vec::new(),
            events: Vec::new(),
            by_codes,
        };
        context.with_popularity(popularity)
    }

    /// The same with the popularity of a whole of which these are not all users, `[N]`.
    pub fn with_popularity(self, popularity: Vec<u32>) -> Self {
        let events = popularity.iter().scan(0, |sum, &events| {
            *sum += u64::from(events);
            Some(*sum)
        });
        Self {
            events: events.collect(),
            popularity,
            ..self
        }
    }

    /// The title of an item.
    pub fn title(&self, item: ItemId) -> Option<&str> {
        self.titles.get(item.index())
    }

    /// How often each item occurs before the horizons of training, `[N]`.
    pub fn popularity(&self) -> &[u32] {
        &self.popularity
    }

    /// An item, drawn by its popularity; `None` if there are no events.
    pub(crate) fn popular(&self, chance: &mut ChaCha8Rng) -> Option<ItemId> {
        let events = *self.events.last().filter(|&&events| events > 0)?;
        let event = chance.random_range(0..events);
        let item = self.events.partition_point(|&until| until <= event);
        Some(ItemId(item as u32))
    }

    /// What stands for a user in a text.
    pub(crate) fn user_text(&self, user: UserId) -> &'a str {
        let known = self.users.and_then(|users| users.get(user));
        known.unwrap_or_else(|| self.histories.key(user))
    }

    /// All items with an ID, by their codes.
    pub fn by_codes(&self) -> &[ItemId] {
        &self.by_codes
    }

    /// The first ordinal that a row for a target may not know: training rows know nothing of the
    /// held-out events, a row of an evaluation nothing of its target.
    pub fn horizon(&self, user: UserId, part: Part, target: u32) -> u32 {
        match part {
            Part::Train => self.split.train_end(user) as u32,
            Part::Valid | Part::Test => target,
        }
    }
}
