//! A place in the trie of an index.

use std::mem::MaybeUninit;

use semantic_id::Code;
use trie_decode::TrieCursor;

use crate::index::{INDEXES, Index, Trie};
use crate::memory;
use crate::status::{Failure, Result, Status, guard};

/// A node of the trie of all semantic IDs, that is, some first codes: the state of one beam. A
/// plain value, which need not be freed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    /// The index.
    pub index: *const Index,
    /// Codes on the way here.
    pub depth: u32,
    /// The place among the nodes of that depth.
    pub node: u32,
}

/// Gives the root, before the first code.
#[unsafe(no_mangle)]
pub extern "C" fn semid_cursor_root(
    index: *const Index,
    cursor: Option<&mut MaybeUninit<Cursor>>,
) -> Status {
    guard(|| {
        let root = INDEXES.get(index)?.0.root();
        memory::needed("cursor", cursor)?.write(Cursor::new(index, root));
        Ok(())
    })
}

/// Goes on by a code; `SEMID_STATUS_NOT_FOUND` if no item does. `child` may be where `cursor`
/// comes from.
#[unsafe(no_mangle)]
pub extern "C" fn semid_cursor_descend(
    cursor: Cursor,
    code: u16,
    child: Option<&mut MaybeUninit<Cursor>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(cursor.index)?;
        let found = index
            .0
            .child(cursor.of(&index.0)?, Code(code))?
            .ok_or_else(|| {
                let depth = cursor.depth;
                let message =
                    format!("no item goes on with the code {code} after these {depth} codes");
                Failure::new(Status::NotFound, message)
            })?;
        memory::needed("child", child)?.write(Cursor::new(cursor.index, found));
        Ok(())
    })
}

/// Gives the codes that may come next, ascending; none behind a full ID. The number that follows
/// the level's codes (see `semid_index_sizes`) says that a shorter ID ends here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_cursor_children(
    cursor: Cursor,
    codes: *mut u16,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(cursor.index)?;
        let children = index.0.children(cursor.of(&index.0)?)?.codes();
        // SAFETY: the caller's promise.
        unsafe { memory::give(children.iter().map(|code| code.0), codes, capacity, length) }
    })
}

/// Tells the ranks of the items that begin so: from `first` to before `end`.
#[unsafe(no_mangle)]
pub extern "C" fn semid_cursor_ranks(
    cursor: Cursor,
    first: Option<&mut MaybeUninit<u32>>,
    end: Option<&mut MaybeUninit<u32>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(cursor.index)?;
        let (first, end) = (memory::needed("first", first)?, memory::needed("end", end)?);
        let ranks = index.0.ranks(cursor.of(&index.0)?)?;
        first.write(ranks.start);
        end.write(ranks.end);
        Ok(())
    })
}

/// Gives the items that begin so, in order of rank, removed ones included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_cursor_items(
    cursor: Cursor,
    items: *mut u32,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(cursor.index)?;
        let below = index.0.items_below(cursor.of(&index.0)?)?;
        // SAFETY: the caller's promise.
        unsafe { memory::give(below.map(|item| item.0), items, capacity, length) }
    })
}

impl Cursor {
    pub(crate) fn new(index: *const Index, cursor: TrieCursor) -> Self {
        Self {
            index,
            depth: cursor.depth() as u32,
            node: cursor.node(),
        }
    }

    pub(crate) fn of(self, trie: &Trie) -> Result<TrieCursor> {
        Ok(trie.cursor(self.depth as usize, self.node)?)
    }
}
