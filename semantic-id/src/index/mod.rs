//! The index file: one safetensors file that holds the bijection between items
//! and semantic IDs, the trie over the IDs, and the item keys.
//!
//! `layout` finds the parts of a file, `view` reads them in place, `build`
//! writes them, `writer` does so for a catalogue beyond memory, and `validate` checks them. A published index lives on: a `change` makes the
//! next generation, a `delta` carries it to a copy, `churn` tells what became of the IDs. `docs/formats.md` is the specification.

mod build;
mod change;
mod churn;
mod delta;
mod layout;
mod tree;
mod validate;
mod view;
mod walk;
mod writer;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Code, CodeMatrix, CodeSpace, Digest, Error, ItemId, ItemKeys, Manifest, Result};
use crate::{SemanticId, TokenFormat};
pub use change::Change;
pub use churn::Churn;
pub use delta::Delta;
use layout::Layout;
pub use tree::Tree;
use view::Keys;
pub use view::{Codes, Level, U32s};
use walk::Walk;
pub use writer::IndexWriter;

/// A finished index: items, their keys, and their semantic IDs, read from the
/// bytes of its file, which may be memory-mapped.
///
/// [`open`](Self::open) looks at the header only; a file of unknown origin
/// deserves [`validate`](Self::validate) once. Without it all answers may be
/// wrong, but no method panics or allocates more than the file's size warrants.
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, IndexInfo, ItemIndex, ItemKeys};
/// use semantic_id::{Manifest, TokenFormat};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let keys = ItemKeys::new(["lamp", "desk", "sofa"])?;
/// let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// let index = ItemIndex::build(&space, &codes, &keys, 1, info)?;
///
/// let index = ItemIndex::open(index.bytes())?;
/// index.validate()?;
/// let sofa = index.find("sofa")?.expect("just stored");
/// assert_eq!(index.text(sofa)?, "<a_3><b_0>");
/// assert_eq!(index.items_of(&[Code(3)])?.len(), 2); // sofa and lamp
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Clone)]
pub struct ItemIndex<D> {
    bytes: D,
    layout: Layout,
}

/// What an index says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexInfo {
    /// How codes are spelled as tokens.
    pub token_format: TokenFormat,
    /// How many times a published index was changed to become this one.
    pub generation: u64,
    /// The [`ItemIndex::digest`] of the previous generation.
    pub parent: Option<Digest>,
    /// What made this file.
    pub manifest: Manifest,
}

impl IndexInfo {
    /// A first generation.
    pub fn new(token_format: TokenFormat, manifest: Manifest) -> Self {
        Self {
            token_format,
            generation: 0,
            parent: None,
            manifest,
        }
    }
}

impl<D: AsRef<[u8]>> ItemIndex<D> {
    /// Opens a file: reads the header, and checks the shapes and the last entry of
    /// every offsets tensor. Takes `O(header)`, whatever the number of items.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] says what is wrong, and in which part of the file.
    pub fn open(bytes: D) -> Result<Self> {
        let layout = Layout::read(bytes.as_ref())?;
        Ok(Self { bytes, layout })
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The file, given back.
    pub fn into_bytes(self) -> D {
        self.bytes
    }

    /// Number of items `N`, removed ones included.
    pub fn items(&self) -> usize {
        self.layout.items
    }

    /// All items, removed ones included, in order of row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = ItemId> + use<D> {
        (0..self.items() as u32).map(ItemId)
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.layout.space.levels()
    }

    /// The code space. Paths shorter than `L` are padded with [`CodeSpace::end`].
    pub fn space(&self) -> &CodeSpace {
        &self.layout.space
    }

    /// How codes are spelled as tokens.
    pub fn token_format(&self) -> &TokenFormat {
        &self.layout.info.token_format
    }

    /// Token format, generation, parent and manifest.
    pub fn info(&self) -> &IndexInfo {
        &self.layout.info
    }

    /// The hash that the file states of itself; [`ItemIndex::validate`] checks it.
    pub fn digest(&self) -> Digest {
        self.layout.digest
    }

    /// The key of an item, in `O(1)`.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] if there is no such item, [`Error::IndexFile`] if the file is damaged.
    pub fn key(&self, item: ItemId) -> Result<&str> {
        self.known(item)?;
        let bytes = self.raw_keys().get(item.index());
        bytes
            .and_then(|key| std::str::from_utf8(key).ok())
            .ok_or_else(|| {
                damaged(
                    "item_key",
                    format!("item {item} has no UTF-8 key at its offsets"),
                )
            })
    }

    /// The item of a key, in `O(log N)`; `None` if no item has it.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged.
    pub fn find(&self, key: &str) -> Result<Option<ItemId>> {
        let order = self.key_order();
        let (mut low, mut high) = (0, order.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let item = ItemId(entry(order, "key_order", middle)?);
            match self.key(item)?.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(item)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The position of an item when all are sorted by semantic ID, then key.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] if there is no such item.
    pub fn rank(&self, item: ItemId) -> Result<u32> {
        self.known(item)?;
        entry(self.item_to_rank(), "item_to_rank", item.index())
    }

    /// The item at a rank.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if there is no such rank.
    pub fn item(&self, rank: u32) -> Result<ItemId> {
        entry(self.rank_to_item(), "rank_to_item", rank as usize).map(ItemId)
    }

    /// The semantic ID of an item: `L` codes, padded with [`CodeSpace::end`] if shorter.
    /// Climbs from leaf to root in `O(L log N)`; to read all, see [`ItemIndex::iter`].
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] if there is no such item, [`Error::IndexFile`] if the file is damaged.
    pub fn semantic_id(&self, item: ItemId) -> Result<SemanticId> {
        let mut node = self.rank(item)?;
        let mut path = vec![Code(0); self.levels()];
        for (l, code) in path.iter_mut().enumerate().rev() {
            let level = self.level(l).expect("one of our levels");
            if let Some(offsets) = level.first_child {
                node = parent(offsets, node).ok_or_else(|| orphan(l, node))?;
            }
            *code = level
                .codes
                .get(node as usize)
                .ok_or_else(|| orphan(l, node))?;
        }
        Ok(path.into_iter().collect())
    }

    /// The semantic ID of an item as text, without padding.
    ///
    /// # Errors
    ///
    /// Those of [`ItemIndex::semantic_id`].
    pub fn text(&self, item: ItemId) -> Result<String> {
        let path = self.semantic_id(item)?;
        Ok(self.token_format().text(self.space().unpadded(&path)))
    }

    /// The interval of ranks whose semantic IDs start with `prefix`, 0 to `L` codes;
    /// empty if none does. Takes `O(L log K)`.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged.
    pub fn ranks(&self, prefix: &[Code]) -> Result<Range<u32>> {
        let roots = self.level(0).map_or(0, |level| level.codes.len());
        let mut nodes = 0..roots as u32;
        for l in 0..self.levels() {
            let level = self.level(l).expect("one of our levels");
            if let Some(&code) = prefix.get(l) {
                let siblings = level
                    .codes
                    .slice(nodes.start as usize..nodes.end as usize)
                    .ok_or_else(|| orphan(l, nodes.end))?;
                match siblings.find(code) {
                    Some(at) => nodes = nodes.start + at as u32..nodes.start + at as u32 + 1,
                    None => return Ok(0..0),
                }
            }
            nodes = level
                .descendants(&nodes)
                .ok_or_else(|| orphan(l, nodes.end))?;
        }
        if nodes.end as usize > self.items() {
            return Err(orphan(self.levels(), nodes.end));
        }
        let too_long = prefix.len() > self.levels();
        Ok(if too_long { 0..0 } else { nodes })
    }

    /// The items whose semantic IDs start with `prefix`, in order of rank. An
    /// unpadded shorter ID is a prefix too, and may have longer IDs below it.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged.
    pub fn items_of(&self, prefix: &[Code]) -> Result<Vec<ItemId>> {
        self.ranks(prefix)?.map(|rank| self.item(rank)).collect()
    }

    /// The nodes of a level, for a walk down the trie.
    pub fn level(&self, level: usize) -> Option<Level<'_>> {
        let parts = self.layout.levels.get(level)?;
        let codes = self.part(&parts.codes);
        Some(Level {
            codes: if parts.wide {
                Codes::U16(codes.as_chunks().0)
            } else {
                Codes::U8(codes)
            },
            first_child: parts
                .first_child
                .as_ref()
                .map(|span| U32s::new(self.part(span))),
        })
    }

    /// The item of each rank, `[N]`.
    pub fn rank_to_item(&self) -> U32s<'_> {
        U32s::new(self.part(&self.layout.rank_to_item))
    }

    /// The rank of each item, `[N]`.
    pub fn item_to_rank(&self) -> U32s<'_> {
        U32s::new(self.part(&self.layout.item_to_rank))
    }

    /// Bit `r % 8` of byte `r / 8` tells whether the item at rank `r` was kept,
    /// `[ceil(N / 8)]`; `None` if none was removed.
    pub fn alive(&self) -> Option<&[u8]> {
        self.layout.alive.as_ref().map(|span| self.part(span))
    }

    /// Whether an item is still there, that is, was not removed in a later generation.
    ///
    /// # Errors
    ///
    /// [`Error::NoItem`] if there is no such item, [`Error::IndexFile`] if the file is damaged.
    pub fn is_alive(&self, item: ItemId) -> Result<bool> {
        let rank = self.rank(item)?;
        let Some(alive) = self.alive() else {
            return Ok(true);
        };
        let byte = alive.get(rank as usize / 8);
        byte.map(|byte| byte >> (rank % 8) & 1 == 1)
            .ok_or_else(|| damaged("alive", format!("there is no rank {rank}")))
    }

    /// The items that were not removed, in order of row.
    ///
    /// # Errors
    ///
    /// Those of [`ItemIndex::is_alive`].
    pub fn living(&self) -> Result<Vec<ItemId>> {
        let mut living = Vec::with_capacity(self.items());
        for item in self.rows() {
            if self.is_alive(item)? {
                living.push(item);
            }
        }
        Ok(living)
    }

    /// All items with their semantic IDs, in order of rank.
    pub fn iter(&self) -> impl Iterator<Item = Result<(ItemId, SemanticId)>> + '_ {
        let mut walk = Walk::new(self);
        std::iter::from_fn(move || {
            let step = walk.next();
            step.map(|found| found.map(|(item, path)| (item, path.iter().copied().collect())))
                .transpose()
        })
    }

    /// All semantic IDs, in order of item, `[N, L]`.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged.
    pub fn codes(&self) -> Result<CodeMatrix> {
        let codes = vec![Code(0); self.items() * self.levels()];
        let mut codes = CodeMatrix::new(codes, self.levels())?;
        let mut walk = Walk::new(self);
        while let Some((item, path)) = walk.next()? {
            self.known(item)
                .map_err(|_| damaged("rank_to_item", format!("there is no item {item}")))?;
            codes.row_mut(item).copy_from_slice(path);
        }
        Ok(codes)
    }

    /// All keys, in order of item.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`] if the file is damaged.
    pub fn keys(&self) -> Result<ItemKeys> {
        let keys: Vec<&str> = (0..self.items() as u32)
            .map(|item| self.key(ItemId(item)))
            .collect::<Result<_>>()?;
        ItemKeys::new(keys)
    }

    fn known(&self, item: ItemId) -> Result<()> {
        if item.index() < self.items() {
            return Ok(());
        }
        Err(Error::NoItem {
            item: item.index(),
            items: self.items(),
        })
    }

    fn raw_keys(&self) -> Keys<'_> {
        Keys {
            offsets: self.part(&self.layout.key_offsets).as_chunks().0,
            text: self.part(&self.layout.key_text),
        }
    }

    fn key_order(&self) -> U32s<'_> {
        U32s::new(self.part(&self.layout.key_order))
    }

    /// A part of the file. The layout was checked against its length; if `D` shows other
    /// bytes by now, there is nothing to see.
    fn part(&self, span: &Range<usize>) -> &[u8] {
        self.bytes().get(span.clone()).unwrap_or_default()
    }
}

impl<D: AsRef<[u8]>> fmt::Debug for ItemIndex<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemIndex")
            .field("items", &self.items())
            .field("space", self.space())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

/// The node whose children include `child`: the last whose first child is not beyond it.
fn parent(offsets: U32s<'_>, child: u32) -> Option<u32> {
    let (mut low, mut high) = (0, offsets.len().checked_sub(1)?);
    while low < high {
        let middle = low + (high - low) / 2;
        if offsets.get(middle + 1)? <= child {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    u32::try_from(low).ok()
}

fn entry(tensor: U32s<'_>, name: &str, at: usize) -> Result<u32> {
    tensor.get(at).ok_or_else(|| {
        damaged(
            name,
            format!("entry {at} is beyond the {} there are", tensor.len()),
        )
    })
}

fn orphan(level: usize, node: u32) -> Error {
    damaged(
        &format!("level {level}"),
        format!("node {node} is outside what its offsets span"),
    )
}

fn damaged(part: &str, problem: String) -> Error {
    Error::IndexFile {
        part: part.to_owned(),
        problem,
    }
}
