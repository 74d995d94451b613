//! One step of a beam search whose loop the caller owns.

use std::mem::MaybeUninit;
use std::ptr;

use trie_decode::BeamSearch;

use crate::cursor::Cursor;
use crate::filter::{FILTERS, Filter};
use crate::index::{INDEXES, Trie};
use crate::memory;
use crate::scorer::StepScores;
use crate::search::{Search, params};
use crate::status::{Failure, Result, Status, guard};
use crate::tokens::TOKENS;

/// A prefix that a caller keeps.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Beam {
    /// Where it stands.
    pub cursor: Cursor,
    /// The sum of the log-probabilities of its codes: 0 at the root, `-inf` if it is dead.
    pub score: f32,
}

/// A prefix one code longer than a beam of the step before.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Continuation {
    /// The prefix and its score.
    pub beam: Beam,
    /// The place of the beam that it continues, for its key-value cache.
    pub parent: u32,
    /// Its last code.
    pub code: u32,
}

/// Gives the best continuations of the beams of one request, at most `capacity`, best first; ties go
/// to the lower node. All children of all beams are looked at.
///
/// `scores` has the logits that follow the beams, a row each. Of `search`, the index, the tokens and
/// the normalizer count. The first step is that of one beam at the root; after the last level
/// `semid_cursor_items` has the items. IDs must be of one length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_step(
    search: *const Search,
    beams: *const Beam,
    beams_length: usize,
    scores: *const StepScores,
    filter: *const Filter,
    best: *mut Continuation,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Status {
    guard(|| {
        if search.is_null() || scores.is_null() {
            let what = if search.is_null() { "search" } else { "scores" };
            return Err(Failure::null(what));
        }
        // SAFETY: the caller's promise.
        let (search, beams, scores) = unsafe {
            (
                memory::options("search", search)?,
                memory::array("beams", beams, beams_length)?,
                memory::options("scores", scores)?.read(beams_length)?,
            )
        };
        let (index, tokens) = (INDEXES.get(search.index)?, TOKENS.find(search.tokens)?);
        let tokens = tokens.as_ref().map(|tokens| &*tokens.0);
        let filter = FILTERS.find(filter)?;
        let beams = beams.iter().map(|beam| beam.of(&search, &index.0));
        let beams: Vec<trie_decode::Beam> = beams.collect::<Result<_>>()?;
        // SAFETY: the same.
        let config = unsafe { params(&search) }?.check()?;
        let best_few = BeamSearch::new(&index.0, tokens, config)?.step(
            &beams,
            scores,
            filter.as_ref().map(|filter| &filter.0),
            capacity,
        )?;
        let given = best_few.iter().map(|next| Continuation {
            beam: Beam {
                cursor: Cursor::new(search.index, next.beam.cursor),
                score: next.beam.score,
            },
            parent: next.parent,
            code: next.code.0.into(),
        });
        // SAFETY: the same.
        unsafe { memory::give(given, best, capacity, length) }
    })
}

impl Beam {
    fn of(&self, search: &Search, trie: &Trie) -> Result<trie_decode::Beam> {
        if !ptr::eq(self.cursor.index, search.index) {
            return Err(Failure::argument(
                "beams: got a cursor of another index than that of the search".to_owned(),
            ));
        }
        Ok(trie_decode::Beam {
            cursor: self.cursor.of(trie)?,
            score: self.score,
        })
    }
}
