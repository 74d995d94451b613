//! From a draft, whose paths collide, to an assignment, whose paths do not.

mod affinity;
mod certificate;
mod closed;
mod contest;
mod cost;
mod flow;
mod optimal;
mod options;
mod relabel;
mod sinkhorn;
mod suffix;

use rayon::prelude::*;
use serde::Serialize;

pub use affinity::Affinity;
pub use certificate::{Certificate, Objective, Scope, Stage};
pub use optimal::OptimalAssigner;
pub use relabel::Relabelling;
pub use sinkhorn::SinkhornAssigner;
pub use suffix::SuffixAssigner;

use crate::{Code, CodeMatrix, CodeSpace, Draft, Error, ItemId, ItemKeys, Result, SemanticId};

/// Gives every item of a draft a path.
///
/// Items are taken in the order of their keys, so the answer depends neither on the order of
/// the catalogue nor on the number of threads, and items with equal embeddings are told apart.
pub trait Assigner {
    /// Assigns all items.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there are not as many keys as items, and those of the assigner.
    fn assign(&self, draft: &Draft, keys: &ItemKeys) -> Result<Assignment>;
}

/// One path an item, with no more items on a path than its capacity: 1 unless said otherwise.
///
/// ```
/// use semantic_id::{Assignment, Code, CodeMatrix, CodeSpace};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let paths = CodeMatrix::new(vec![Code(0), Code(1), Code(0), Code(1)], 2)?;
/// let refused = Assignment::new(space.clone(), paths.clone(), 1);
/// assert!(refused.is_err(), "two items share a path");
/// assert_eq!(Assignment::new(space, paths, 2)?.capacity(), 2);
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    space: CodeSpace,
    paths: CodeMatrix,
    capacity: usize,
    moved: usize,
    added_distance: f64,
    certificate: Option<Certificate>,
    overfull: Vec<Overfull>,
}

/// A prefix, the first `L - 1` codes of a path, that could not hold all items that wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overfull {
    /// Its codes.
    pub prefix: SemanticId,
    /// Items whose native path is in it.
    pub items: usize,
    /// Items that it had room for: slots that were neither taken nor in reserve.
    pub room: usize,
}

impl Assignment {
    /// Takes `[N, L]` paths as they are: nothing moved, nothing proven.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without items, [`Error::Shape`] and [`Error::CodeOutOfRange`] if a path
    /// is not of the space, [`Error::Crowded`] if more than `capacity` items share one. Takes
    /// `O(N log N)`.
    pub fn new(space: CodeSpace, paths: CodeMatrix, capacity: usize) -> Result<Self> {
        paths.check(&space)?;
        let mut rows: Vec<&[Code]> = paths.rows().collect();
        rows.par_sort_unstable();
        if let Some(crowd) = rows
            .chunk_by(|a, b| a == b)
            .find(|same| same.len() > capacity)
        {
            return Err(Error::Crowded {
                path: crowd[0].iter().map(|code| code.0).collect(),
                items: crowd.len(),
                capacity,
            });
        }
        Ok(Self {
            space,
            paths,
            capacity,
            moved: 0,
            added_distance: 0.0,
            certificate: None,
            overfull: Vec::new(),
        })
    }

    /// Records what moved away from a draft of the same items and levels.
    fn moved_from(mut self, draft: &Draft, added_distance: f64) -> Self {
        let pairs = self.paths.rows().zip(draft.paths().rows());
        self.moved = pairs.filter(|(path, native)| path != native).count();
        self.added_distance = added_distance;
        self
    }

    /// The code space of all paths.
    pub fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// The path of every item, `[N, L]`.
    pub fn paths(&self) -> &CodeMatrix {
        &self.paths
    }

    /// Gives up the proof of distinctness and keeps the paths, `[N, L]`.
    pub fn into_paths(self) -> CodeMatrix {
        self.paths
    }

    /// The most items that may share a path.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many items left their native path.
    pub fn moved(&self) -> usize {
        self.moved
    }

    /// What the moves added to the total squared distance of all items, in the quantizer's
    /// space. Negative where a native path was not the nearest.
    pub fn added_distance(&self) -> f64 {
        self.added_distance
    }

    /// How good the assignment is, where the assigner proves anything.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// The prefixes from which items had to leave, as the assigner reports them; those that
    /// lacked the most room first.
    pub fn overfull(&self) -> &[Overfull] {
        &self.overfull
    }
}

fn check_keys(draft: &Draft, keys: &ItemKeys) -> Result<()> {
    if keys.len() != draft.paths().len() {
        return Err(Error::Shape {
            what: "item keys",
            got: keys.len(),
            expected: draft.paths().len(),
        });
    }
    Ok(())
}

/// All items by path, and by key where paths are equal.
fn by_path(paths: &CodeMatrix, keys: &ItemKeys) -> Vec<ItemId> {
    let mut items = keys.order().to_vec();
    items.par_sort_by(|&a, &b| paths.row(a).cmp(paths.row(b)));
    items
}

/// Squared distances that the quantizer just gave, checked.
fn check_distances(item: ItemId, distances: &[f32]) -> Result<()> {
    match distances.iter().find(|d| !(d.is_finite() && **d >= 0.0)) {
        Some(&value) => Err(Error::BadDistance {
            item: item.index(),
            value,
        }),
        None => Ok(()),
    }
}
