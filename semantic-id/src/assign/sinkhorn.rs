use std::collections::HashMap;

use rayon::prelude::*;

use super::{Assigner, Assignment, by_path, check_distances, check_keys};
use crate::{Code, CodeMatrix, Draft, Error, ItemId, ItemKeys, Result};

/// LC-Rec's way: items that share a path are spread over the last level by Sinkhorn-Knopp.
///
/// Zheng et al., *Adapting Large Language Models by Integrating Collaborative Semantics for
/// Recommendation*, ICDE 2024, section III-B. In each round every group of items on one path,
/// alone, gets last-level codes anew: with squared distances `d`, normalised over the group to
/// `[-1, 1]`, the plan `Q = exp(-d / epsilon)` is scaled in turn to rows of sum `1/B` and
/// columns of sum `1/K`, and an item takes the code of its largest entry.
///
/// Kept as a baseline. A group does not see the codes that others hold, and items with equal
/// embeddings have equal rows in `Q`, so that no number of rounds tells them apart.
///
/// # Errors
///
/// [`Error::StillColliding`] after the last round, unless collisions are accepted: then the
/// assignment's capacity is the number of items on the most crowded path.
/// [`Error::BadDistance`] if the draft's geometry breaks its word.
///
/// # Complexity
///
/// `O(iterations * B * K)` time and `4 B K` bytes for a group of `B` items, a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SinkhornAssigner {
    /// Most rounds; stops earlier when paths are distinct or nothing changes.
    pub rounds: usize,
    /// Scalings of rows and columns in a round.
    pub iterations: usize,
    /// Entropic regularisation, above 0.
    pub epsilon: f64,
    /// Whether to return what still collides.
    pub accept_collisions: bool,
}

impl Default for SinkhornAssigner {
    fn default() -> Self {
        Self {
            rounds: 20,
            iterations: 50,
            epsilon: 0.003,
            accept_collisions: false,
        }
    }
}

impl Assigner for SinkhornAssigner {
    fn assign(&self, draft: &Draft, keys: &ItemKeys) -> Result<Assignment> {
        check_keys(draft, keys)?;
        let mut paths = draft.paths().clone();
        let mut order = by_path(&paths, keys);
        let mut known = HashMap::new();
        for _ in 0..self.rounds {
            if !self.round(draft, &mut paths, &order, &mut known)? {
                break;
            }
            order.par_sort_by(|&a, &b| paths.row(a).cmp(paths.row(b)));
        }

        let largest = crowds(&paths, &order).map(<[_]>::len).max().unwrap_or(1);
        if largest > 1 && !self.accept_collisions {
            return Err(Error::StillColliding {
                items: crowds(&paths, &order).map(<[_]>::len).sum(),
                paths: crowds(&paths, &order).count(),
                largest,
                rounds: self.rounds,
            });
        }
        let added_distance = added_distance(draft, &paths, keys);
        let assignment = Assignment::new(draft.space().clone(), paths, largest)?;
        Ok(assignment.moved_from(draft, added_distance))
    }
}

impl SinkhornAssigner {
    /// Spreads every crowd once; whether any code changed.
    ///
    /// The codes of a crowd depend on its members alone, as their prefix never changes: `known`
    /// spares the crowds that cannot be told apart from being solved in every round.
    fn round(
        &self,
        draft: &Draft,
        paths: &mut CodeMatrix,
        order: &[ItemId],
        known: &mut HashMap<Box<[ItemId]>, Vec<Code>>,
    ) -> Result<bool> {
        let crowds: Vec<&[ItemId]> = crowds(paths, order).collect();
        let spread: Vec<(Box<[ItemId]>, Vec<Code>)> = crowds
            .par_iter()
            .filter(|crowd| !known.contains_key(**crowd))
            .map(|&crowd| {
                Ok((
                    crowd.into(),
                    self.spread(draft, paths.row(crowd[0]), crowd)?,
                ))
            })
            .collect::<Result<_>>()?;
        known.extend(spread);
        let mut changed = false;
        for crowd in crowds {
            for (&item, &code) in crowd.iter().zip(&known[crowd]) {
                let last = paths.row_mut(item).last_mut().expect("a path has a code");
                changed |= *last != code;
                *last = code;
            }
        }
        Ok(changed)
    }

    /// New last-level codes for the items of one path, `[B]`.
    fn spread(&self, draft: &Draft, path: &[Code], crowd: &[ItemId]) -> Result<Vec<Code>> {
        let prefix = &path[..path.len() - 1];
        let codes = draft.space().size(prefix.len());
        let mut block = vec![0.0; crowd.len() * codes];
        for (&item, row) in crowd.iter().zip(block.chunks_exact_mut(codes)) {
            draft.distances().last_level(item, prefix, row);
            check_distances(item, row)?;
        }
        normalise(&mut block, self.epsilon);
        let prices = column_scales(&block, codes, self.iterations);
        let nearest = |row: &[f32]| {
            let scores = row
                .iter()
                .zip(&prices)
                .map(|(&w, &price)| f64::from(w) + price);
            // `max_by` keeps the last of equals: reversed, the lowest code.
            let best = scores.enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1));
            Code(best.map_or(0, |(code, _)| code as u16))
        };
        Ok(block.chunks_exact(codes).map(nearest).collect())
    }
}

/// The groups of two or more items on one path.
fn crowds<'a>(paths: &CodeMatrix, order: &'a [ItemId]) -> impl Iterator<Item = &'a [ItemId]> {
    order
        .chunk_by(|&a, &b| paths.row(a) == paths.row(b))
        .filter(|crowd| crowd.len() > 1)
}

/// Turns distances `d` into `-d / epsilon`, `d` moved and scaled to `[-1, 1]`, all alike.
fn normalise(block: &mut [f32], epsilon: f64) {
    let max = f64::from(block.iter().copied().fold(f32::MIN, f32::max));
    let min = f64::from(block.iter().copied().fold(f32::MAX, f32::min));
    let mid = (max + min) / 2.0;
    let amplitude = max - mid + 1e-5;
    for entry in block {
        *entry = ((mid - f64::from(*entry)) / amplitude / epsilon) as f32;
    }
}

/// Sinkhorn-Knopp on `exp(block)`, `[B, K]`, in logarithms, as with a small epsilon the entries
/// span more than any float. Returns the logarithms of the factors of the columns, `[K]`.
fn column_scales(block: &[f32], columns: usize, iterations: usize) -> Vec<f64> {
    let rows = block.len() / columns;
    let mut row_scales = vec![0.0; rows];
    let mut scales = vec![0.0; columns];
    for _ in 0..iterations {
        for (row_scale, row) in row_scales.iter_mut().zip(block.chunks_exact(columns)) {
            let entries = row
                .iter()
                .zip(&scales)
                .map(|(&w, scale)| f64::from(w) + scale);
            *row_scale = -(rows as f64).ln() - log_sum_exp(entries);
        }
        for (column, scale) in scales.iter_mut().enumerate() {
            let entries = block[column..].iter().step_by(columns).zip(&row_scales);
            let entries = entries.map(|(&w, scale)| f64::from(w) + scale);
            *scale = -(columns as f64).ln() - log_sum_exp(entries);
        }
    }
    scales
}

/// `ln(sum(exp(entries)))`. Terms below `e^-40` of the largest are lost in a sum of f64 anyway,
/// and with a small epsilon they are nearly all: not taking their exponential saves most time.
fn log_sum_exp(entries: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = entries.clone().fold(f64::MIN, f64::max);
    let terms = entries
        .map(|entry| entry - max)
        .filter(|&term| term > -40.0);
    max + terms.map(f64::exp).sum::<f64>().ln()
}

/// What the paths add to the total squared distance.
fn added_distance(draft: &Draft, paths: &CodeMatrix, keys: &ItemKeys) -> f64 {
    let moved = |item: &&ItemId| paths.row(**item) != draft.paths().row(**item);
    let added = |&item: &ItemId| {
        let distance = draft.distances().path(item, paths.row(item));
        f64::from(distance) - f64::from(draft.costs()[item.index()])
    };
    keys.order().iter().filter(moved).map(added).sum()
}
