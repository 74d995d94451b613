//! Which items one request may be given.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use semantic_id::ItemId;

use crate::handle::Table;
use crate::index::{INDEXES, Index};
use crate::memory;
use crate::status::{Result, Status, guard};

/// A set of items of one index. Removed items are in none.
#[derive(Debug)]
pub struct Filter(pub(crate) trie_decode::Filter);

pub(crate) static FILTERS: Table<Filter> = Table::new("filter");

/// These items only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_filter_allow_items(
    index: *const Index,
    items: *const u32,
    count: usize,
    filter: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let items = unsafe { rows(items, count) }?;
        give(trie_decode::Filter::allow_items(&index.0, items)?, filter)
    })
}

/// All items but these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_filter_deny_items(
    index: *const Index,
    items: *const u32,
    count: usize,
    filter: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let items = unsafe { rows(items, count) }?;
        give(trie_decode::Filter::deny_items(&index.0, items)?, filter)
    })
}

/// The items with these keys only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_filter_allow_keys(
    index: *const Index,
    keys: *const *const c_char,
    count: usize,
    filter: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let keys = unsafe { texts(keys, count) }?;
        give(trie_decode::Filter::allow_keys(&index.0, keys)?, filter)
    })
}

/// All items but those with these keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_filter_deny_keys(
    index: *const Index,
    keys: *const *const c_char,
    count: usize,
    filter: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let keys = unsafe { texts(keys, count) }?;
        give(trie_decode::Filter::deny_keys(&index.0, keys)?, filter)
    })
}

/// What both allow. A new handle, as for the next two.
#[unsafe(no_mangle)]
pub extern "C" fn semid_filter_and(
    one: *const Filter,
    other: *const Filter,
    both: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| give(FILTERS.get(one)?.0.and(&FILTERS.get(other)?.0)?, both))
}

/// What one or both allow.
#[unsafe(no_mangle)]
pub extern "C" fn semid_filter_or(
    one: *const Filter,
    other: *const Filter,
    either: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| give(FILTERS.get(one)?.0.or(&FILTERS.get(other)?.0)?, either))
}

/// What is not allowed.
#[unsafe(no_mangle)]
pub extern "C" fn semid_filter_not(
    filter: *const Filter,
    others: Option<&mut MaybeUninit<*const Filter>>,
) -> Status {
    guard(|| give(FILTERS.get(filter)?.0.not(), others))
}

/// Tells how many items are allowed.
#[unsafe(no_mangle)]
pub extern "C" fn semid_filter_count(
    filter: *const Filter,
    count: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let allowed = FILTERS.get(filter)?.0.len();
        memory::needed("count", count)?.write(allowed);
        Ok(())
    })
}

/// Closes a filter; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn semid_filter_close(filter: *const Filter) -> Status {
    guard(|| FILTERS.close(filter))
}

unsafe fn rows<'a>(items: *const u32, count: usize) -> Result<impl Iterator<Item = ItemId> + 'a> {
    // SAFETY: the caller's promise.
    let items = unsafe { memory::array("items", items, count) }?;
    Ok(items.iter().copied().map(ItemId))
}

unsafe fn texts<'a>(keys: *const *const c_char, count: usize) -> Result<Vec<&'a str>> {
    // SAFETY: the caller's promise.
    let keys = unsafe { memory::array("keys", keys, count) }?;
    // SAFETY: the same.
    let text = |&key: &*const c_char| unsafe { memory::text("key", key) };
    keys.iter().map(text).collect()
}

fn give(filter: trie_decode::Filter, to: Option<&mut MaybeUninit<*const Filter>>) -> Result<()> {
    memory::needed("filter", to)?.write(FILTERS.open(Filter(filter)));
    Ok(())
}
