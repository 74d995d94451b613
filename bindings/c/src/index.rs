//! An open index file: items, their keys and their codes.

use std::ffi::c_char;
use std::fs::File;
use std::mem::MaybeUninit;
use std::sync::Arc;

use memmap2::Mmap;
use semantic_id::{ItemId, ItemIndex};
use trie_decode::ItemTrie;

use crate::handle::Table;
use crate::memory::{self, Versioned};
use crate::status::{Failure, Result, Status, guard};

/// An index file, mapped into memory.
#[derive(Debug)]
pub struct Index(pub(crate) Arc<Trie>);

pub(crate) type Trie = ItemTrie<Mmap>;

pub(crate) static INDEXES: Table<Index> = Table::new("index");

/// How to open an index. Zeros are the defaults.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IndexOptions {
    /// `sizeof(SemidIndexOptions)`.
    pub struct_size: usize,
    /// Not 0: the file is not validated, which else reads all of it once, at a gigabyte a second
    /// or so. A damaged file then gives wrong answers or `SEMID_STATUS_DAMAGED`.
    pub trusted: usize,
}

// SAFETY: two `usize`.
unsafe impl Versioned for IndexOptions {}

/// What an index says about itself.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IndexInfo {
    /// `sizeof(SemidIndexInfo)`, set by the caller.
    pub struct_size: usize,
    /// Items, removed ones included: they are numbered from 0.
    pub items: usize,
    /// Levels, the codes of a full semantic ID.
    pub levels: usize,
    /// How many times a published index was changed to become this one.
    pub generation: u64,
}

// SAFETY: three `usize` and a `u64`.
unsafe impl Versioned for IndexInfo {}

/// Opens the index file at a path in UTF-8. `options` may be null.
///
/// The file is mapped, not read: it may be replaced by renaming another over it, but must not be
/// written in place while it is open. What was made of an index keeps it open, so handles may be
/// closed in any order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_open(
    path: *const c_char,
    options: *const IndexOptions,
    index: Option<&mut MaybeUninit<*const Index>>,
) -> Status {
    guard(|| {
        let handle = memory::needed("index", index)?;
        // SAFETY: the caller's promise.
        let (path, options) = unsafe {
            (
                memory::text("path", path)?,
                memory::options("options", options)?,
            )
        };
        let index = ItemIndex::open(map(path)?)?;
        if options.trusted == 0 {
            index.validate()?;
        }
        handle.write(INDEXES.open(Index(Arc::new(ItemTrie::new(index)))));
        Ok(())
    })
}

/// Closes an index; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn semid_index_close(index: *const Index) -> Status {
    guard(|| INDEXES.close(index))
}

/// Tells how large an index is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_info(index: *const Index, info: *mut IndexInfo) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let known = IndexInfo {
            struct_size: size_of::<IndexInfo>(),
            items: index.file().items(),
            levels: index.file().levels(),
            generation: index.file().info().generation,
        };
        // SAFETY: the caller's promise.
        unsafe { memory::answer("info", info, known) }
    })
}

/// Gives the number of codes of each level. The next number stands for the end of a shorter ID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_sizes(
    index: *const Index,
    sizes: *mut u32,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let list = index.0.space().sizes().iter().copied();
        // SAFETY: the caller's promise.
        unsafe { memory::give(list, sizes, capacity, length) }
    })
}

/// Finds the item with a key; `SEMID_STATUS_NOT_FOUND` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_find(
    index: *const Index,
    key: *const c_char,
    item: Option<&mut MaybeUninit<u32>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let to = memory::needed("item", item)?;
        // SAFETY: the caller's promise.
        let key = unsafe { memory::text("key", key) }?;
        let found = index.file().find(key)?;
        let item = found.ok_or_else(|| trie_decode::Error::UnknownKey(key.to_owned()))?;
        to.write(item.0);
        Ok(())
    })
}

/// Gives the key of an item, in UTF-8. Its length counts the zero at its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_key(
    index: *const Index,
    item: u32,
    key: *mut c_char,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let mut text = index.file().key(ItemId(item))?.as_bytes().to_vec();
        text.push(0);
        let text = text.into_iter().map(|byte| byte as c_char);
        // SAFETY: the caller's promise.
        unsafe { memory::give(text, key, capacity, length) }
    })
}

/// Gives the semantic ID of an item, without padding.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_index_codes(
    index: *const Index,
    item: u32,
    codes: *mut u16,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let id = index.file().semantic_id(ItemId(item))?;
        let list = index.0.space().unpadded(&id).iter().map(|code| code.0);
        // SAFETY: the caller's promise.
        unsafe { memory::give(list, codes, capacity, length) }
    })
}

/// Tells the rank of an item: its place when all are sorted by semantic ID, then key.
#[unsafe(no_mangle)]
pub extern "C" fn semid_index_rank(
    index: *const Index,
    item: u32,
    rank: Option<&mut MaybeUninit<u32>>,
) -> Status {
    guard(|| {
        let found = INDEXES.get(index)?.0.rank(ItemId(item))?;
        memory::needed("rank", rank)?.write(found);
        Ok(())
    })
}

/// Tells the item at a rank.
#[unsafe(no_mangle)]
pub extern "C" fn semid_index_item(
    index: *const Index,
    rank: u32,
    item: Option<&mut MaybeUninit<u32>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        let items = index.0.rank_to_item();
        let found = items.get(rank as usize).ok_or(trie_decode::Error::NoRank {
            rank,
            items: items.len(),
        })?;
        memory::needed("item", item)?.write(found);
        Ok(())
    })
}

impl Index {
    pub(crate) fn file(&self) -> &ItemIndex<Mmap> {
        self.0
            .index()
            .expect("every index here was opened from a file")
    }
}

fn map(path: &str) -> Result<Mmap> {
    let cannot = |error| Failure::new(Status::File, format!("cannot read {path}: {error}"));
    let file = File::open(path).map_err(cannot)?;
    // SAFETY: the map is read-only and private, and the manual asks not to write the file in place.
    unsafe { Mmap::map(&file) }.map_err(cannot)
}
