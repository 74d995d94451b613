use super::List;

/// The weight of a rank in DCG, from 0: `1 / log2(rank + 2)` (Järvelin and Kekäläinen, 2002).
pub fn discount(rank: usize) -> f64 {
    (rank as f64 + 2.0).log2().recip()
}

/// Where on one user's list the true items are, as far as can be told.
///
/// An item of its own ID is where it is. The `G` items of a shared ID are in random order, so each
/// metric is the expectation over all orders; for one true item these are CollisionGenRec's:
/// `ItemHit@K = min(G, K - P) / G` with `P` places before the ID, and `ItemNDCG@K` the mean of the
/// discounts of those of its `G` places that are within `K`, times their share.
///
/// ```
/// use semid_tasks::metrics::{Hits, List};
///
/// // Item 7, then an ID that items 3 and 4 share.
/// let list = List::new([7..8, 3..5]);
/// let hits = Hits::of(&list, &[4]);
/// assert_eq!(hits.hit_rate(1), 0.0);
/// assert_eq!(hits.hit_rate(2), 0.5);
/// assert_eq!(hits.hit_rate(3), 1.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    places: Vec<Place>,
    targets: usize,
}

/// A place at which a true item may be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    rank: usize,
    /// The probability that it is there.
    gain: f64,
    /// The probability that it is there and none before it.
    first: f64,
}

impl Hits {
    /// Looks for the rows `targets`, ascending and distinct, in a list. Takes
    /// `O(entries log targets)`, and the items of the IDs that are hit.
    pub fn of(list: &List, targets: &[u32]) -> Self {
        let below = |row| targets.partition_point(|&target| target < row);
        let mut places = Vec::new();
        let mut none_yet = 1.0;
        for (start, size, rows) in list.places() {
            let found = below(rows.end) - below(rows.start);
            if found == 0 {
                continue;
            }
            for at in 0..size {
                // Given that none of the first `at` of the group is true.
                let chance = (found as f64 / (size - at) as f64).min(1.0);
                places.push(Place {
                    rank: start + at,
                    gain: found as f64 / size as f64,
                    first: none_yet * chance,
                });
                none_yet *= 1.0 - chance;
            }
        }
        let targets = targets.len();
        Self { places, targets }
    }

    /// HR@K: the probability that at least one true item is among the first `k` places.
    pub fn hit_rate(&self, k: usize) -> f64 {
        self.sum(k, |place| place.first).min(1.0)
    }

    /// Recall@K: the share of the true items that are among the first `k` places.
    pub fn recall(&self, k: usize) -> f64 {
        self.sum(k, |place| place.gain) / self.targets.max(1) as f64
    }

    /// NDCG@K: the sum of [`discount`] over the true items among the first `k` places, divided by
    /// that of the best list, `discount(0) + ... + discount(min(k, targets) - 1)`.
    pub fn ndcg(&self, k: usize) -> f64 {
        let ideal: f64 = (0..k.min(self.targets)).map(discount).sum();
        match self.sum(k, |place| place.gain * discount(place.rank)) {
            0.0 => 0.0,
            gained => gained / ideal,
        }
    }

    /// MRR@K: `1 / r` for the first true item at rank `r`, from 1, if among the first `k` places.
    pub fn mrr(&self, k: usize) -> f64 {
        self.sum(k, |place| place.first / (place.rank + 1) as f64)
    }

    fn sum(&self, k: usize, of: impl Fn(&Place) -> f64) -> f64 {
        let within = self.places.iter().take_while(|place| place.rank < k);
        within.map(of).sum()
    }
}
