use ndarray::Array2;
use semantic_id::ItemId;

use super::Cooccurrence;
use super::ppmi::ppmi;
use super::svd::Truncated;
use crate::{Error, Result};

/// Passes of the subspace iteration. Spectra of co-occurrence fall slowly, and more passes
/// turn vectors only within the directions at the edge of the rank.
const PASSES: usize = 4;

/// Exponent of the singular values. 0.5 is the even split of word vectors; a larger one
/// trusts the strong directions more.
const POWER: f64 = 1.5;

/// What the histories alone say of each item: items that are met in the same company have
/// similar vectors.
///
/// Rows of `U |S|^1.5` of the truncated singular value decomposition of the [`Cooccurrence`]
/// graph's positive pointwise mutual information, scaled to length 1. Levy, Goldberg and Dagan,
/// *Improving Distributional Similarity with Lessons Learned from Word Embeddings* (2015),
/// compare the choices; ours were made on validation events.
#[derive(Debug, Clone)]
pub struct CollaborativeVectors {
    /// `[N, rank]`, rows of length 1, or 0 for an item that met no other.
    pub(crate) vectors: Array2<f32>,
    /// Events of each item that met another, `[N]`: how much its vector is worth.
    pub(crate) events: Vec<u32>,
    /// Distinct pairs of items that meet.
    pub pairs: usize,
    /// The share of the squares of the information that the rank explains.
    pub explained: f64,
}

impl CollaborativeVectors {
    /// Learns from `histories`, the events of training, of a catalogue of `items`; `window` as
    /// in [`Cooccurrence::count`]. The same seed gives the same vectors on any number of
    /// threads.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a window or a rank of 0; those of [`Cooccurrence::count`].
    pub fn learn(
        histories: &[&[ItemId]],
        items: usize,
        window: usize,
        rank: usize,
        seed: u64,
    ) -> Result<Self> {
        for (name, got) in [("window", window), ("rank", rank)] {
            if got == 0 {
                return Err(Error::Setting {
                    name,
                    got: got.to_string(),
                    expected: "at least 1".to_owned(),
                });
            }
        }
        let graph = Cooccurrence::count(histories, items, window)?;
        let information = ppmi(&graph);
        let found = Truncated::of(items, |x| information.times(x), rank, PASSES, seed);
        let squares: f64 = found.values.iter().map(|value| value.powi(2)).sum();
        Ok(Self {
            events: events(histories, &graph),
            pairs: graph.pairs(),
            explained: (squares / information.squared_norm().max(f64::MIN_POSITIVE)).min(1.0),
            vectors: rows_of_length_one(found),
        })
    }

    /// Number of items `N`.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a graph has two items at least"
    )]
    pub fn len(&self) -> usize {
        self.vectors.nrows()
    }

    /// Items of which the histories tell nothing.
    pub fn cold(&self) -> usize {
        self.events.iter().filter(|&&events| events == 0).count()
    }

    /// The vectors, `[N, rank]`: rows of length 1, or 0 for a cold item.
    pub fn view(&self) -> ndarray::ArrayView2<'_, f32> {
        self.vectors.view()
    }
}

fn events(histories: &[&[ItemId]], graph: &Cooccurrence) -> Vec<u32> {
    let mut events = vec![0_u32; graph.items()];
    for item in histories.iter().flat_map(|items| items.iter()) {
        events[item.index()] = events[item.index()].saturating_add(1);
    }
    for (events, degree) in events.iter_mut().zip(graph.degrees()) {
        *events *= u32::from(degree > 0.0);
    }
    events
}

fn rows_of_length_one(found: Truncated) -> Array2<f32> {
    let largest = found.values.first().map_or(1.0, |value| value.abs());
    let mut vectors = found.vectors;
    for mut row in vectors.outer_iter_mut() {
        for (x, value) in row.iter_mut().zip(&found.values) {
            *x *= (value.abs() / largest).powf(POWER);
        }
        let length = row.dot(&row).sqrt();
        // What rounding leaves of a row without entries is no direction.
        let scale = if length > 1e-12 { length.recip() } else { 0.0 };
        row.mapv_inplace(|x| x * scale);
    }
    vectors.mapv(|x| x as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of items that never mix, and one item that nobody met.
    #[test]
    fn items_met_in_the_same_company_are_similar() {
        let histories: Vec<Vec<ItemId>> = (0..40_u32)
            .map(|user| {
                let group = 4 * (user % 2);
                (0..4)
                    .map(|at| ItemId(group + (user / 2 + at) % 4))
                    .collect()
            })
            .collect();
        let views: Vec<&[ItemId]> = histories.iter().map(|h| &h[..]).collect();
        let learnt = CollaborativeVectors::learn(&views, 9, 2, 2, 0).expect("there are pairs");
        assert_eq!((learnt.len(), learnt.cold(), learnt.pairs), (9, 1, 12));
        let cosine = |a: usize, b: usize| learnt.view().row(a).dot(&learnt.view().row(b));
        assert!(cosine(0, 3) > 0.9 && cosine(4, 7) > 0.9);
        assert!(cosine(0, 4).abs() < 0.1);
        assert_eq!(cosine(8, 8), 0.0);
    }

    #[test]
    fn one_user_is_enough_for_a_vector() {
        let history = [ItemId(0), ItemId(1)];
        let learnt = CollaborativeVectors::learn(&[&history], 2, 3, 64, 0).expect("one pair");
        assert!(learnt.view().iter().all(|x| x.is_finite()));
        assert!(CollaborativeVectors::learn(&[&history], 2, 0, 64, 0).is_err());
    }
}
