use crate::{Code, CodeMatrix, CodeSpace, Error, ItemId, Result, SemanticId};

/// What a quantizer proposes: the nearest path of every item and its squared
/// distance, with a way to ask for more. Paths may collide.
///
/// Only the first choice of an item is stored. The other candidates are needed
/// for the few items that must move, so they are asked of the quantizer when
/// the need arises, see [`Distances`].
pub struct Draft<'a> {
    space: CodeSpace,
    paths: CodeMatrix,
    costs: Vec<f32>,
    /// Empty where all weigh the same.
    weights: Vec<u32>,
    distances: &'a dyn Distances,
}

/// The geometry behind a draft: squared distances from items to paths, in the
/// quantizer's space. All answers are finite, non-negative and independent of
/// threads and of the order of questions.
pub trait Distances: Sync {
    /// Squared distance of `item` to one path.
    fn path(&self, item: ItemId, path: &[Code]) -> f32;

    /// Squared distances of `item` to all completions of `prefix` (`L - 1` codes) by a
    /// last-level code: `out[c]` for code `c`, `[K_last]`.
    fn last_level(&self, item: ItemId, prefix: &[Code], out: &mut [f32]);

    /// The `count` nearest paths of `item` that a beam search of that width finds, nearest
    /// first, ties by path; fewer only where the space has fewer.
    fn candidates(&self, item: ItemId, count: usize) -> Vec<(SemanticId, f32)>;

    /// Whether two items are the same point, so that every question has one answer for both.
    ///
    /// `false` is always a correct answer; `true` lets a thousand copies of one item be
    /// assigned as one.
    fn identical(&self, _: ItemId, _: ItemId) -> bool {
        false
    }
}

impl<'a> Draft<'a> {
    /// A draft of first choices: `paths` `[N, L]` with their squared distances `costs` `[N]`.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without items, [`Error::Shape`] if the arrays disagree,
    /// [`Error::CodeOutOfRange`] and [`Error::BadDistance`] name the item at fault.
    pub fn new(
        space: CodeSpace,
        paths: CodeMatrix,
        costs: Vec<f32>,
        distances: &'a dyn Distances,
    ) -> Result<Self> {
        paths.check(&space)?;
        if costs.len() != paths.len() {
            return Err(Error::Shape {
                what: "distances of the draft",
                got: costs.len(),
                expected: paths.len(),
            });
        }
        for (item, &value) in costs.iter().enumerate() {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::BadDistance { item, value });
            }
        }
        Ok(Self {
            space,
            paths,
            costs,
            weights: Vec::new(),
            distances,
        })
    }

    /// The same draft, in which a move of item `i` counts as `weights[i]` moves, from 1 to
    /// [`Draft::MAX_WEIGHT`] (others are cut to that).
    ///
    /// Of items that collide, those of the greatest weight keep their native path: best sellers,
    /// or items whose IDs a model has learnt. That costs no move: wherever fewer items stayed on
    /// a path than it has room for, one more could stay, at a weight less.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one weight an item.
    pub fn weighted(mut self, weights: Vec<u32>) -> Result<Self> {
        if weights.len() != self.paths.len() {
            return Err(Error::Shape {
                what: "weights of the draft",
                got: weights.len(),
                expected: self.paths.len(),
            });
        }
        self.weights = weights;
        Ok(self)
    }

    /// The same paths and weights in another geometry.
    pub(crate) fn with_distances<'b>(&self, distances: &'b dyn Distances) -> Result<Draft<'b>> {
        let items = (0..self.paths.len() as u32).map(ItemId);
        let costs = items.map(|item| distances.path(item, self.paths.row(item)));
        let draft = Draft::new(
            self.space.clone(),
            self.paths.clone(),
            costs.collect(),
            distances,
        )?;
        Ok(Draft {
            weights: self.weights.clone(),
            ..draft
        })
    }

    /// The greatest weight of an item: sums over all items stay exact.
    pub const MAX_WEIGHT: u32 = 1 << 30;

    /// What a move of an item counts.
    pub(crate) fn weight(&self, item: ItemId) -> u32 {
        let weight = self.weights.get(item.index());
        weight.map_or(1, |&weight| weight.clamp(1, Self::MAX_WEIGHT))
    }

    /// The code space of all paths.
    pub fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// The native path of every item, `[N, L]`.
    pub fn paths(&self) -> &CodeMatrix {
        &self.paths
    }

    /// Squared distance of every item to its native path, `[N]`.
    pub fn costs(&self) -> &[f32] {
        &self.costs
    }

    /// The geometry to ask for other paths.
    pub fn distances(&self) -> &dyn Distances {
        self.distances
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("space", &self.space)
            .field("items", &self.paths.len())
            .finish_non_exhaustive()
    }
}
