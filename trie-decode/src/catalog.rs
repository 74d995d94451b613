use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, Delta, IndexInfo, ItemId, ItemIndex, ItemKeys, Tree,
};

use crate::{Error, Filter, ItemTrie, Result};

/// The items that can be generated now, while items come and go.
///
/// Readers take a [`snapshot`](Self::snapshot), which never changes, and keep it for as long as
/// their request runs; they never wait. Writers put another snapshot in its place, one writer at
/// a time:
///
/// - [`remove`](Self::remove) shares all but one bit an item with the snapshot before it;
/// - [`add`](Self::add) notes an item, which [`rebuild`](Self::rebuild) merges into a new index;
/// - [`update`](Self::update) follows a published index by a delta of it;
/// - [`publish`](Self::publish) puts any trie in place.
///
/// A rebuild numbers the items anew, without the removed ones: an item is the same in two
/// snapshots if it has the same key.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys};
/// use semantic_id::{Manifest, TokenFormat};
/// use trie_decode::{Catalog, Filter, ItemTrie};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2].map(Code).to_vec(), 2)?;
/// let keys = ItemKeys::new(["lamp", "desk"])?;
/// let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// let index = ItemIndex::build(&space, &codes, &keys, 1, info)?;
///
/// let catalog = Catalog::new(ItemTrie::new(index), 1);
/// let before = catalog.snapshot();
/// catalog.remove(["lamp"])?;
/// catalog.add("sofa", &[Code(3), Code(0)])?;
/// assert_eq!(Filter::all(&catalog.snapshot()).len(), 1);
/// let after = catalog.rebuild()?;
/// assert!(after.index().expect("built").find("sofa")?.is_some());
/// assert_eq!(Filter::all(&before).len(), 2); // as it was
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Catalog<D> {
    current: ArcSwap<ItemTrie<D>>,
    /// The padded path of each item to come, by key. Its lock is that of all writers.
    added: Mutex<BTreeMap<String, Vec<Code>>>,
    per_path: usize,
}

impl<D: AsRef<[u8]>> Catalog<D> {
    /// A catalogue that shows a trie. At most `per_path` items may share a path when it is
    /// built anew.
    pub fn new(trie: ItemTrie<D>, per_path: usize) -> Self {
        Self {
            current: ArcSwap::from_pointee(trie),
            added: Mutex::default(),
            per_path,
        }
    }

    /// What there is now. Never waits, whatever the writers do; `O(1)`.
    pub fn snapshot(&self) -> Arc<ItemTrie<D>> {
        self.current.load_full()
    }

    /// Shows another trie from now on, and gives back the one before. Items that were added are
    /// still to come.
    pub fn publish(&self, trie: ItemTrie<D>) -> Arc<ItemTrie<D>> {
        let _writing = self.writing();
        self.current.swap(Arc::new(trie))
    }

    /// Removes items, added ones too. Takes `O(N / 8)` bytes and `O(log N)` a key; requests
    /// that run may still be given them. Removing an item twice does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoKeys`] if the trie was made of codes alone, [`Error::UnknownKey`] if there
    /// never was such an item, [`Error::Index`] if the file is damaged. On an error nothing has
    /// changed.
    pub fn remove(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let mut added = self.writing();
        let trie = self.snapshot();
        let index = trie.index().ok_or(Error::NoKeys)?;
        let (mut items, mut withdrawn): (Vec<ItemId>, Vec<String>) = Default::default();
        for key in keys {
            let key = key.as_ref();
            let item = index.find(key)?;
            items.extend(item);
            if added.contains_key(key) {
                withdrawn.push(key.to_owned());
            } else if item.is_none() {
                return Err(Error::UnknownKey(key.to_owned()));
            }
        }
        if !items.is_empty() {
            self.current.store(Arc::new(trie.without(&items)?));
        }
        withdrawn.iter().for_each(|key| _ = added.remove(key));
        Ok(())
    }

    /// Notes an item, to be there after the next [`rebuild`](Self::rebuild). An item with the
    /// same key makes way for it then. Whether the path is free is also seen then.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if `path`, padded with [`CodeSpace::end`], is no path of the index's code
    /// space.
    pub fn add(&self, key: &str, path: &[Code]) -> Result<()> {
        let mut added = self.writing();
        let path = padded(self.snapshot().space(), path)?;
        added.insert(key.to_owned(), path);
        Ok(())
    }

    /// How many items were added since the last rebuild.
    pub fn added(&self) -> usize {
        self.writing().len()
    }

    /// For all writers, who come one after the other. Nothing panics half way through a write.
    fn writing(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Code>>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: AsRef<[u8]> + From<Vec<u8>>> Catalog<D> {
    /// Builds an index of what is left and what was added, shows it, and returns it. Works on
    /// the caller's thread, `O(N L log N)`; other writers wait, readers do not.
    ///
    /// # Errors
    ///
    /// [`Error::NoKeys`] if the trie was made of codes alone, and [`Error::Index`] if no item is
    /// left, if more than `per_path` items have one path (it names them: remove them, or add them
    /// with another), or if the file is damaged. On an error nothing has changed.
    pub fn rebuild(&self) -> Result<Arc<ItemTrie<D>>> {
        let mut added = self.writing();
        let trie = self.snapshot();
        let index = merged(&trie, &added, self.per_path)?;
        let index = ItemIndex::open(D::from(index.into_bytes()))?;
        let trie = Arc::new(ItemTrie::new(index));
        self.current.store(Arc::clone(&trie));
        added.clear();
        Ok(trie)
    }
}

impl<D: AsRef<[u8]> + From<Vec<u8>>> Catalog<D> {
    /// Shows the next generation of the index, and returns it. Items that were removed here stay
    /// so; those that were added here are still to come. Works on the caller's thread,
    /// `O(N L log N)`; other writers wait, readers do not.
    ///
    /// # Errors
    ///
    /// [`Error::NoKeys`] if the trie was made of codes alone, [`Error::Index`] if this is the
    /// delta of another index, as one that was rebuilt here. On an error nothing has changed.
    pub fn update(&self, delta: &Delta) -> Result<Arc<ItemTrie<D>>> {
        let _writing = self.writing();
        let trie = self.snapshot();
        let index = trie.index().ok_or(Error::NoKeys)?;
        let next = delta.apply(index)?;
        let kept = Filter::all(&trie);
        let mut removed = Vec::new();
        for item in index.living()? {
            if !kept.contains(trie.rank(item)?) {
                removed.extend(next.find(index.key(item)?)?);
            }
        }
        let next = ItemTrie::new(ItemIndex::open(D::from(next.into_bytes()))?);
        let next = Arc::new(next.without(&removed)?);
        self.current.store(Arc::clone(&next));
        Ok(next)
    }
}

/// The next generation: the kept items whose key was not added again, then the added ones.
fn merged<D: AsRef<[u8]>>(
    trie: &ItemTrie<D>,
    added: &BTreeMap<String, Vec<Code>>,
    per_path: usize,
) -> Result<ItemIndex<Vec<u8>>> {
    let index = trie.index().ok_or(Error::NoKeys)?;
    let (kept, old) = (Filter::all(trie), index.codes()?);
    let mut keys: Vec<&str> = Vec::with_capacity(kept.len() + added.len());
    let mut codes = Vec::with_capacity(keys.capacity() * trie.levels());
    for item in (0..index.items() as u32).map(ItemId) {
        let key = index.key(item)?;
        if kept.contains(trie.rank(item)?) && !added.contains_key(key) {
            keys.push(key);
            codes.extend_from_slice(old.row(item));
        }
    }
    for (key, path) in added {
        keys.push(key);
        codes.extend_from_slice(path);
    }
    let info = IndexInfo {
        generation: index.info().generation.saturating_add(1),
        parent: Some(index.digest()),
        ..index.info().clone()
    };
    let (keys, codes) = (ItemKeys::new(keys)?, CodeMatrix::new(codes, trie.levels())?);
    Ok(ItemIndex::build(
        trie.space(),
        &codes,
        &keys,
        per_path,
        info,
    )?)
}

/// A path of full length, which an index will take.
fn padded(space: &CodeSpace, path: &[Code]) -> Result<Vec<Code>> {
    let path = space.padded(path)?;
    // The trie of one item looks at its path as that of all items will.
    let one = CodeMatrix::new(path.clone(), path.len())?;
    Tree::new(space, &one, 1)?;
    Ok(path)
}

impl<D: AsRef<[u8]>> fmt::Debug for Catalog<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("snapshot", &self.snapshot())
            .field("per_path", &self.per_path)
            .finish_non_exhaustive()
    }
}
