use std::fmt;

use rayon::prelude::*;

use crate::{Error, Result};

/// The dense row number of an item in its catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

impl ItemId {
    /// The row as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The external names of all items (ASIN, SKU, ...), pairwise distinct, by row.
///
/// Held as one string and `N + 1` offsets, the layout of the index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemKeys {
    text: String,
    offsets: Vec<u64>,
    /// Rows in ascending order of key, by bytes.
    order: Vec<ItemId>,
}

impl ItemKeys {
    /// Collects the keys of a catalogue, row by row.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without keys, [`Error::DuplicateKey`] if two rows share one,
    /// [`Error::Shape`] beyond 2^32 - 1 items. Takes `O(N log N)`.
    pub fn new<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut text = String::new();
        let mut offsets = vec![0];
        for key in keys {
            text.push_str(key.as_ref());
            offsets.push(text.len() as u64);
        }
        let items = offsets.len() - 1;
        if items == 0 {
            return Err(Error::Empty);
        }
        let rows = u32::try_from(items).map_err(|_| Error::Shape {
            what: "number of items",
            got: items,
            expected: u32::MAX as usize,
        })?;
        let mut keys = Self {
            text,
            offsets,
            order: Vec::new(),
        };
        let mut order: Vec<ItemId> = (0..rows).map(ItemId).collect();
        order.par_sort_by_key(|&item| (keys.get(item), item));
        for pair in order.windows(2) {
            if keys.get(pair[0]) == keys.get(pair[1]) {
                return Err(Error::DuplicateKey {
                    key: keys.get(pair[0]).to_owned(),
                    first: pair[0].index(),
                    second: pair[1].index(),
                });
            }
        }
        keys.order = order;
        Ok(keys)
    }

    /// The keys `"0"`, `"1"`, ... of a catalogue that brings none.
    ///
    /// # Errors
    ///
    /// Those of [`ItemKeys::new`].
    pub fn numbered(items: usize) -> Result<Self> {
        Self::new((0..items).map(|row| row.to_string()))
    }

    /// Number of items `N`.
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// All keys, one after the other.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where each key begins in [`ItemKeys::text`], and where the last one ends, `[N + 1]`.
    pub(crate) fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// The key of an item.
    ///
    /// # Panics
    ///
    /// If the item is not of this catalogue.
    pub fn get(&self, item: ItemId) -> &str {
        let row = item.index();
        &self.text[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// The item of a key, in `O(log N)`.
    pub fn find(&self, key: &str) -> Option<ItemId> {
        self.order
            .binary_search_by(|&item| self.get(item).cmp(key))
            .ok()
            .map(|at| self.order[at])
    }

    /// All items in ascending order of their keys (by bytes): an order that
    /// does not depend on how the catalogue happened to be sorted.
    pub fn order(&self) -> &[ItemId] {
        &self.order
    }

    /// All keys, by row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len() as u32).map(|row| self.get(ItemId(row)))
    }
}
