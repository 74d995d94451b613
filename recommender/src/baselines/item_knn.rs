use std::collections::HashMap;

use rayon::prelude::*;
use semantic_id::ItemId;
use semid_tasks::{Histories, Split};

use crate::{Query, Ranker, Result};

/// Recommends what users of the same items had (Deshpande and Karypis, "Item-based top-N
/// recommendation algorithms", TOIS 2004): items are alike by the cosine of the sets of their
/// users, and an item's score is the sum, over the items of the history that have it among their
/// 100 nearest, of how like they are. The last item of the history counts in full, each one before
/// it half as much as the next, which makes the baseline stronger.
#[derive(Debug)]
pub struct ItemKnn {
    /// For each item those most like it, with their cosines, the most like first.
    neighbours: Vec<Vec<(ItemId, f32)>>,
}

/// Items that an item remembers.
const NEIGHBOURS: usize = 100;

/// What an item of a history counts, as a share of the one after it.
const STEP_BACK: f32 = 0.5;

impl ItemKnn {
    /// Reads the events of training. `O(sum of squares of the histories' lengths)`.
    pub fn new(histories: &Histories, split: &Split) -> Self {
        let mut users_of = vec![Vec::new(); histories.catalogue_len()];
        let mut items_of = Vec::with_capacity(histories.len());
        for user in histories.users() {
            let mut items = histories.items(user)[..split.train_end(user)].to_vec();
            items.sort_unstable();
            items.dedup();
            items
                .iter()
                .for_each(|item| users_of[item.index()].push(user.index()));
            items_of.push(items);
        }
        let size = |item: ItemId| users_of[item.index()].len() as f32;
        let nearest = |at: usize| {
            let own = ItemId(at as u32);
            let mut together: HashMap<ItemId, u32> = HashMap::new();
            for item in users_of[at].iter().flat_map(|&user| &items_of[user]) {
                *together.entry(*item).or_default() += 1;
            }
            together.remove(&own);
            let cosine = |(item, count)| (item, count as f32 / (size(own) * size(item)).sqrt());
            let mut nearest: Vec<(ItemId, f32)> = together.into_iter().map(cosine).collect();
            nearest.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            nearest.truncate(NEIGHBOURS);
            nearest
        };
        let neighbours = (0..users_of.len()).into_par_iter().map(nearest).collect();
        Self { neighbours }
    }

    fn scored(&self, query: &Query<'_>, count: usize) -> Vec<ItemId> {
        let mut scores: HashMap<ItemId, f32> = HashMap::new();
        let mut weight = 1.0;
        for item in query.history.iter().rev() {
            for &(item, cosine) in &self.neighbours[item.index()] {
                *scores.entry(item).or_default() += weight * cosine;
            }
            weight *= STEP_BACK;
        }
        let mut best: Vec<(ItemId, f32)> = scores.into_iter().collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        query.first(best.into_iter().map(|(item, _)| item), count)
    }
}

impl Ranker for ItemKnn {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        Ok(queries
            .par_iter()
            .map(|query| self.scored(query, count))
            .collect())
    }
}
