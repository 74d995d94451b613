//! The rules that a row's texts can break.

use semantic_id::{ItemId, SemanticId};

use super::Sources;
use super::report::{Rule, ShardFindings};
use super::users::{User, Users};
use crate::stored::StoredRow;
use crate::{Part, Place, Provenance, Result};

/// Tasks that show items by chance, which may be any.
const DRAWING_TASKS: [&str; 5] = ["denoising", "elimination", "pairs", "ranking", "yes-no"];

/// The task whose texts a teacher thought of.
const TRACE_TASK: &str = "reasoning";

/// What texts are held against.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    sources: Sources<'a>,
    /// Of each held-out key, its item of the index.
    held_out: Vec<Option<ItemId>>,
    /// Of each held-out key, its title in lower case.
    titles: Vec<Option<String>>,
    /// Of each item of the catalogue, that of the index.
    indexed: Vec<Option<ItemId>>,
}

/// An ID in a text.
struct Id {
    id: SemanticId,
    /// Those that have it: one, several in an index of shared IDs, or none.
    items: Vec<ItemId>,
}

impl<'a> Texts<'a> {
    pub(super) fn new(sources: Sources<'a>, users: &Users) -> Result<Self> {
        let find = |key| match &sources.index {
            Some(index) => index.find(key),
            None => Ok(None),
        };
        let title = |key| {
            let items = sources.items?;
            let title = items.text(items.keys().find(key)?, "title")?;
            Some(title.to_lowercase())
        };
        let held_out: semantic_id::Result<_> = users.keys().map(find).collect();
        let all = sources
            .items
            .into_iter()
            .flat_map(|items| items.keys().iter());
        let indexed: semantic_id::Result<_> = all.map(find).collect();
        Ok(Self {
            held_out: held_out?,
            titles: users.keys().map(title).collect(),
            indexed: indexed?,
            sources,
        })
    }

    /// What a rule cannot be checked without.
    pub(super) fn lacks(&self, rule: Rule) -> Option<&'static str> {
        let Sources {
            index,
            items,
            histories,
        } = &self.sources;
        match rule {
            Rule::HeldOut | Rule::Ids | Rule::Reads if index.is_none() => Some("the index"),
            Rule::Traces | Rule::Reads if items.is_none() => Some("the items"),
            Rule::Reads if histories.is_none() => Some("the histories"),
            _ => None,
        }
    }

    pub(super) fn check(
        &self,
        place: Place,
        row: &StoredRow<'_>,
        user: Option<User<'_>>,
        found: &mut ShardFindings,
    ) -> Result<()> {
        let of = row.provenance;
        let (asked, answered) = (self.ids(row.prompt)?, self.ids(row.answer)?);
        let mut check = |rule: Rule, outcome| {
            if self.lacks(rule).is_none() {
                found.check(rule, place, outcome);
            }
        };
        let shown = || asked.iter().chain(&answered);
        let unknown = shown().find(|id| id.items.is_empty());
        check(Rule::Ids, none(unknown, "no item of the index"));
        let Some(user) = user else {
            return Ok(());
        };
        let history = self.history(of);
        let before = within(history, [0, of.horizon.unwrap_or(0)]);
        if of.task == TRACE_TASK {
            let trace = self.trace(row, &user, before, [&asked, &answered]);
            check(Rule::Traces, trace);
        }
        let draws = DRAWING_TASKS.contains(&&*of.task);
        if of.reads.is_some() && !draws {
            let target = of.target.map(|at| [at, at.saturating_add(1)]);
            let may = [of.reads, target].map(|events| within(history, events.unwrap_or_default()));
            let is_read = |id: &Id| may.iter().any(|items| self.is_of(id, items));
            let other = asked.iter().find(|id| !is_read(id));
            check(Rule::Reads, none(other, "no event that the row has read"));
        }
        if of.part == Part::Train {
            let held_out = || shown().filter(|id| self.is_held_out(id, &user));
            let leak = held_out().find(|id| !self.is_of(id, before));
            let told = leak.filter(|_| !draws);
            check(Rule::HeldOut, none(told, "held out from the user"));
            found.drawn += u64::from(leak.is_some() && draws);
            found.chosen_again += u64::from(leak.is_none() && held_out().next().is_some());
        }
        Ok(())
    }

    /// The IDs of a text; none without an index.
    fn ids(&self, text: &str) -> Result<Vec<Id>> {
        let Some(index) = &self.sources.index else {
            return Ok(Vec::new());
        };
        let items = |id: SemanticId| {
            let space = index.space();
            let padding = (id.len()..space.levels()).map_while(|level| space.end(level));
            let path: Vec<_> = id.iter().copied().chain(padding).collect();
            let items = match path.len() == space.levels() {
                true => index.items_of(&path)?,
                false => Vec::new(),
            };
            Ok(Id { id, items })
        };
        index.token_format().find_all(text).map(items).collect()
    }

    fn is_held_out(&self, id: &Id, user: &User<'_>) -> bool {
        let held_out = user.held_out(user.part(Part::Train).end).iter();
        let mut held_out = held_out.filter_map(|&key| self.held_out[key as usize]);
        held_out.any(|item| id.items.contains(&item))
    }

    /// Whether it is the ID of one of these items of the catalogue.
    fn is_of(&self, id: &Id, items: &[ItemId]) -> bool {
        let indexed = |item: &ItemId| self.indexed.get(item.index()).copied().flatten();
        items
            .iter()
            .filter_map(indexed)
            .any(|item| id.items.contains(&item))
    }

    /// All items of the row's user, as far as they are known.
    fn history(&self, of: &Provenance<'_>) -> &[ItemId] {
        let items = || {
            let histories = self.sources.histories?;
            Some(histories.items(histories.find(of.user.as_deref()?)?))
        };
        items().unwrap_or_default()
    }

    /// A prompt may name no item at or beyond the horizon, an answer none beyond the target.
    fn trace(
        &self,
        row: &StoredRow<'_>,
        user: &User<'_>,
        before: &[ItemId],
        ids: [&[Id]; 2],
    ) -> std::result::Result<(), String> {
        let of = row.provenance;
        let horizon = match of.part {
            Part::Train => user.part(Part::Train).end,
            Part::Valid | Part::Test => of.horizon.unwrap_or(0),
        };
        let beyond = of
            .target
            .map_or(0, |target| target.saturating_add(1))
            .max(horizon);
        let [asked, answered] = ids;
        for (text, ids, from) in [(row.prompt, asked, horizon), (row.answer, answered, beyond)] {
            let text = text.to_lowercase();
            for &key in user.held_out(from) {
                let item = self.held_out[key as usize];
                let has = |id: &&Id| item.is_some_and(|item| id.items.contains(&item));
                let id = ids.iter().find(|id| has(id) && !self.is_of(id, before));
                none(id, "held out from the user")?;
                if let Some(title) = &self.titles[key as usize]
                    && names(&text, title)
                    && !self.is_title(title, before)
                {
                    return Err(format!("the title {title:?} is held out from the user"));
                }
            }
        }
        Ok(())
    }

    /// Whether it is the title, or a part of it, of one of these items.
    fn is_title(&self, title: &str, items: &[ItemId]) -> bool {
        let text = |&item| self.sources.items?.text(item, "title");
        let mut known = items.iter().filter_map(text);
        known.any(|known| names(&known.to_lowercase(), title))
    }
}

/// The events `[first, end)` of a history, as far as it has them.
fn within(history: &[ItemId], [first, end]: [u32; 2]) -> &[ItemId] {
    let end = history.len().min(end as usize);
    history.get(first as usize..end).unwrap_or_default()
}

fn none(id: Option<&Id>, what: &str) -> std::result::Result<(), String> {
    id.map_or(Ok(()), |id| Err(format!("ID {} is {what}", id.id)))
}

/// Whether a text has a title in it as words of its own.
fn names(text: &str, title: &str) -> bool {
    let in_word = |a: Option<char>, b: Option<char>| {
        [a, b]
            .iter()
            .all(|c| c.is_some_and(|c| c.is_ascii_alphanumeric()))
    };
    !title.is_empty()
        && text.match_indices(title).any(|(start, title)| {
            let (before, after) = (&text[..start], &text[start + title.len()..]);
            !in_word(before.chars().next_back(), title.chars().next())
                && !in_word(title.chars().next_back(), after.chars().next())
        })
}
