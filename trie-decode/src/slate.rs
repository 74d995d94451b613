//! Distinct items, one after another.

use crate::best_first::Frontier;
use crate::engine::Prefix;
use crate::{BeamSearch, Filter, Outcome, Result, Scorer};

/// A list of distinct items that grows by the best item left, for one request.
///
/// Whatever was scored for one item is kept for the next: the search resumes from the prefixes
/// and items it has come across. An item taken is removed from the filter, and with it all
/// prefixes that lead to taken items only, so the search never walks into a dead end.
///
/// Where the model sees what was taken so far, its scores change: [`restart`](Self::restart)
/// forgets them, and only them.
#[derive(Debug)]
pub struct Slate<'s, 'a, D: AsRef<[u8]>> {
    search: &'s BeamSearch<'a, D>,
    filter: Filter,
    prefixes: Vec<Prefix>,
    frontier: Frontier,
    next_row: u32,
}

impl<'s, 'a, D: AsRef<[u8]> + Send + Sync> Slate<'s, 'a, D> {
    /// An empty slate of the items that may be given; all that were not removed, if `None`.
    ///
    /// Of the search's settings, the normalizer and penalty hold; the widest beam says how many
    /// prefixes are scored at a time, and a row budget, if there is one, holds for each item.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) for a filter of another trie.
    pub fn new(search: &'s BeamSearch<'a, D>, filter: Option<&Filter>) -> Result<Self> {
        let trie = search.engine.trie;
        if let Some(filter) = filter {
            filter.check(trie.stamp())?;
        }
        Ok(Self {
            search,
            filter: filter.map_or_else(|| Filter::all(trie), Filter::clone),
            prefixes: Vec::new(),
            frontier: Frontier::default(),
            next_row: 0,
        })
    }

    /// The best item left, if there is one, which is then taken; `exact` is false only where
    /// the row budget ended first.
    ///
    /// # Errors
    ///
    /// Those of [`BeamSearch::run`].
    pub fn next(&mut self, scorer: &mut (impl Scorer + ?Sized)) -> Result<Outcome> {
        let BeamSearch { engine, config, .. } = self.search;
        let width = config.beams.iter().copied().max().unwrap_or(1);
        let budget = config.exact.map_or(usize::MAX, |exact| exact.row_budget);
        let mut rows = 0;
        let mut chosen = Vec::new();
        if self.prefixes.is_empty() && !self.filter.is_empty() {
            self.prefixes.push(Prefix::root(0));
            chosen.push(0);
        }
        loop {
            let given = (Some(&self.filter), &self.search.penalties[..]);
            let (prefixes, frontier) = (&mut self.prefixes, &mut self.frontier);
            frontier
                .proven
                .retain(|item| self.filter.contains(item.key.number()));
            if chosen.is_empty() {
                let wanted = (1, width.min(budget - rows));
                engine.take(prefixes, wanted, given, frontier, &mut chosen)?;
            }
            if chosen.is_empty() {
                break;
            }
            let scored = engine.score(scorer, prefixes, &chosen, self.next_row)?;
            self.next_row += chosen.len() as u32;
            rows += chosen.len();
            for place in chosen.drain(..) {
                let prefix = prefixes[place as usize];
                engine.look_into(Some(&scored), &prefix, place, given, frontier)?;
            }
        }
        let (item, bound) = self.frontier.next_item(&self.filter);
        let Some(item) = item else {
            return Ok(Outcome {
                hits: Vec::new(),
                exact: bound.is_none(),
                gap: bound.is_none().then_some(0.0),
                rows,
            });
        };
        self.filter.take(item.key.number());
        let bound = bound.filter(|&bound| bound < item.key);
        Ok(Outcome {
            hits: vec![engine.hit(&self.prefixes, &item)?],
            exact: bound.is_none(),
            gap: Some(bound.map_or(0.0, |bound| bound.score() - item.key.score())),
            rows,
        })
    }

    /// Removes an item from what may be given, by rank.
    pub fn take(&mut self, rank: u32) {
        self.filter.take(rank);
    }

    /// Forgets all scores, since the model's context has changed. Items taken stay so.
    pub fn restart(&mut self) {
        self.prefixes.clear();
        self.frontier.clear();
        self.next_row = 0;
    }
}
