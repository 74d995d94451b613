use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{CodeMatrix, CodeSpace};

/// How one level's codes are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LevelStatistics {
    /// Codes that at least one item has.
    pub used: usize,
    /// `exp` of the entropy of the codes: as many codes as this, evenly used, would be as
    /// unpredictable. Between 1 and `K_l`.
    pub perplexity: f64,
    /// Gini coefficient of the items a code, over all `K_l` codes: 0 evenly used, towards 1
    /// all items on one code.
    pub gini: f64,
}

impl LevelStatistics {
    /// The statistics of every level, `[L]`, in `O(N L)`. Codes outside the space, such as the
    /// padding of shorter paths, are passed over.
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, CodeSpace, LevelStatistics};
    ///
    /// let paths = CodeMatrix::new([0, 0, 0, 1, 0, 1, 0, 1].map(Code).to_vec(), 2)?;
    /// let levels = LevelStatistics::of(&paths, &CodeSpace::uniform(2, 2)?);
    /// assert_eq!(levels[0].used, 1);
    /// assert_eq!(levels[0].gini, 0.5);
    /// assert!(levels[1].perplexity > 1.7);
    /// # Ok::<(), semantic_id::Error>(())
    /// ```
    pub fn of(paths: &CodeMatrix, space: &CodeSpace) -> Vec<Self> {
        (0..space.levels())
            .map(|level| Self::of_counts(&Self::counts(paths, space, level)))
            .collect()
    }

    /// The items of each code of a level, the most first, `[K_l]`.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    pub fn counts(paths: &CodeMatrix, space: &CodeSpace, level: usize) -> Vec<u64> {
        let mut counts = vec![0; space.size(level)];
        for path in paths.rows() {
            if let Some(count) = counts.get_mut(path[level].index()) {
                *count += 1;
            }
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    fn of_counts(counts: &[u64]) -> Self {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let codes = counts.len() as f64;
        let entropy: f64 = counts
            .iter()
            .filter(|&&count| count > 0)
            .map(|&count| count as f64 / total)
            .map(|share| -share * share.ln())
            .sum();
        let weighted: f64 = counts
            .iter()
            .rev()
            .enumerate()
            .map(|(rank, &count)| (rank + 1) as f64 * count as f64)
            .sum();
        Self {
            used: counts.iter().filter(|&&count| count > 0).count(),
            perplexity: entropy.exp(),
            gini: (2.0 * weighted / (codes * total) - (codes + 1.0) / codes).max(0.0),
        }
    }
}

/// How many items share their path with others, by the two definitions in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Collisions {
    /// Distinct paths.
    pub unique: usize,
    /// `(N - unique) / N`, LC-Rec's rate: the items beyond the first on their path.
    pub rate: f64,
    /// The share of items that are not alone on their path.
    pub items: f64,
}

impl Collisions {
    /// Counts the collisions of `paths` in `O(N log N)`.
    ///
    /// ```
    /// use semantic_id::{Code, CodeMatrix, Collisions};
    ///
    /// let paths = CodeMatrix::new([7, 7, 7, 9].map(Code).to_vec(), 1)?;
    /// assert_eq!(Collisions::of(&paths), Collisions { unique: 2, rate: 0.5, items: 0.75 });
    /// # Ok::<(), semantic_id::Error>(())
    /// ```
    pub fn of(paths: &CodeMatrix) -> Self {
        let mut rows: Vec<_> = paths.rows().collect();
        rows.par_sort_unstable();
        let groups = rows.chunk_by(|a, b| a == b);
        let (unique, crowded) = groups.fold((0, 0), |(unique, crowded), group| {
            (
                unique + 1,
                crowded + if group.len() > 1 { group.len() } else { 0 },
            )
        });
        let all = paths.len().max(1) as f64;
        Self {
            unique,
            rate: (paths.len() - unique) as f64 / all,
            items: crowded as f64 / all,
        }
    }
}
