use std::collections::HashMap;
use std::ops::Range;

use semantic_id::{CodeMatrix, ItemId, ItemIndex};

/// The items that predictions and truths speak of, as rows.
///
/// With an index, the rows `0..catalogue` are its items in order of ID, so that the items of a
/// shared ID are neighbours. Every other key that is met gets a row of its own after them.
#[derive(Debug, Default)]
pub struct Items<'i> {
    rows: HashMap<String, u32>,
    ids: Option<Ids<'i>>,
}

/// The items of an index.
#[derive(Debug)]
struct Ids<'i> {
    index: ItemIndex<&'i [u8]>,
    /// Items before each rank that were not removed, `[N + 1]`.
    before: Vec<u32>,
}

impl<'i> Items<'i> {
    /// The items of an index, without those that were removed. `O(N)`.
    ///
    /// # Errors
    ///
    /// [`semantic_id::Error::IndexFile`] if the file is damaged.
    pub fn of_index<D: AsRef<[u8]>>(index: &'i ItemIndex<D>) -> semantic_id::Result<Self> {
        let index = ItemIndex::open(index.bytes())?;
        let mut rows = HashMap::with_capacity(index.items());
        let mut before = vec![0];
        for item in index.rank_to_item().iter().map(ItemId) {
            let row = rows.len() as u32;
            if index.is_alive(item)? {
                rows.insert(index.key(item)?.to_owned(), row);
            }
            before.push(rows.len() as u32);
        }
        let ids = Some(Ids { index, before });
        Ok(Self { rows, ids })
    }

    /// Number of items in the index; 0 without one.
    pub fn catalogue(&self) -> usize {
        let before = self.ids.as_ref().and_then(|ids| ids.before.last());
        before.map_or(0, |&items| items as usize)
    }

    /// Whether IDs can be looked up.
    pub fn has_index(&self) -> bool {
        self.ids.is_some()
    }

    /// The row of a key, a new one if it was not met before.
    pub fn row(&mut self, key: &str) -> u32 {
        if let Some(&row) = self.rows.get(key) {
            return row;
        }
        let row = self.rows.len() as u32;
        self.rows.insert(key.to_owned(), row);
        row
    }

    /// The row of a key, if it was met.
    pub fn find(&self, key: &str) -> Option<u32> {
        self.rows.get(key).copied()
    }

    /// The rows of the items that have an ID, given as text; none if it is not the whole ID of an
    /// item, or there is no index.
    ///
    /// # Errors
    ///
    /// [`semantic_id::Error::IndexFile`] if the file is damaged.
    pub fn rows_of_id(&self, id: &str) -> semantic_id::Result<Range<u32>> {
        let Some(Ids { index, before }) = &self.ids else {
            return Ok(0..0);
        };
        let Ok(id) = index.token_format().parse(id) else {
            return Ok(0..0);
        };
        // A shorter ID is a path that goes on with ends.
        let ends = (id.len()..index.levels()).map_while(|level| index.space().end(level));
        let path: Vec<_> = id.iter().copied().chain(ends).collect();
        if id.is_empty() || path.len() < index.levels() {
            return Ok(0..0);
        }
        let ranks = index.ranks(&path)?;
        Ok(before[ranks.start as usize]..before[ranks.end as usize])
    }

    /// The IDs of the rows of the index, `[catalogue, L]`, ascending; `None` without one.
    ///
    /// # Errors
    ///
    /// [`semantic_id::Error::IndexFile`] if the file is damaged.
    pub fn paths(&self) -> semantic_id::Result<Option<CodeMatrix>> {
        let Some(Ids { index, .. }) = &self.ids else {
            return Ok(None);
        };
        let mut codes = Vec::with_capacity(self.catalogue() * index.levels());
        for entry in index.iter() {
            let (item, path) = entry?;
            if index.is_alive(item)? {
                codes.extend_from_slice(&path);
            }
        }
        CodeMatrix::new(codes, index.levels()).map(Some)
    }
}
