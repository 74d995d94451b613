use std::ops::Range;

use semantic_id::{Code, CodeMatrix, ItemId};
use semid_tasks::{Histories, Split, UserId};
use trie_decode::ItemTrie;

use crate::{Error, Result, Vocabulary};

/// A text to learn from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Its tokens; one without any is passed over.
    pub tokens: Vec<u32>,
    /// The first token that is to be learnt; what is before it is only read.
    pub answer: usize,
    /// For each token from `answer` on, those among which the model has to choose it, itself
    /// included; `None` for the whole vocabulary. One that has no alternative is not learnt.
    pub choices: Option<Vec<Vec<u32>>>,
}

/// What a model is trained on: examples by number, any of which can be made alone.
pub trait Examples: Sync {
    /// How many there are in an epoch.
    fn count(&self) -> usize;

    /// One of them; an epoch may tell it in words of its own.
    ///
    /// # Errors
    ///
    /// Whatever it is made of may be damaged.
    fn example(&self, epoch: u64, number: usize) -> Result<Example>;

    /// A hash of all that examples are made of: a training goes on with the data it began with.
    fn digest(&self) -> String;
}

/// Whole histories, or windows of long ones, an example each: every item of training is learnt from those before it, so
/// that an epoch is one pass over the events (the setting of TIGER, Rajput et al., arXiv
/// 2305.05065, with a decoder alone).
///
/// A code is chosen among those that items have after the codes before it, as a search that
/// normalizes over [`ValidChildren`](trie_decode::Normalizer::ValidChildren) will choose it. So the
/// model's probabilities are of items, not of code sequences, and no effort goes into learning
/// which sequences exist.
pub struct HistoryExamples<'a, D> {
    histories: &'a Histories,
    trie: &'a ItemTrie<D>,
    ids: CodeMatrix,
    vocabulary: &'a Vocabulary,
    windows: Vec<Window>,
    items: usize,
}

/// Events of a user that make an example.
pub(crate) type Window = (UserId, Range<usize>);

/// The training events of all users, each once: in windows of `items` from a user's last one on.
pub(crate) fn windows(histories: &Histories, split: &Split, items: usize) -> Vec<Window> {
    let of = |user| {
        let ends = (1..=split.train_end(user)).rev().step_by(items);
        ends.map(move |end| (user, end.saturating_sub(items)..end))
    };
    histories.users().flat_map(of).collect()
}

impl<D> std::fmt::Debug for HistoryExamples<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryExamples")
            .field("windows", &self.windows.len())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

impl<'a, D: AsRef<[u8]> + Send + Sync> HistoryExamples<'a, D> {
    /// The training events of all users, in windows of `items`. The trie has the items of the
    /// histories' catalogue.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if it has not as many, or was not made of an index.
    pub fn new(
        histories: &'a Histories,
        split: &'a Split,
        trie: &'a ItemTrie<D>,
        vocabulary: &'a Vocabulary,
        items: usize,
    ) -> Result<Self> {
        let index = trie
            .index()
            .ok_or_else(|| Error::Model("the trie is of no index".into()))?;
        if index.items() != histories.catalogue_len() {
            return Err(Error::Shape {
                what: "items of the index",
                got: index.items(),
                expected: histories.catalogue_len(),
            });
        }
        Ok(Self {
            windows: windows(histories, split, items),
            ids: index.codes()?,
            histories,
            trie,
            vocabulary,
            items,
        })
    }

    fn events(&self, number: usize) -> &[ItemId] {
        let (user, window) = self.windows[number].clone();
        &self.histories.items(user)[window]
    }

    /// The tokens that could stand at each place of an ID.
    fn choices(&self, id: &[Code], choices: &mut Vec<Vec<u32>>) -> Result<()> {
        let mut cursor = self.trie.root();
        for (level, &code) in id.iter().enumerate() {
            let children = self.trie.children(cursor)?;
            let codes = children.codes().iter();
            choices.push(
                codes
                    .map(|code| self.vocabulary.token(level, code))
                    .collect(),
            );
            match children.find(code) {
                Some(child) if Some(code) != self.trie.space().end(level) => cursor = child,
                _ => break,
            }
        }
        Ok(())
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Examples for HistoryExamples<'_, D> {
    fn count(&self) -> usize {
        self.windows.len()
    }

    fn example(&self, _: u64, number: usize) -> Result<Example> {
        let events = self.events(number);
        let ids: Vec<_> = events.iter().map(|&item| self.ids.row(item)).collect();
        let mut choices = Vec::with_capacity(ids.len() * self.ids.levels());
        ids.iter()
            .try_for_each(|id| self.choices(id, &mut choices))?;
        Ok(Example {
            tokens: self.vocabulary.prompt(&ids, self.items),
            answer: 1,
            choices: Some(choices),
        })
    }

    fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for code in self.ids.rows().flatten() {
            hash.update(&code.0.to_le_bytes());
        }
        for number in 0..self.count() {
            let events = self.events(number);
            hash.update(&(events.len() as u64).to_le_bytes());
            for item in events {
                hash.update(&item.0.to_le_bytes());
            }
        }
        hash.finalize().to_hex().to_string()
    }
}
