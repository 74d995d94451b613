use rayon::prelude::*;

use crate::{Code, CodeSpace, Error, ItemId, Result};

/// One path of codes a row: `[N, L]`, row-major. Rows may be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeMatrix {
    codes: Vec<Code>,
    levels: usize,
}

impl CodeMatrix {
    /// Wraps `[N, L]` codes.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `codes` is not whole rows of `levels` codes.
    pub fn new(codes: Vec<Code>, levels: usize) -> Result<Self> {
        if levels == 0 || !codes.len().is_multiple_of(levels) {
            return Err(Error::Shape {
                what: "codes in the last row",
                got: codes.len().checked_rem(levels).unwrap_or(0),
                expected: levels,
            });
        }
        Ok(Self { codes, levels })
    }

    /// Number of rows `N`.
    pub fn len(&self) -> usize {
        self.codes.len() / self.levels
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// The path of one item.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&self, item: ItemId) -> &[Code] {
        &self.codes[item.index() * self.levels..][..self.levels]
    }

    /// The path of one item, to be changed.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_mut(&mut self, item: ItemId) -> &mut [Code] {
        &mut self.codes[item.index() * self.levels..][..self.levels]
    }

    /// All paths, by row.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, Code> {
        self.codes.chunks_exact(self.levels)
    }

    /// Checks that there are rows, all of them paths of `space`.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], [`Error::Shape`] for another number of levels, [`Error::CodeOutOfRange`]
    /// for the first item with a code outside its codebook.
    pub fn check(&self, space: &CodeSpace) -> Result<()> {
        if self.is_empty() {
            return Err(Error::Empty);
        }
        if self.levels != space.levels() {
            return Err(Error::Shape {
                what: "levels of the paths",
                got: self.levels,
                expected: space.levels(),
            });
        }
        for (item, path) in self.rows().enumerate() {
            if let Some(level) = (0..path.len()).find(|&l| path[l].index() >= space.size(l)) {
                return Err(Error::CodeOutOfRange {
                    item,
                    level,
                    code: path[level].0.into(),
                    size: space.sizes()[level],
                });
            }
        }
        Ok(())
    }

    /// Number of distinct paths. Sorts row numbers: `O(N log N)`.
    pub fn unique(&self) -> usize {
        let mut rows: Vec<&[Code]> = self.rows().collect();
        rows.par_sort_unstable();
        rows.dedup();
        rows.len()
    }

    /// The share of items beyond the first on their path, `(N - unique) / N`; 0 without rows.
    pub fn collision_rate(&self) -> f64 {
        (self.len() - self.unique()) as f64 / self.len().max(1) as f64
    }
}
