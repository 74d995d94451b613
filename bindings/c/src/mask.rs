//! Rows of bits for samplers.

use std::mem::MaybeUninit;

use trie_decode::TokenMask;

use crate::cursor::Cursor;
use crate::filter::{FILTERS, Filter};
use crate::index::INDEXES;
use crate::memory;
use crate::status::{Failure, Result, Status, guard};
use crate::tokens::{TOKENS, Tokens};

/// Tells the words of a mask: a bit for each token of the vocabulary, `ceil(V / 32)`.
///
/// Token `t` may come if bit `t % 32` of word `t / 32` is 1, least significant bit first: the
/// layout of xgrammar, llguidance and vLLM, where words are signed.
#[unsafe(no_mangle)]
pub extern "C" fn semid_mask_words(
    tokens: *const Tokens,
    words: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        let vocabulary = TOKENS.get(tokens)?.0.vocabulary();
        memory::needed("words", words)?.write(vocabulary.div_ceil(32));
        Ok(())
    })
}

/// Writes a row of bits for each of some cursors of one index, `length` words in all: the tokens
/// of the codes that lead to an item of the filter (to any item, if it is null) and, where an ID
/// is complete, the token after it. On an error bits may be missing, but none is too many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_mask_fill(
    tokens: *const Tokens,
    filter: *const Filter,
    cursors: *const Cursor,
    count: usize,
    rows: *mut u32,
    length: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (cursors, rows) = unsafe {
            (
                memory::array("cursors", cursors, count)?,
                memory::zeros("rows", rows, length)?,
            )
        };
        let (tokens, filter) = (TOKENS.get(tokens)?, FILTERS.find(filter)?);
        let Some(first) = cursors.first() else {
            return Ok(());
        };
        let index = INDEXES.get(first.index)?;
        let cursor = |cursor: &Cursor| match cursor.index == first.index {
            true => cursor.of(&index.0),
            false => Err(Failure::argument("cursors: expected all of one index")),
        };
        let cursors: Vec<_> = cursors.iter().map(cursor).collect::<Result<_>>()?;
        let mut mask = TokenMask::new(&index.0, &tokens.0)?;
        if let Some(filter) = &filter {
            mask = mask.filtered(&filter.0)?;
        }
        Ok(mask.fill_batch(&cursors, rows)?)
    })
}

/// Gives the tokens of a row of `words` words, ascending.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_mask_tokens(
    row: *const u32,
    words: usize,
    tokens: *mut u32,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let row = unsafe { memory::array("row", row, words) }?;
        let mut list: Vec<u32> = Vec::new();
        for (at, &word) in (0..).step_by(32).zip(row) {
            let set = |bit: &u32| word >> bit & 1 == 1;
            list.extend((0..32).filter(set).map(|bit| at + bit));
        }
        // SAFETY: the same.
        unsafe { memory::give(list.into_iter(), tokens, capacity, length) }
    })
}
