//! The best items of a model that scores prefixes.

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use trie_decode::{
    BeamParams, BeamSearch, Exact, Logits, Outcome, Request, Scorer, Scores, Scratch,
};

use crate::filter::{FILTERS, Filter};
use crate::index::{INDEXES, Index};
use crate::memory::{self, Versioned};
use crate::status::{Failure, Result, Status, guard};
use crate::tokens::{NONE, TOKENS, Tokens};

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

/// How logits are stored.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum LogitType {
    /// `float`.
    F32 = 0,
    /// IEEE half precision.
    F16 = 1,
    /// The upper half of a `float`.
    Bf16 = 2,
}

/// What the columns of logits are.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub enum Columns {
    /// The model's tokens, `[rows, V]`; the search needs tokens to find the codes among them.
    Vocabulary = 0,
    /// The codes of the level, `[rows, K]`, and perhaps one more column, for the end of a shorter
    /// ID. Where the rows of a step are at levels of different sizes, `K` is the largest.
    Level = 1,
}

/// A prefix whose next code is to be scored.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its number among all rows of this search.
    pub id: u32,
    /// The row of an earlier step that this one continues, and whose key-value cache it can go on
    /// with: its prefix is the longest scored one. `SEMID_NONE` at the root.
    pub parent: u32,
    /// The request that it belongs to, from 0.
    pub request: u32,
    /// Codes so far.
    pub depth: u32,
    /// The codes so far, `[depth]`.
    pub prefix: *const u16,
}

/// One forward pass.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// `sizeof(SemidStep)`, as the library knows it.
    pub struct_size: usize,
    /// The prefixes to score.
    pub rows: *const Row,
    /// Their number, at least 1.
    pub count: usize,
}

/// What a scorer answers; all zeros before it does. The arrays stay the scorer's, and must stay as
/// they are until it is called again or the search ends.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StepScores {
    /// `sizeof(SemidStepScores)`, as the library knows it.
    pub struct_size: usize,
    /// Raw logits, row after row. `-inf` is that of a token that cannot be.
    pub logits: *const c_void,
    /// Values in `logits`: rows times columns.
    pub length: usize,
    /// A `SemidLogitType`.
    pub logit_type: usize,
    /// A `SemidColumns`.
    pub columns: usize,
    /// `ln(sum(exp(logits)))` of each row, if the model has found it: then the normalizer has
    /// nothing to do. Else null.
    pub log_sums: *const f32,
}

/// The caller's model: puts the logits of what follows each row of the step into `scores`. Any
/// number but 0 ends the search with `SEMID_STATUS_SCORER`. It is called on the thread that
/// searches, at most once a level unless the search is exact; it must not throw.
pub type ScoreFunction = Option<
    unsafe extern "C" fn(user: *mut c_void, step: *const Step, scores: *mut StepScores) -> c_int,
>;

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
        let (hits, answers) = unsafe {
            (
                memory::room("hits", hits, wanted)?,
                memory::room("answers", answers, requests)?,
            )
        };
        // SAFETY: the same.
        let filters = unsafe { filters_of(filters, requests) }?;

        let index = INDEXES.get(search.index)?;
        let tokens = TOKENS.find(search.tokens)?;
        let tokens = tokens.as_ref().map(|tokens| &*tokens.0);
        let mut model = Model::of(&search)?;
        let requests: Vec<_> = filters
            .iter()
            .map(|filter| Request {
                filter: filter.as_ref().map(|filter| &filter.0),
            })
            .collect();
        let search = BeamSearch::new(&index.0, tokens, params.check()?)?;
        let outcomes = search.run(&mut model, &requests, &mut Scratch::default())?;
        for (outcome, (hits, answer)) in outcomes.iter().zip(hits.chunks_mut(results).zip(answers))
        {
            for (hit, found) in hits.iter_mut().zip(&outcome.hits) {
                hit.write(Hit {
                    item: found.item.0,
                    score: found.score,
                });
            }
            answer.write(Answer::of(outcome));
        }
        Ok(())
    })
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

unsafe fn params(search: &Search) -> Result<BeamParams> {
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
            other => return Err(unknown("normalizer", other)),
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

fn unknown(what: &str, got: usize) -> Failure {
    Failure::argument(format!("{what}: {got} is none that this version knows"))
}

/// The caller's model.
struct Model {
    score: unsafe extern "C" fn(*mut c_void, *const Step, *mut StepScores) -> c_int,
    user: *mut c_void,
}

impl Model {
    fn of(search: &Search) -> Result<Self> {
        let score = search.score.ok_or_else(|| Failure::null("score"))?;
        Ok(Self {
            score,
            user: search.user,
        })
    }
}

impl Scorer for Model {
    fn score(
        &mut self,
        step: &trie_decode::Step<'_>,
    ) -> std::result::Result<Scores<'_>, Box<dyn Error + Send + Sync>> {
        let codes: Vec<u16> = step
            .rows()
            .iter()
            .flat_map(|row| row.prefix)
            .map(|code| code.0)
            .collect();
        let mut rest = &codes[..];
        let rows: Vec<Row> = step
            .rows()
            .iter()
            .map(|row| {
                let (prefix, beyond) = rest.split_at(row.prefix.len());
                rest = beyond;
                Row {
                    id: row.id.0,
                    parent: row.parent.map_or(NONE, |parent| parent.0),
                    request: row.request as u32,
                    depth: prefix.len() as u32,
                    prefix: prefix.as_ptr(),
                }
            })
            .collect();
        let step = Step {
            struct_size: size_of::<Step>(),
            rows: rows.as_ptr(),
            count: rows.len(),
        };
        let mut scores = StepScores {
            struct_size: size_of::<StepScores>(),
            logits: ptr::null(),
            length: 0,
            logit_type: 0,
            columns: 0,
            log_sums: ptr::null(),
        };
        // SAFETY: what is handed over lives as long as the call.
        match unsafe { (self.score)(self.user, &step, &mut scores) } {
            // SAFETY: the scorer's promise.
            0 => Ok(unsafe { scores.read(rows.len()) }?),
            status => Err(format!("it returned {status}").into()),
        }
    }
}

impl StepScores {
    unsafe fn read<'a>(&self, rows: usize) -> Result<Scores<'a>> {
        let (logits, length) = (self.logits, self.length);
        // SAFETY: the scorer's promise, whatever the type.
        let logits = unsafe {
            match self.logit_type {
                0 => Logits::F32(memory::array("logits", logits.cast(), length)?),
                1 => Logits::F16(memory::array("logits", logits.cast(), length)?),
                2 => Logits::Bf16(memory::array("logits", logits.cast(), length)?),
                other => return Err(unknown("logit_type", other)),
            }
        };
        let scores = match self.columns {
            0 => Scores::vocabulary(logits),
            1 => Scores::level(logits),
            other => return Err(unknown("columns", other)),
        };
        if self.log_sums.is_null() {
            return Ok(scores);
        }
        // SAFETY: the same.
        let log_sums = unsafe { memory::array("log_sums", self.log_sums, rows) }?;
        Ok(scores.normalized_by(log_sums))
    }
}
