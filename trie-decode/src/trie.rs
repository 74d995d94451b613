use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use semantic_id::{Code, CodeMatrix, CodeSpace, Codes, ItemId, ItemIndex, Level, Tree, U32s};

use crate::bitmap::Bitmap;
use crate::{Error, Result};

/// Which codes may follow which prefix, and which items lie below it.
///
/// The trie *is* the sorted index (see `docs/formats.md`): a node's number is its place in its
/// level, its children are a run of nodes of the next level, and the items below it are an
/// interval of ranks. It is read in place, from a memory map if need be.
///
/// Removed items stay in the trie; a search passes over them.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
/// use trie_decode::ItemTrie;
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let trie = ItemTrie::of_codes(space, &codes, 1)?;
///
/// let three = trie.child(trie.root(), Code(3))?.expect("two items start with 3");
/// let next: Vec<Code> = trie.children(three)?.codes().iter().collect();
/// assert_eq!(next, [Code(0), Code(1)]);
/// let items: Vec<ItemId> = trie.items_below(three)?.collect();
/// assert_eq!(items, [ItemId(2), ItemId(0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ItemTrie<D> {
    store: Store<D>,
    space: CodeSpace,
    /// [`ItemTrie::alive`], where items were removed since the index was written.
    alive: Option<Vec<u8>>,
    /// The same as a set, made when first asked for.
    kept: OnceLock<Option<Arc<Bitmap>>>,
    /// Sets this trie apart from every other one of this process.
    stamp: u32,
}

enum Store<D> {
    File(Arc<ItemIndex<D>>),
    Memory(Arc<Tree>),
}

/// A node of a trie: the state of one beam. The root is the empty prefix.
///
/// Eight bytes and a stamp of the trie it belongs to; within a search only
/// [`node`](Self::node) need be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrieCursor {
    stamp: u32,
    depth: u32,
    node: u32,
}

impl TrieCursor {
    /// Number of codes on the way here: 0 at the root, `L` at a leaf.
    pub fn depth(self) -> usize {
        self.depth as usize
    }

    /// The node's place among the nodes of its depth; 0 at the root.
    pub fn node(self) -> u32 {
        self.node
    }

    /// The child at a place among the nodes of the next depth.
    pub(crate) fn below(self, node: u32) -> Self {
        Self {
            depth: self.depth + 1,
            node,
            ..self
        }
    }
}

/// The children of a node. One means that the next code is forced.
#[derive(Debug, Clone, Copy)]
pub struct Children<'a> {
    codes: Codes<'a>,
    first: TrieCursor,
}

impl<'a> Children<'a> {
    /// Their codes, ascending. The code `K_l` is [`CodeSpace::end`]: a shorter ID ends here.
    pub fn codes(self) -> Codes<'a> {
        self.codes
    }

    /// Number of children; 0 below a leaf.
    pub fn len(self) -> usize {
        self.codes.len()
    }

    /// Whether there are none, that is, the node is a leaf.
    pub fn is_empty(self) -> bool {
        self.codes.is_empty()
    }

    /// The child at a place of [`codes`](Self::codes).
    pub fn get(self, place: usize) -> Option<TrieCursor> {
        (place < self.len()).then(|| TrieCursor {
            node: self.first.node + place as u32,
            ..self.first
        })
    }

    /// The child with a code, in `O(log K)`.
    pub fn find(self, code: Code) -> Option<TrieCursor> {
        self.get(self.codes.find(code)?)
    }
}

impl<D: AsRef<[u8]>> ItemTrie<D> {
    /// The trie of an index, read in place. An index of unknown origin deserves
    /// [`ItemIndex::validate`] first: without it answers may be wrong, though nothing panics.
    pub fn new(index: ItemIndex<D>) -> Self {
        let space = index.space().clone();
        Self::of_store(Store::File(Arc::new(index)), space, None)
    }

    fn of_store(store: Store<D>, space: CodeSpace, alive: Option<Vec<u8>>) -> Self {
        static STAMPS: AtomicU32 = AtomicU32::new(1);
        Self {
            store,
            space,
            alive,
            kept: OnceLock::new(),
            stamp: STAMPS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// A trie from which `items` are removed as well. Nodes, ranks and rows stay as they are and
    /// are shared, not copied: takes `O(N / 8)` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if there is no such item.
    ///
    /// ```
    /// # use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
    /// # use trie_decode::{Filter, ItemTrie};
    /// # let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
    /// # let trie = ItemTrie::of_codes(CodeSpace::uniform(2, 4)?, &codes, 1)?;
    /// let fewer = trie.without(&[ItemId(1)])?;
    /// assert_eq!((Filter::all(&trie).len(), Filter::all(&fewer).len()), (3, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without(&self, items: &[ItemId]) -> Result<Self> {
        let mut alive = match self.alive() {
            Some(alive) => alive.to_vec(),
            None => vec![u8::MAX; self.items().div_ceil(8)],
        };
        for &item in items {
            let rank = self.rank(item)? as usize;
            if let Some(byte) = alive.get_mut(rank / 8) {
                *byte &= !(1 << (rank % 8));
            }
        }
        let store = match &self.store {
            Store::File(index) => Store::File(Arc::clone(index)),
            Store::Memory(tree) => Store::Memory(Arc::clone(tree)),
        };
        Ok(Self::of_store(store, self.space.clone(), Some(alive)))
    }

    /// The index that the trie reads, unless it was made of codes alone.
    pub fn index(&self) -> Option<&ItemIndex<D>> {
        match &self.store {
            Store::File(index) => Some(index),
            Store::Memory(_) => None,
        }
    }

    /// The code space. Shorter IDs are padded with [`CodeSpace::end`].
    pub fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.space.levels()
    }

    /// Number of items `N`, removed ones included: ranks go from 0 to `N - 1`.
    pub fn items(&self) -> usize {
        self.rank_to_item().len()
    }

    /// The item of each rank, `[N]`.
    pub fn rank_to_item(&self) -> U32s<'_> {
        match &self.store {
            Store::File(index) => index.rank_to_item(),
            Store::Memory(tree) => tree.rank_to_item(),
        }
    }

    /// The rank of each item, `[N]`.
    pub fn item_to_rank(&self) -> U32s<'_> {
        match &self.store {
            Store::File(index) => index.item_to_rank(),
            Store::Memory(tree) => tree.item_to_rank(),
        }
    }

    /// The rank of one item.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if there is no such item, or the file is damaged.
    pub fn rank(&self, item: ItemId) -> Result<u32> {
        let ranks = self.item_to_rank();
        let items = ranks.len();
        let rank = ranks.get(item.index()).ok_or(semantic_id::Error::NoItem {
            item: item.index(),
            items,
        })?;
        if (rank as usize) < items {
            return Ok(rank);
        }
        Err(Error::Index(semantic_id::Error::IndexFile {
            part: "item_to_rank".to_owned(),
            problem: format!("item {item} has rank {rank}, expected one below {items}"),
        }))
    }

    /// The rank of the item with a key, in `O(log N)`.
    pub(crate) fn rank_of_key(&self, key: &str) -> Result<u32> {
        let index = self.index().ok_or(Error::NoKeys)?;
        let item = index.find(key)?;
        self.rank(item.ok_or_else(|| Error::UnknownKey(key.to_owned()))?)
    }

    /// Bit `r % 8` of byte `r / 8` tells whether the item at rank `r` was kept; `None` if none
    /// was removed. Bits beyond the last rank mean nothing.
    pub fn alive(&self) -> Option<&[u8]> {
        match &self.alive {
            Some(alive) => Some(alive),
            None => self.index()?.alive(),
        }
    }

    /// The ranks of [`ItemTrie::alive`]; `None` is all of them. `O(1)` but for the first call.
    pub(crate) fn kept(&self) -> Option<&Arc<Bitmap>> {
        let kept = || {
            let kept = Bitmap::of_bytes(self.alive()?, self.items());
            (kept.len() < self.items()).then(|| Arc::new(kept))
        };
        self.kept.get_or_init(kept).as_ref()
    }

    /// What cursors and filters of this trie carry.
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// The nodes of a level (those of depth `level + 1`), for a walk of one's own.
    pub fn level(&self, level: usize) -> Option<Level<'_>> {
        match &self.store {
            Store::File(index) => index.level(level),
            Store::Memory(tree) => tree.level(level),
        }
    }

    /// The empty prefix.
    pub fn root(&self) -> TrieCursor {
        TrieCursor {
            stamp: self.stamp,
            depth: 0,
            node: 0,
        }
    }

    /// A cursor from its two numbers.
    ///
    /// # Errors
    ///
    /// [`Error::NoNode`] if there is no such node.
    pub fn cursor(&self, depth: usize, node: u32) -> Result<TrieCursor> {
        let nodes = match depth.checked_sub(1) {
            None => 1,
            Some(level) => self.level(level).map_or(0, |level| level.codes.len()),
        };
        if (node as usize) < nodes {
            let (stamp, depth) = (self.stamp, depth as u32);
            return Ok(TrieCursor { stamp, depth, node });
        }
        Err(Error::NoNode { depth, node, nodes })
    }

    /// The node that a prefix leads to; `None` if no item has it. Takes `O(L log K)`.
    ///
    /// # Errors
    ///
    /// Those of [`ItemTrie::children`].
    pub fn find(&self, prefix: &[Code]) -> Result<Option<TrieCursor>> {
        let mut cursor = self.root();
        for &code in prefix {
            match self.child(cursor, code)? {
                Some(child) => cursor = child,
                None => return Ok(None),
            }
        }
        Ok(Some(cursor))
    }

    /// The children of a node; none below a leaf. `O(1)`.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] for a cursor of another trie, [`Error::Index`] if the file is damaged.
    pub fn children(&self, cursor: TrieCursor) -> Result<Children<'_>> {
        self.check(cursor)?;
        let depth = cursor.depth();
        let first = |node| TrieCursor {
            stamp: self.stamp,
            depth: cursor.depth + 1,
            node,
        };
        let Some(level) = self.level(depth) else {
            let (codes, first) = (Codes::U8(&[]), first(0));
            return Ok(Children { codes, first });
        };
        let span = self.child_span(cursor)?;
        let codes = level.codes.slice(span.start as usize..span.end as usize);
        let codes = codes.ok_or_else(|| self.damaged(depth, cursor.node))?;
        let first = first(span.start);
        Ok(Children { codes, first })
    }

    /// The child of a node by its code, in `O(log K)`; `None` if no item goes on so.
    ///
    /// # Errors
    ///
    /// Those of [`ItemTrie::children`].
    pub fn child(&self, cursor: TrieCursor, code: Code) -> Result<Option<TrieCursor>> {
        Ok(self.children(cursor)?.find(code))
    }

    /// The interval of ranks below a node, in `O(L)`.
    ///
    /// # Errors
    ///
    /// Those of [`ItemTrie::children`].
    pub fn ranks(&self, cursor: TrieCursor) -> Result<Range<u32>> {
        let leaves = self.leaves(cursor)?;
        let last = self.level(self.levels() - 1);
        let offsets = last.and_then(|level| level.first_child);
        let ranks = match offsets {
            None => Some(leaves),
            Some(offsets) => spanned(offsets, &leaves),
        };
        ranks
            .filter(|ranks| ranks.start <= ranks.end && ranks.end as usize <= self.items())
            .ok_or_else(|| self.damaged(cursor.depth(), cursor.node))
    }

    /// The interval of ranks below each child of a node that is no leaf, in `O(L)` each: where
    /// one ends the next begins.
    pub(crate) fn ranks_of_children(
        &self,
        cursor: TrieCursor,
    ) -> Result<impl Iterator<Item = Result<Range<u32>>> + '_> {
        self.check(cursor)?;
        let children = self.child_span(cursor)?;
        let below: Vec<U32s<'_>> = (cursor.depth()..self.levels())
            .filter_map(|level| self.level(level)?.first_child)
            .collect();
        let first = move |node: u32| {
            let mut below = below.iter();
            below.try_fold(node, |node, offsets| offsets.get(node as usize))
        };
        let mut start = first(children.start);
        Ok(children.map(move |node| {
            let end = first(node + 1);
            let ranks = start.zip(end).map(|(start, end)| start..end);
            start = end;
            ranks.ok_or_else(|| self.damaged(cursor.depth() + 1, node))
        }))
    }

    /// Number of leaves, that is, of distinct semantic IDs, below a node, in `O(L)`.
    ///
    /// # Errors
    ///
    /// Those of [`ItemTrie::children`].
    pub fn leaf_count(&self, cursor: TrieCursor) -> Result<usize> {
        Ok(self.leaves(cursor)?.len())
    }

    /// The items below a node in order of rank, removed ones included.
    ///
    /// # Errors
    ///
    /// Those of [`ItemTrie::children`].
    pub fn items_below(
        &self,
        cursor: TrieCursor,
    ) -> Result<impl ExactSizeIterator<Item = ItemId> + '_> {
        let ranks = self.ranks(cursor)?;
        let items = self.rank_to_item();
        // `ranks` holds that there are as many.
        Ok((ranks.start as usize..ranks.end as usize)
            .map(move |rank| ItemId(items.get(rank).unwrap_or(u32::MAX))))
    }

    /// The leaves below a node.
    fn leaves(&self, cursor: TrieCursor) -> Result<Range<u32>> {
        self.check(cursor)?;
        let damaged = || self.damaged(cursor.depth(), cursor.node);
        let mut nodes = cursor.node..cursor.node.checked_add(1).ok_or_else(damaged)?;
        if cursor.depth == 0 {
            nodes = 0..self.level(0).map_or(0, |level| level.codes.len() as u32);
        }
        for depth in cursor.depth().max(1)..self.levels() {
            let offsets = self.level(depth - 1).and_then(|level| level.first_child);
            nodes = spanned(offsets.ok_or_else(damaged)?, &nodes).ok_or_else(damaged)?;
        }
        Ok(nodes)
    }

    /// The children of a node of depth below `L`, as nodes of the next depth.
    fn child_span(&self, cursor: TrieCursor) -> Result<Range<u32>> {
        let Some(above) = cursor.depth().checked_sub(1) else {
            return Ok(0..self.level(0).map_or(0, |level| level.codes.len() as u32));
        };
        self.level(above)
            .and_then(|level| level.children(cursor.node))
            .ok_or_else(|| self.damaged(cursor.depth(), cursor.node))
    }

    pub(crate) fn check(&self, cursor: TrieCursor) -> Result<()> {
        if cursor.stamp == self.stamp {
            return Ok(());
        }
        Err(Error::Foreign {
            what: "cursor",
            got: cursor.stamp,
            expected: self.stamp,
        })
    }

    pub(crate) fn damaged(&self, depth: usize, node: u32) -> Error {
        Error::Index(semantic_id::Error::IndexFile {
            part: format!("level {}", depth.saturating_sub(1)),
            problem: format!("node {node} leads outside the trie; `validate` says more"),
        })
    }
}

impl ItemTrie<Vec<u8>> {
    /// The trie of the paths `codes` `[N, L]` of items 0 to `N - 1`, without keys and without a
    /// file; at most `per_path` items may share a path. Sorts the items, `O(N log N)`.
    ///
    /// # Errors
    ///
    /// Those of [`Tree::new`].
    pub fn of_codes(space: CodeSpace, codes: &CodeMatrix, per_path: usize) -> Result<Self> {
        let tree = Tree::new(&space, codes, per_path)?;
        Ok(Self::of_store(Store::Memory(Arc::new(tree)), space, None))
    }
}

impl<D: AsRef<[u8]>> fmt::Debug for ItemTrie<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemTrie")
            .field("items", &self.items())
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

/// What a run of neighbours spans in the level below.
fn spanned(offsets: U32s<'_>, nodes: &Range<u32>) -> Option<Range<u32>> {
    Some(offsets.get(nodes.start as usize)?..offsets.get(nodes.end as usize)?)
}
