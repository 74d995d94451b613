//! The best items of a model that scores prefixes.

use std::ffi::c_void;
use std::sync::Arc;

use trie_decode::{BeamParams, BeamSearch, Exact, Outcome, Request, Scratch};

use crate::filter::{FILTERS, Filter};
use crate::index::{INDEXES, Index};
use crate::memory::{self, Versioned};
use crate::scorer::{Model, ScoreFunction};
use crate::status::{Failure, Result, Status, guard};
use crate::tokens::{TOKENS, Tokens};

/// Over which tokens the probabilities of a step sum to one. None depends on a filter.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum Normalizer {
    /// All tokens of the model, as a log-softmax and then the mask have it.
    FullVocab = 0,
    /// The tokens of all levels.
    SemanticIdVocab = 1,
    /// The tokens of the level, whether or not an item has them there.
    Level = 2,
    /// The codes that may come. A level with one of them needs no model.
    ValidChildren = 3,
}

/// What to search, and how. Zeros are the defaults, but for the index and the scorer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// `sizeof(SemidSearch)`.
    pub struct_size: usize,
    /// The index.
    pub index: *const Index,
    /// Where codes are among the model's tokens; null if the scorer gives `SEMID_COLUMNS_LEVEL`.
    pub tokens: *const Tokens,
    /// The model.
    pub score: ScoreFunction,
    /// Handed to `score`.
    pub user: *mut c_void,
    /// Items to return for each request; 0 is 10.
    pub results: usize,
    /// Prefixes kept after each level but the last; the last number serves the levels beyond. None
    /// is 20 at all levels.
    pub beams: *const usize,
    /// Numbers in `beams`.
    pub beams_length: usize,
    /// A `SemidNormalizer`.
    pub normalizer: usize,
    /// An item's score is the sum of its log-probabilities over `length^penalty`.
    pub length_penalty: f64,
    /// Not 0: go on, best first, until the answer is proven or this many rows of a request were
    /// scored.
    pub row_budget: usize,
}

// SAFETY: every field is a pointer (a null function is `None`) or a `usize`, and one a wide number.
unsafe impl Versioned for Search {}

/// An item that was found.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// The item.
    pub item: u32,
    /// The sum of the log-probabilities of its codes, over the length penalty.
    pub score: f32,
}

/// The answer to a request.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Items that were found; fewer than asked for where there are no more.
    pub hits: u32,
    /// 1 if these are proven to be the best of all that may be given.
    pub exact: u32,
    /// By how much an item that was not looked at may be better than the last hit: 0 if `exact`,
    /// NaN with fewer hits than asked for.
    pub gap: f32,
    /// Rows that were scored.
    pub rows: u32,
}

/// Finds the best items for each of some requests, by beam search. Nothing is cut before the mask,
/// no item comes twice, and ties go to the lower rank.
///
/// `filters` has a filter for each request, null for all items; or is null. The hits of request `r`
/// are at `hits + r * results`, best first, and their number is in `answers[r]`; `capacity` counts
/// hits, and must be `requests * results` at least.
///
/// The requests of a call share its steps and are searched on the library's threads
/// (`RAYON_NUM_THREADS`). Neither changes an answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_search(
    search: *const Search,
    filters: *const *const Filter,
    requests: usize,
    hits: *mut Hit,
    capacity: usize,
    answers: *mut Answer,
) -> Status {
    guard(|| {
        if search.is_null() {
            return Err(Failure::null("search"));
        }
        // SAFETY: the caller's promise.
        let search = unsafe { memory::options("search", search) }?;
        // SAFETY: the same.
        let params = unsafe { params(&search) }?;
        let results = params.results;
        let wanted = requests
            .checked_mul(results)
            .filter(|&wanted| wanted <= capacity);
        let wanted = wanted.ok_or_else(|| {
            let message = format!(
                "hits: got room for {capacity}, expected {results} for each of {requests} requests"
            );
            Failure::new(Status::Capacity, message)
        })?;
        // SAFETY: the same.
        let (filters, hits, answers) = unsafe {
            let hits = memory::room("hits", hits, wanted)?;
            let answers = memory::room("answers", answers, requests)?;
            (filters_of(filters, requests)?, hits, answers)
        };
        let outcomes = run(&search, params, &filters)?;
        let places = hits.chunks_mut(results).zip(answers);
        for (outcome, (hits, answer)) in outcomes.iter().zip(places) {
            for (hit, found) in hits.iter_mut().zip(&outcome.hits) {
                let (item, score) = (found.item.0, found.score);
                hit.write(Hit { item, score });
            }
            answer.write(Answer::of(outcome));
        }
        Ok(())
    })
}

fn run(
    search: &Search,
    params: BeamParams,
    filters: &[Option<Arc<Filter>>],
) -> Result<Vec<Outcome>> {
    let (index, tokens) = (INDEXES.get(search.index)?, TOKENS.find(search.tokens)?);
    let tokens = tokens.as_ref().map(|tokens| &*tokens.0);
    let mut model = Model::of(search)?;
    let filters = filters
        .iter()
        .map(|filter| filter.as_ref().map(|filter| &filter.0));
    let requests: Vec<_> = filters.map(|filter| Request { filter }).collect();
    let search = BeamSearch::new(&index.0, tokens, params.check()?)?;
    Ok(search.run(&mut model, &requests, &mut Scratch::default())?)
}

impl Answer {
    fn of(outcome: &Outcome) -> Self {
        Self {
            hits: outcome.hits.len() as u32,
            exact: outcome.exact.into(),
            gap: outcome.gap.unwrap_or(f32::NAN),
            rows: outcome.rows as u32,
        }
    }
}

pub(crate) unsafe fn params(search: &Search) -> Result<BeamParams> {
    let defaults = BeamParams::default();
    // SAFETY: the caller's promise.
    let beams = unsafe { memory::array("beams", search.beams, search.beams_length) }?;
    Ok(BeamParams {
        results: match search.results {
            0 => defaults.results,
            results => results,
        },
        beams: match beams {
            [] => defaults.beams,
            beams => beams.to_vec(),
        },
        normalizer: match search.normalizer {
            0 => trie_decode::Normalizer::FullVocab,
            1 => trie_decode::Normalizer::SemanticIdVocab,
            2 => trie_decode::Normalizer::Level,
            3 => trie_decode::Normalizer::ValidChildren,
            other => return Err(Failure::unknown("normalizer", other)),
        },
        length_penalty: search.length_penalty as f32,
        exact: (search.row_budget > 0).then_some(Exact {
            row_budget: search.row_budget,
        }),
    })
}

/// The filter of each request.
unsafe fn filters_of(
    filters: *const *const Filter,
    requests: usize,
) -> Result<Vec<Option<Arc<Filter>>>> {
    if filters.is_null() {
        return Ok(vec![None; requests]);
    }
    // SAFETY: the caller's promise.
    let filters = unsafe { memory::array("filters", filters, requests) }?;
    filters.iter().map(|&filter| FILTERS.find(filter)).collect()
}
