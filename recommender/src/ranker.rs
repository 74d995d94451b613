use semantic_id::ItemId;

use crate::Result;

/// Anything that recommends items to users after what they did: the generative model, and what
/// it is compared with.
pub trait Ranker {
    /// The best items for each query, best first, at most `count` of them; none twice.
    ///
    /// # Errors
    ///
    /// Whatever went wrong in the model.
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>>;
}

/// What a user did, and what they shall not be given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// The user's items, the oldest first.
    pub history: &'a [ItemId],
    /// Items that are no answer.
    pub without: &'a [ItemId],
}

impl Query<'_> {
    /// Of items from the best on, the first `count` that may be given.
    pub(crate) fn first(
        &self,
        best: impl IntoIterator<Item = ItemId>,
        count: usize,
    ) -> Vec<ItemId> {
        let best = best.into_iter();
        let allowed = best.filter(|item| !self.without.contains(item));
        allowed.take(count).collect()
    }
}
