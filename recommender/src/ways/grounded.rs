use semantic_id::{Code, ItemId};
use tch::{Kind, Tensor};
use trie_decode::ItemTrie;

use super::offered::{Offered, index, prompts};
use crate::decode::FreeSearch;
use crate::{Error, Llama, Query, Ranker, Reader, Result};

/// Lets a model generate freely, and gives the items that are nearest to what came out (BIGRec,
/// Bao et al., arXiv 2308.08434).
///
/// 1. The model writes codes, level by level, whether or not an item has them; the best sequence
///    of a beam search is what it means.
/// 2. Sequence and items are what they are made of: the sum of the model's embeddings of their
///    tokens, `[D]`.
/// 3. The distance of an item, by L2, is brought to `[0, 1]` by the least and the largest one, and
///    popular items are moved closer: `d / (1 + p)^gamma`, where `p` is the item's number of
///    training events, brought to `[0, 1]` in the same way.
#[derive(Debug)]
pub struct Grounded<'a, D: AsRef<[u8]>> {
    model: &'a Llama,
    reader: &'a Reader,
    trie: &'a ItemTrie<D>,
    params: GroundingParams,
    /// Whether an ID of the index ends before each level, `[L]`.
    ends: Vec<bool>,
    offered: Offered,
    /// `[n, D]`.
    items: Tensor,
    /// `(1 + p)^-gamma`, `[n]`.
    closer: Tensor,
}

/// How to ground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundingParams {
    /// Beams of the free search.
    pub beams: usize,
    /// How much popularity counts; 0 for distances alone.
    pub gamma: f64,
}

impl Default for GroundingParams {
    /// As many beams as other searches have, and the best gamma found on one catalogue's
    /// validation.
    fn default() -> Self {
        Self {
            beams: 50,
            gamma: 3.0,
        }
    }
}

impl<'a, D: AsRef<[u8]>> Grounded<'a, D> {
    /// Of each row of the index, `events` has how often it occurs in training, `[N]`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] without beams or for a gamma that is negative or no number,
    /// [`Error::Shape`] for events of another catalogue, [`Error::Index`] for a trie that was not
    /// made of an index.
    pub fn new(
        model: &'a Llama,
        reader: &'a Reader,
        trie: &'a ItemTrie<D>,
        events: &[u64],
        params: GroundingParams,
    ) -> Result<Self> {
        params.check()?;
        let index = index(trie)?;
        if events.len() != index.items() {
            return Err(Error::Shape {
                what: "items whose events are told",
                got: events.len(),
                expected: index.items(),
            });
        }
        let offered = Offered::new(trie, reader, model.device())?;
        let events: Vec<u64> = offered
            .items()
            .iter()
            .map(|item| events[item.index()])
            .collect();
        let closer = closer(&events, params.gamma);
        let space = reader.space();
        let ids = index.codes()?;
        let ended = |level| ids.rows().any(|id| Some(id[level]) == space.end(level));
        Ok(Self {
            ends: (0..space.levels())
                .map(|level| level > 0 && ended(level))
                .collect(),
            items: offered.sums(&model.embedding().detach()),
            closer: Tensor::from_slice(&closer).to_device(model.device()),
            offered,
            model,
            reader,
            trie,
            params,
        })
    }

    /// What the model writes after each query's history: codes, without padding, that need not be
    /// an item's.
    ///
    /// # Errors
    ///
    /// Those of [`Reader::prompt`]; [`Error::Model`] for logits that are no numbers.
    pub fn generate(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Code>>> {
        let prompts = prompts(self.reader, self.trie, queries)?;
        let search = FreeSearch::new(
            self.model,
            self.reader.tokens(),
            self.reader.space(),
            self.ends.clone(),
            self.params.beams,
        );
        tch::no_grad(|| search.best(&prompts))
    }

    /// The sums of the embeddings of IDs' tokens, `[B, D]`.
    fn embedded(&self, ids: &[Vec<Code>]) -> Tensor {
        let embedding = self.model.embedding();
        let sums = ids.iter().map(|id| {
            let tokens = self.reader.id(id).into_iter().map(i64::from);
            let tokens = Tensor::from_slice(&tokens.collect::<Vec<i64>>());
            let rows = embedding.index_select(0, &tokens.to_device(self.model.device()));
            rows.sum_dim_intlist(0, false, Kind::Float)
        });
        Tensor::stack(&sums.collect::<Vec<Tensor>>(), 0)
    }

    /// How far all items are from what was generated, `[B, D]`, popularity included: `[B, n]`.
    fn distances(&self, generated: &Tensor) -> Tensor {
        let exactly = 2; // by differences: a distance of 0 has to be 0
        let distances = Tensor::cdist(generated, &self.items, 2.0, exactly);
        let (least, most) = (distances.amin([1_i64], true), distances.amax([1_i64], true));
        let spread = (most - &least).clamp_min(f64::from(f32::MIN_POSITIVE));
        (distances - least) / spread * &self.closer
    }
}

impl<D: AsRef<[u8]>> Ranker for Grounded<'_, D> {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let generated = self.generate(queries)?;
        tch::no_grad(|| {
            let distances = self.distances(&self.embedded(&generated));
            self.offered.best(&-distances, queries, count)
        })
    }
}

impl GroundingParams {
    fn check(self) -> Result<()> {
        let setting = |name, got: String, expected: &str| {
            Err(Error::Setting {
                name,
                got,
                expected: expected.to_owned(),
            })
        };
        if self.beams == 0 {
            return setting("beams", "0".to_owned(), "at least 1");
        }
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            return setting("gamma", self.gamma.to_string(), "a number, 0 or more");
        }
        Ok(())
    }
}

/// What distances are multiplied by, for items of so many events.
fn closer(events: &[u64], gamma: f64) -> Vec<f32> {
    let least = events.iter().copied().min().unwrap_or(0);
    let spread = events.iter().copied().max().unwrap_or(0) - least;
    let closer = events.iter().map(|&events| {
        let popularity = (events - least) as f64 / spread.max(1) as f64;
        (1.0 + popularity).powf(-gamma) as f32
    });
    closer.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_items_come_closer() {
        // p is 0, 1/4 and 1.
        assert_eq!(closer(&[2, 4, 10], 1.0), [1.0, 0.8, 0.5]);
        assert_eq!(closer(&[2, 4, 10], 2.0), [1.0, 0.64, 0.25]);
        assert_eq!(closer(&[2, 4, 10], 0.0), [1.0, 1.0, 1.0]);
        assert_eq!(closer(&[3, 3], 5.0), [1.0, 1.0]);
        assert!(closer(&[], 1.0).is_empty());
    }
}
