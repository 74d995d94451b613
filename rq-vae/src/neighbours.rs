use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use semantic_id::{CodeMatrix, ItemId};
use serde::Serialize;

use crate::matmul::Packed;
use crate::random::shuffled;
use crate::{Error, Result};

/// Neighbours an item that are looked at.
const NEIGHBOURS: usize = 10;

/// Items whose neighbours are looked for, at most: `N` of them would take `N^2 D` operations.
const QUERIES: usize = 4096;

/// Queries that one thread compares with the catalogue at a time.
const CHUNK: usize = 64;

/// Whether items that mean similar things begin with the same codes.
///
/// The share of an item's 10 nearest neighbours by cosine that have its prefix, averaged over items
/// (a random 4,096 of them, if there are more).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrefixNeighbourRecall {
    /// The share, 0 to 1.
    pub value: f64,
    /// The same with the paths dealt out at random: what an index without meaning would get.
    pub shuffled: f64,
}

impl PrefixNeighbourRecall {
    /// Measures `paths` `[N, L]` on `embeddings` `[N, D]`, for the prefix of level 0 alone.
    /// `O(min(N, 4096) N D)`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one path an embedding, [`Error::Empty`] with fewer than
    /// two items.
    pub fn of(embeddings: ArrayView2<'_, f32>, paths: &CodeMatrix, seed: u64) -> Result<Self> {
        Ok(Self::by_depth(embeddings, paths, seed)?[0])
    }

    /// The same for the prefixes of 1, 2, ... `L` codes, `[L]`.
    ///
    /// # Errors
    ///
    /// Those of [`PrefixNeighbourRecall::of`].
    pub fn by_depth(
        embeddings: ArrayView2<'_, f32>,
        paths: &CodeMatrix,
        seed: u64,
    ) -> Result<Vec<Self>> {
        let items = embeddings.nrows();
        if paths.len() != items {
            return Err(Error::Shape {
                what: "number of paths",
                got: paths.len(),
                expected: items,
            });
        }
        if items < 2 {
            return Err(Error::Empty);
        }
        let mut queries = shuffled(items, seed, "recall queries", 0);
        queries.truncate(QUERIES);
        let neighbours = neighbours(embeddings, &queries);
        let dealt = shuffled(items, seed, "recall control", 0);
        let share = |depth: usize, holder: &dyn Fn(usize) -> usize| {
            let prefix = |item| &paths.row(ItemId(holder(item) as u32))[..depth];
            let hits = queries.iter().zip(&neighbours).map(|(&query, near)| {
                let same = |item: &&usize| prefix(**item) == prefix(query);
                near.iter().filter(same).count() as f64 / near.len() as f64
            });
            hits.sum::<f64>() / queries.len() as f64
        };
        let at = |depth| Self {
            value: share(depth, &|item| item),
            shuffled: share(depth, &|item| dealt[item]),
        };
        Ok((1..=paths.levels()).map(at).collect())
    }
}

/// The nearest items to each query, itself left out; ties go to the lower row.
fn neighbours(embeddings: ArrayView2<'_, f32>, queries: &[usize]) -> Vec<Vec<usize>> {
    let unit = unit(embeddings.to_owned());
    let catalogue = Packed::new(unit.view());
    let nearest = |queries: &[usize]| {
        let chosen = unit.select(Axis(0), queries);
        let mut cosines = Array2::zeros((queries.len(), unit.nrows()));
        catalogue.product_here(chosen.view(), cosines.view_mut());
        let rows = cosines.outer_iter().zip(queries);
        rows.map(|(cosines, &query)| top(cosines.to_slice().expect("row-major"), query))
            .collect::<Vec<_>>()
    };
    queries.par_chunks(CHUNK).flat_map_iter(nearest).collect()
}

/// Rows of length 1, or 0 where they were 0.
pub(crate) fn unit(mut embeddings: Array2<f32>) -> Array2<f32> {
    for mut row in embeddings.outer_iter_mut() {
        let norm = row.dot(&row).sqrt();
        if norm > 0.0 {
            row /= norm;
        }
    }
    embeddings
}

fn top(cosines: &[f32], query: usize) -> Vec<usize> {
    let nearer = |&a: &usize, &b: &usize| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b));
    let mut items: Vec<usize> = (0..cosines.len()).filter(|&item| item != query).collect();
    let count = NEIGHBOURS.min(items.len());
    if count < items.len() {
        items.select_nth_unstable_by(count, nearer);
        items.truncate(count);
    }
    items
}

#[cfg(test)]
mod tests {
    use semantic_id::Code;

    use super::*;

    #[test]
    fn codes_that_follow_the_meaning_beat_the_shuffled_ones() {
        // Four directions, 25 items each.
        let embeddings = Array2::from_shape_fn((100, 4), |(row, column)| {
            if row % 4 == column {
                1.0 + row as f32 * 1e-3
            } else {
                0.01 * (row % 7) as f32
            }
        });
        let codes = |f: &dyn Fn(usize) -> u16| {
            CodeMatrix::new((0..100).map(|row| Code(f(row))).collect(), 1).expect("one level")
        };
        let meaning = PrefixNeighbourRecall::of(embeddings.view(), &codes(&|r| r as u16 % 4), 1);
        let meaning = meaning.expect("shapes agree");
        assert_eq!(meaning.value, 1.0);
        assert!(meaning.shuffled < 0.5);
        let one = PrefixNeighbourRecall::of(embeddings.view(), &codes(&|_| 0), 1);
        let one = one.expect("shapes agree");
        assert_eq!(one.value, one.shuffled, "a single code tells nothing");

        let codes = (0..100).flat_map(|row| [Code(row % 4), Code(row % 8)]);
        let codes = CodeMatrix::new(codes.collect(), 2).expect("two levels");
        let depths = PrefixNeighbourRecall::by_depth(embeddings.view(), &codes, 1);
        let depths = depths.expect("shapes agree");
        assert_eq!(depths[0], meaning, "the same draws");
        assert!(depths[1].value < 1.0 && depths[1].value > depths[1].shuffled);
    }
}
