use ndarray::{Array2, ArrayView2, Axis};
use semantic_id::ItemId;

use crate::matmul::Packed;
use crate::neighbours::unit;

/// Items whose pairs are looked at.
const MOST: usize = 512;

/// The two most similar and the two least similar of some items, say those below a prefix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Siblings {
    /// The pair of the highest cosine.
    pub nearest: SiblingPair,
    /// The pair of the lowest cosine.
    pub farthest: SiblingPair,
}

/// Two items and how similar they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiblingPair {
    /// The items, in the order in which they were given.
    pub items: [ItemId; 2],
    /// Cosine of their embeddings, -1 to 1 but for rounding; 0 if one of them is all zeros.
    pub cosine: f32,
}

impl Siblings {
    /// Compares all pairs of the first 512 of `items`, rows of `embeddings` `[N, D]`; of equal
    /// pairs the first. `None` with fewer than two items. `O(items^2 D)`.
    ///
    /// ```
    /// use ndarray::array;
    /// use rq_vae::Siblings;
    /// use semantic_id::ItemId;
    ///
    /// let embeddings = array![[1.0, 0.0], [0.0, 2.0], [3.0, 0.1], [9.0, 9.0]];
    /// let siblings = Siblings::of(embeddings.view(), &[0, 1, 2].map(ItemId)).expect("three");
    /// assert_eq!(siblings.nearest.items, [0, 2].map(ItemId));
    /// assert_eq!(siblings.farthest.items, [0, 1].map(ItemId));
    /// assert_eq!(siblings.farthest.cosine, 0.0);
    /// ```
    ///
    /// # Panics
    ///
    /// If an item has no row.
    pub fn of(embeddings: ArrayView2<'_, f32>, items: &[ItemId]) -> Option<Self> {
        let items = &items[..items.len().min(MOST)];
        let rows: Vec<usize> = items.iter().map(|item| item.index()).collect();
        let unit = unit(embeddings.select(Axis(0), &rows));
        let mut cosines = Array2::zeros((rows.len(), rows.len()));
        Packed::new(unit.view()).product_here(unit.view(), cosines.view_mut());
        let pairs = cosines.indexed_iter().filter(|((a, b), _)| a < b);
        let pairs = pairs.map(|((a, b), &cosine)| SiblingPair {
            items: [items[a], items[b]],
            cosine,
        });
        let less = |a: &SiblingPair, b: &SiblingPair| a.cosine.total_cmp(&b.cosine);
        Some(Self {
            // Not `max_by`, which keeps the last of equal ones.
            nearest: pairs.clone().min_by(|a, b| less(b, a))?,
            farthest: pairs.min_by(less)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_plain_cosines() {
        let embeddings = Array2::from_shape_fn((30, 5), |(row, column)| {
            ((row * 7 + column * 3) as f32 * 0.7).sin() - 0.2 * (row % 4) as f32
        });
        let items: Vec<ItemId> = (0..30).rev().step_by(2).map(ItemId).collect();
        let cosine = |a: ItemId, b: ItemId| {
            let [a, b] = [a, b].map(|item| embeddings.row(item.index()));
            a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
        };
        let pairs = || {
            let second = |at: usize| items[at + 1..].iter().map(move |&b| (at, b));
            (0..items.len())
                .flat_map(second)
                .map(|(a, b)| cosine(items[a], b))
        };
        let siblings = Siblings::of(embeddings.view(), &items).expect("many");
        let close = |got: SiblingPair, expected: f32| {
            assert!(
                (got.cosine - expected).abs() < 1e-5,
                "{got:?}, not {expected}"
            );
            assert!((cosine(got.items[0], got.items[1]) - expected).abs() < 1e-5);
        };
        close(siblings.nearest, pairs().fold(-1.0, f32::max));
        close(siblings.farthest, pairs().fold(1.0, f32::min));
    }

    #[test]
    fn single_items_have_no_siblings_and_zeros_are_like_nothing() {
        let embeddings = Array2::zeros((3, 2));
        assert_eq!(Siblings::of(embeddings.view(), &[]), None);
        assert_eq!(Siblings::of(embeddings.view(), &[ItemId(1)]), None);
        let siblings = Siblings::of(embeddings.view(), &[2, 0, 1].map(ItemId)).expect("three");
        assert_eq!(
            siblings.nearest, siblings.farthest,
            "of equal pairs the first"
        );
        assert_eq!(siblings.nearest.items, [2, 0].map(ItemId));
    }
}
