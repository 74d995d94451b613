//! Best-first search: prefixes in order of the best item that may lie below them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::{Engine, Prefix, Scored};
use crate::top::Key;
use crate::{Filter, Result};

/// What a search has come across and not yet looked into: a prefix, or an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// The score and rank of the item or, for a prefix, those that no item below it beats.
    pub(crate) key: Key,
    /// The score and node of a prefix.
    pub(crate) prefix: Option<Key>,
    /// The prefix it continues, as a place among all of the search.
    pub(crate) parent: u32,
}

/// All that one request has come across.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    heap: BinaryHeap<Reverse<Found>>,
    /// Items that nothing in the heap can beat, best first.
    pub(crate) proven: Vec<Found>,
}

impl Frontier {
    pub(crate) fn add(&mut self, found: Found) {
        self.heap.push(Reverse(found));
    }

    pub(crate) fn clear(&mut self) {
        self.heap.clear();
        self.proven.clear();
    }

    /// Up to `width` prefixes that must be looked into before `wanted` items are proven.
    pub(crate) fn batch(&mut self, wanted: usize, width: usize) -> Vec<Found> {
        let mut batch = Vec::new();
        let mut held = Vec::new();
        while batch.len() < width && self.proven.len() + held.len() < wanted {
            match self.heap.pop() {
                None => break,
                Some(Reverse(found)) if found.prefix.is_some() => batch.push(found),
                // Below a prefix before it there may be better ones.
                Some(Reverse(item)) if !batch.is_empty() => held.push(item),
                Some(Reverse(item)) => self.proven.push(item),
            }
        }
        self.heap.extend(held.into_iter().map(Reverse));
        batch
    }

    /// Takes the best item that may be given, proven or not, and tells what bounds the prefixes.
    pub(crate) fn next_item(&mut self, filter: &Filter) -> (Option<Found>, Option<Key>) {
        let may = |found: &Found| filter.contains(found.key.number());
        let proven = std::mem::take(&mut self.proven);
        self.heap.extend(proven.into_iter().map(Reverse));
        self.heap
            .retain(|Reverse(found)| found.prefix.is_some() || may(found));
        let items = self
            .heap
            .iter()
            .filter(|Reverse(found)| found.prefix.is_none());
        let best = items.map(|Reverse(found)| *found).min();
        let prefixes = self
            .heap
            .iter()
            .filter(|Reverse(found)| found.prefix.is_some());
        let bound = prefixes.map(|Reverse(found)| found.key).min();
        self.heap
            .retain(|Reverse(found)| Some(found) != best.as_ref());
        (best, bound)
    }

    /// The best `wanted` items there are, proven or not, and what bounds the prefixes left.
    pub(crate) fn finish(&mut self, wanted: usize) -> (Vec<Found>, Option<Key>) {
        let mut items = std::mem::take(&mut self.proven);
        let mut bound: Option<Key> = None;
        let mut rest = Vec::new();
        for Reverse(found) in self.heap.drain() {
            match found.prefix {
                None => rest.push(found),
                Some(_) => bound = Some(bound.map_or(found.key, |before| before.min(found.key))),
            }
        }
        rest.sort_unstable();
        items.extend(rest);
        items.truncate(wanted);
        (items, bound)
    }
}

/// What scores are divided by, by length; no entry is below 1.
pub(crate) type Penalties = [f32];

impl<'a, D: AsRef<[u8]> + Send + Sync> Engine<'a, D> {
    /// What bounds the items below a node of a depth, given the score of its prefix.
    pub(crate) fn bound(
        &self,
        penalties: &Penalties,
        depth: usize,
        score: f32,
        node: u32,
    ) -> Result<Key> {
        let rank = self.ranks(depth, node)?.start;
        Ok(Key::new(score / penalties[self.depth()], rank))
    }

    /// Adds the children of a prefix that may be given.
    pub(crate) fn look_into(
        &self,
        scored: Option<&Scored<'a, '_>>,
        prefix: &Prefix,
        place: u32,
        (filter, penalties): (Option<&Filter>, &Penalties),
        frontier: &mut Frontier,
    ) -> Result<()> {
        let mut scores = Vec::new();
        let family = self.step_scores(scored, prefix, &mut scores)?;
        let depth = prefix.depth as usize + 1;
        for (at, score) in scores.iter().enumerate() {
            let node = family.first + at as u32;
            let score = prefix.score + score;
            if score == f32::NEG_INFINITY {
                continue;
            }
            let ends = family.ends && at + 1 == scores.len();
            if !ends && depth < self.depth() {
                if self.alive(filter, depth, node)? {
                    frontier.add(Found {
                        key: self.bound(penalties, depth, score, node)?,
                        prefix: Some(Key::new(score, node)),
                        parent: place,
                    });
                }
                continue;
            }
            let length = depth - usize::from(ends);
            for rank in self.ranks(depth, node)? {
                if filter.is_none_or(|filter| filter.contains(rank)) {
                    frontier.add(Found {
                        key: Key::new(score / penalties[length], rank),
                        prefix: None,
                        parent: place,
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes prefixes from a frontier, up to `width` that a model must be asked about; those
    /// with one certain code are looked into at once.
    pub(crate) fn take(
        &self,
        prefixes: &mut Vec<Prefix>,
        (wanted, width): (usize, usize),
        given: (Option<&Filter>, &Penalties),
        frontier: &mut Frontier,
        chosen: &mut Vec<u32>,
    ) -> Result<()> {
        let before = chosen.len();
        while chosen.len() - before < width {
            let batch = frontier.batch(wanted, width - (chosen.len() - before));
            if batch.is_empty() {
                return Ok(());
            }
            let asked = chosen.len();
            for found in batch {
                let parent = prefixes[found.parent as usize];
                let key = found.prefix.expect("a batch is of prefixes");
                let prefix = parent.child(found.parent, key.number(), key.score());
                // All below it may have been taken since it was found.
                if !self.alive(given.0, prefix.depth as usize, prefix.node)? {
                    continue;
                }
                let place = prefixes.len() as u32;
                prefixes.push(prefix);
                if self.forced(&prefix)? {
                    self.look_into(None, &prefix, place, given, frontier)?;
                } else {
                    chosen.push(place);
                }
            }
            // Without forced ones, the batch was all there is to ask for.
            if chosen.len() > asked {
                return Ok(());
            }
        }
        Ok(())
    }
}
