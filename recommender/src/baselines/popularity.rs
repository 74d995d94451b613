use semantic_id::ItemId;
use semid_tasks::{Histories, Split};

use crate::{Query, Ranker, Result};

/// Recommends what most events of training are of, the same to everyone.
#[derive(Debug)]
pub struct Popularity {
    /// All items, the most popular first; ties go to the lower row.
    order: Vec<ItemId>,
}

impl Popularity {
    /// Counts the events of training.
    pub fn new(histories: &Histories, split: &Split) -> Self {
        let mut events = vec![0_u64; histories.catalogue_len()];
        for user in histories.users() {
            for item in &histories.items(user)[..split.train_end(user)] {
                events[item.index()] += 1;
            }
        }
        let mut order: Vec<ItemId> = (0..events.len() as u32).map(ItemId).collect();
        order.sort_by_key(|item| std::cmp::Reverse(events[item.index()]));
        Self { order }
    }
}

impl Ranker for Popularity {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        let best = || self.order.iter().copied();
        Ok(queries
            .iter()
            .map(|query| query.first(best(), count))
            .collect())
    }
}
