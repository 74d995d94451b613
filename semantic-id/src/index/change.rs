use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{IndexInfo, ItemIndex};
use crate::{Code, CodeMatrix, Error, ItemId, ItemKeys, Manifest, Result, SemanticId};

/// What makes the next generation of a published index, see [`ItemIndex::changed`].
///
/// ```
/// use semantic_id::{Change, Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys};
/// use semantic_id::{Manifest, TokenFormat};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2].map(Code).to_vec(), 2)?;
/// let keys = ItemKeys::new(["lamp", "desk"])?;
/// let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// let first = ItemIndex::build(&space, &codes, &keys, 1, info)?;
///
/// let change = Change {
///     added: vec![("sofa".into(), [3, 0].map(Code).into_iter().collect())],
///     removed: vec!["lamp".into()],
///     ..Change::default()
/// };
/// let second = first.changed(&change, 1, Manifest::new("doc", ().into()))?;
/// assert_eq!(second.info().parent, Some(first.digest()));
/// assert!(!second.is_alive(second.find("lamp")?.expect("its ID is kept"))?);
/// assert_eq!(Change::between(&first, &second)?, change);
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// New items and their IDs. They get the rows after all others, in this order.
    pub added: Vec<(String, SemanticId)>,
    /// Removed items that are back, under the IDs they had.
    pub revived: Vec<String>,
    /// Items that have another ID now.
    pub moved: Vec<(String, SemanticId)>,
    /// Items that are not offered any more. They keep their rows, and nobody gets their IDs.
    pub removed: Vec<String>,
    /// Items that are gone, removed before or not. Others may get their IDs, and the rows after
    /// theirs move up.
    pub freed: Vec<String>,
}

impl Change {
    /// What differs between two indexes, in order of row.
    ///
    /// An item is the same in both if it has the same key. IDs that are spelled with other
    /// codebook sizes, or padded to another length, differ. Takes `O(N log N)`.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if a file is damaged.
    pub fn between<A, B>(before: &ItemIndex<A>, after: &ItemIndex<B>) -> Result<Self>
    where
        A: AsRef<[u8]>,
        B: AsRef<[u8]>,
    {
        let mut change = Self::default();
        let (old, new) = (before.codes()?, after.codes()?);
        for item in after.rows() {
            let key = || after.key(item).map(str::to_owned);
            let id = || new.row(item).iter().copied().collect::<SemanticId>();
            let Some(was) = before.find(after.key(item)?)? else {
                change.added.push((key()?, id()));
                continue;
            };
            if old.row(was) != new.row(item) {
                change.moved.push((key()?, id()));
            }
            match (before.is_alive(was)?, after.is_alive(item)?) {
                (false, true) => change.revived.push(key()?),
                (true, false) => change.removed.push(key()?),
                _ => {}
            }
        }
        for item in before.rows() {
            let key = before.key(item)?;
            if after.find(key)?.is_none() {
                change.freed.push(key.to_owned());
            }
        }
        Ok(change)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<D: AsRef<[u8]>> ItemIndex<D> {
    /// The next generation: the rows of this one without those that are freed, then the added
    /// ones. Of at most `per_path` items on an ID, unless there are more already. `O(N L log N)`.
    ///
    /// # Errors
    ///
    /// [`Error::Change`] if an item to add is there, or another to change is not, or is not (or
    /// is) removed as it should be; those of [`ItemIndex::build`], as if the IDs were not free.
    pub fn changed(
        &self,
        change: &Change,
        per_path: usize,
        manifest: Manifest,
    ) -> Result<ItemIndex<Vec<u8>>> {
        let freed: HashSet<ItemId> = self.known_items(&change.freed)?.into_iter().collect();
        let mut codes = self.codes()?;
        let moved = change.moved.iter().map(|(key, _)| key);
        for (item, (_, id)) in self.known_items(moved)?.into_iter().zip(&change.moved) {
            check_levels(id, self.levels())?;
            codes.row_mut(item).copy_from_slice(id);
        }
        let dead = self.dead_after(change)?;
        self.check_added(change, &freed)?;

        let mut keys = Vec::with_capacity(self.items() + change.added.len());
        let mut paths = Vec::with_capacity(keys.capacity() * self.levels());
        let mut dead_rows = Vec::with_capacity(dead.len());
        for item in self.rows().filter(|item| !freed.contains(item)) {
            if dead.contains(&item) {
                dead_rows.push(ItemId(keys.len() as u32));
            }
            keys.push(self.key(item)?);
            paths.extend_from_slice(codes.row(item));
        }
        for (key, id) in &change.added {
            check_levels(id, self.levels())?;
            keys.push(key);
            paths.extend_from_slice(id);
        }
        let info = IndexInfo {
            token_format: self.token_format().clone(),
            generation: self.info().generation.saturating_add(1),
            parent: Some(self.digest()),
            manifest,
        };
        let paths = CodeMatrix::new(paths, self.levels())?;
        let keys = ItemKeys::new(keys)?;
        let per_path = per_path.max(self.most_on_a_path());
        ItemIndex::build_with(self.space(), &paths, &keys, &dead_rows, per_path, info)
    }

    /// The items that are removed in the next generation, those that it frees apart.
    fn dead_after(&self, change: &Change) -> Result<HashSet<ItemId>> {
        let mut dead = HashSet::new();
        for item in self.rows() {
            if !self.is_alive(item)? {
                dead.insert(item);
            }
        }
        let revived = self.known_items(&change.revived)?;
        let strangers = revived.iter().filter(|item| !dead.remove(item));
        self.refuse("to bring back were not removed", strangers)?;
        let removed = self.known_items(&change.removed)?;
        let twice = removed.iter().filter(|item| !dead.insert(**item));
        self.refuse("to remove were removed already", twice)?;
        Ok(dead)
    }

    fn check_added(&self, change: &Change, freed: &HashSet<ItemId>) -> Result<()> {
        let mut there = Vec::new();
        for (key, _) in &change.added {
            there.extend(self.find(key)?.filter(|item| !freed.contains(item)));
        }
        self.refuse("to add are in the index already", there.iter())
    }

    /// The items of some keys.
    fn known_items(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<ItemId>> {
        let (mut items, mut unknown) = (Vec::new(), Vec::new());
        for key in keys {
            match self.find(key.as_ref())? {
                Some(item) => items.push(item),
                None => unknown.push(key.as_ref().to_owned()),
            }
        }
        Error::refuse("to change are not in the index", unknown)?;
        Ok(items)
    }

    fn refuse<'i>(
        &self,
        problem: &'static str,
        items: impl Iterator<Item = &'i ItemId>,
    ) -> Result<()> {
        let keys = items.map(|&item| self.key(item).map(str::to_owned));
        Error::refuse(problem, keys.collect::<Result<_>>()?)
    }

    /// Items on the fullest ID.
    fn most_on_a_path(&self) -> usize {
        let leaves = self.level(self.levels() - 1).and_then(|l| l.first_child);
        let ranks = leaves.into_iter().flat_map(|offsets| {
            let leaf = move |at| offsets.interval(at).map(|ranks| ranks.len());
            (0..offsets.len()).filter_map(leaf)
        });
        ranks.max().unwrap_or(1)
    }
}

fn check_levels(id: &[Code], levels: usize) -> Result<()> {
    if id.len() == levels {
        return Ok(());
    }
    Err(Error::Shape {
        what: "levels of a changed ID",
        got: id.len(),
        expected: levels,
    })
}
