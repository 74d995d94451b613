use super::{ItemIndex, Level, orphan};
use crate::{Code, ItemId, Result};

/// A walk over all leaves in order of rank: `O(N L)` for the whole of it.
///
/// Keeps the current node of each level; a rank's node is the same as the
/// last rank's or the one after it, so nothing is searched for.
pub(super) struct Walk<'a, D> {
    index: &'a ItemIndex<D>,
    levels: Vec<Level<'a>>,
    nodes: Vec<u32>,
    path: Vec<Code>,
    rank: u32,
}

impl<'a, D: AsRef<[u8]>> Walk<'a, D> {
    pub(super) fn new(index: &'a ItemIndex<D>) -> Self {
        let levels: Vec<Level<'_>> = (0..index.levels())
            .filter_map(|level| index.level(level))
            .collect();
        Self {
            index,
            nodes: vec![0; levels.len()],
            path: vec![Code(0); levels.len()],
            levels,
            rank: 0,
        }
    }

    /// The next item and its path; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<(ItemId, &[Code])>> {
        if self.rank as usize >= self.index.items() {
            return Ok(None);
        }
        let item = self.index.item(self.rank)?;
        let mut child = self.rank;
        for (l, level) in self.levels.iter().enumerate().rev() {
            let node = &mut self.nodes[l];
            while level.children(*node).ok_or_else(|| orphan(l, child))?.end <= child {
                *node += 1;
            }
            self.path[l] = level
                .codes
                .get(*node as usize)
                .ok_or_else(|| orphan(l, child))?;
            child = *node;
        }
        self.rank += 1;
        Ok(Some((item, &self.path)))
    }
}
