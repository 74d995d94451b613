use rayon::prelude::*;
use semantic_id::ItemId;

use super::sparse::SparseSymmetric;
use crate::{Error, Result};

/// Pairs that are held before they are sorted and counted, at least.
const BUFFER: usize = 1 << 20;

/// How often two items were met close together: a graph of items, weighted by counts.
///
/// Two events of one user meet if at most `window` places lie between the one and the other;
/// an item does not meet itself.
#[derive(Debug, Clone)]
pub struct Cooccurrence {
    counts: SparseSymmetric,
}

impl Cooccurrence {
    /// Counts the pairs of `histories` within `window` places, for a catalogue of `items`.
    ///
    /// What lies in the histories is what is learnt from: give the events of training only.
    /// Memory in proportion to the distinct pairs; `O(E w log(E w))` for `E` events. The
    /// result does not depend on threads.
    ///
    /// ```
    /// use rq_vae::Cooccurrence;
    /// use semantic_id::ItemId;
    ///
    /// let [tea, cup, pot] = [ItemId(0), ItemId(1), ItemId(2)];
    /// let graph = Cooccurrence::count(&[&[tea, cup, pot], &[cup, tea]], 3, 1)?;
    /// assert_eq!(graph.between(tea, cup), 2);
    /// assert_eq!(graph.between(tea, pot), 0);
    /// assert_eq!(graph.pairs(), 2);
    /// # Ok::<(), rq_vae::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for an item beyond the catalogue, [`Error::NoPairs`] if no two items
    /// ever meet.
    pub fn count(histories: &[&[ItemId]], items: usize, window: usize) -> Result<Self> {
        check_items(histories, items)?;
        let mut tally = Tally::default();
        for events in histories {
            for (at, &a) in events.iter().enumerate() {
                for &b in events[at + 1..].iter().take(window) {
                    tally.add(a, b);
                }
            }
        }
        let upper = tally.finish();
        if upper.is_empty() {
            return Err(Error::NoPairs {
                users: histories.len(),
                window,
            });
        }
        Ok(Self {
            counts: SparseSymmetric::of_upper(items, &upper),
        })
    }

    /// Number of items `N`, those that meet no other included.
    pub fn items(&self) -> usize {
        self.counts.size()
    }

    /// Number of distinct pairs that meet.
    pub fn pairs(&self) -> usize {
        self.counts.entries() / 2
    }

    /// How often two items met.
    ///
    /// # Panics
    ///
    /// If `a` is not of the catalogue.
    pub fn between(&self, a: ItemId, b: ItemId) -> u64 {
        let mut row = self.counts.row(a.index());
        let count = row.find(|&(column, _)| column == b.index());
        count.map_or(0, |(_, count)| count as u64)
    }

    /// How often each item met others, `[N]`; 0 for a *cold* item, of which nothing is known.
    pub fn degrees(&self) -> Vec<f64> {
        self.counts.row_sums()
    }

    pub(crate) fn counts(&self) -> &SparseSymmetric {
        &self.counts
    }
}

/// Checks that the histories name items of a catalogue of `items` only.
pub(crate) fn check_items(histories: &[&[ItemId]], items: usize) -> Result<()> {
    let largest = histories.iter().flat_map(|events| events.iter()).max();
    match largest.filter(|item| item.index() >= items) {
        None => Ok(()),
        Some(item) => Err(Error::Shape {
            what: "largest item of the histories",
            got: item.index(),
            expected: items.saturating_sub(1),
        }),
    }
}

/// Counts of distinct pairs, and a buffer of pairs that are not counted yet. The buffer grows
/// with the counts, so that merging costs little and memory follows the distinct pairs.
#[derive(Default)]
struct Tally {
    /// Ascending by pair.
    counts: Vec<(u64, u32)>,
    buffer: Vec<u64>,
}

impl Tally {
    fn add(&mut self, a: ItemId, b: ItemId) {
        if a == b {
            return;
        }
        let (low, high) = (a.min(b), a.max(b));
        self.buffer.push(u64::from(low.0) << 32 | u64::from(high.0));
        if self.buffer.len() >= BUFFER.max(self.counts.len()) {
            self.merge();
        }
    }

    fn merge(&mut self) {
        self.buffer.par_sort_unstable();
        let mut merged: Vec<(u64, u32)> = Vec::with_capacity(self.counts.len());
        let mut old = std::mem::take(&mut self.counts).into_iter().peekable();
        for new in self.buffer.chunk_by(|a, b| a == b) {
            merged.extend(std::iter::from_fn(|| {
                old.next_if(|&(pair, _)| pair < new[0])
            }));
            let before = old.next_if(|&(pair, _)| pair == new[0]);
            let before = before.map_or(0, |(_, count)| count);
            let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
            merged.push((new[0], before.saturating_add(count)));
        }
        merged.extend(old);
        self.counts = merged;
        self.buffer.clear();
    }

    /// The entries above the diagonal, ascending.
    fn finish(mut self) -> Vec<(u32, u32, f32)> {
        self.merge();
        let entry = |(pair, count)| ((pair >> 32) as u32, pair as u32, count as f32);
        self.counts.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_catalogue_without_pairs_is_an_error() {
        let alone = [ItemId(3); 5];
        for histories in [&[][..], &[&alone[..], &[]]] {
            let error = Cooccurrence::count(histories, 9, 3).expect_err("no pairs");
            assert!(error.to_string().contains("no two items"), "{error}");
        }
        let beyond = Cooccurrence::count(&[&[ItemId(0), ItemId(9)]], 9, 3);
        assert!(matches!(beyond, Err(Error::Shape { got: 9, .. })));
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_loop(
            histories in proptest::collection::vec(
                proptest::collection::vec(0_u32..12, 0..15), 1..8),
            window in 1_usize..5,
        ) {
            let mut plain = HashMap::new();
            for h in &histories {
                for i in 0..h.len() {
                    for j in 0..h.len() {
                        if i != j && h[i] != h[j] && i.abs_diff(j) <= window {
                            *plain.entry((h[i], h[j])).or_insert(0_u64) += 1;
                        }
                    }
                }
            }
            let items: Vec<Vec<ItemId>> =
                histories.iter().map(|h| h.iter().copied().map(ItemId).collect()).collect();
            let views: Vec<&[ItemId]> = items.iter().map(|h| &h[..]).collect();
            match Cooccurrence::count(&views, 12, window) {
                Err(_) => prop_assert!(plain.is_empty()),
                Ok(graph) => {
                    prop_assert_eq!(2 * graph.pairs(), plain.len());
                    for ((a, b), count) in plain {
                        prop_assert_eq!(graph.between(ItemId(a), ItemId(b)), count);
                    }
                }
            }
        }

        #[test]
        fn a_tally_that_merges_often_counts_the_same(
            pairs in proptest::collection::vec((0_u32..6, 0_u32..6), 0..60),
            every in 1_usize..10,
        ) {
            let (mut once, mut often) = (Tally::default(), Tally::default());
            for (at, &(a, b)) in pairs.iter().enumerate() {
                once.add(ItemId(a), ItemId(b));
                often.add(ItemId(a), ItemId(b));
                if at % every == 0 {
                    often.merge();
                }
            }
            prop_assert_eq!(once.finish(), often.finish());
        }
    }
}
