//! The caller's model.

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr;

use trie_decode::{Logits, Scorer, Scores};

use crate::memory::{self, Versioned};
use crate::search::Search;
use crate::status::{Failure, Result};
use crate::tokens::NONE;

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

// SAFETY: every field is a pointer or a `usize`.
unsafe impl Versioned for StepScores {}

/// A model: puts the logits of what follows each row of the step into `scores`. Any
/// number but 0 ends the search with `SEMID_STATUS_SCORER`. It is called on the thread that
/// searches, at most once a level unless the search is exact; it must not throw.
pub type ScoreFunction = Option<
    unsafe extern "C" fn(user: *mut c_void, step: *const Step, scores: *mut StepScores) -> c_int,
>;

/// A model that is a function of C.
pub(crate) struct Model {
    score: unsafe extern "C" fn(*mut c_void, *const Step, *mut StepScores) -> c_int,
    user: *mut c_void,
}

impl Model {
    pub(crate) fn of(search: &Search) -> Result<Self> {
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
    pub(crate) unsafe fn read<'a>(&self, rows: usize) -> Result<Scores<'a>> {
        let (logits, length) = (self.logits, self.length);
        // SAFETY: the scorer's promise, whatever the type.
        let logits = unsafe {
            match self.logit_type {
                0 => Logits::F32(memory::array("logits", logits.cast(), length)?),
                1 => Logits::F16(memory::array("logits", logits.cast(), length)?),
                2 => Logits::Bf16(memory::array("logits", logits.cast(), length)?),
                other => return Err(Failure::unknown("logit_type", other)),
            }
        };
        let scores = match self.columns {
            0 => Scores::vocabulary(logits),
            1 => Scores::level(logits),
            other => return Err(Failure::unknown("columns", other)),
        };
        if self.log_sums.is_null() {
            return Ok(scores);
        }
        // SAFETY: the same.
        let log_sums = unsafe { memory::array("log_sums", self.log_sums, rows) }?;
        Ok(scores.normalized_by(log_sums))
    }
}
