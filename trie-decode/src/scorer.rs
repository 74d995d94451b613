//! What a search asks of a model, and what it gets.

use semantic_id::{Code, Codes};

use crate::Logits;

/// The caller's model.
///
/// A search calls it once a step, with one row for every prefix that must be scored.
pub trait Scorer {
    /// The logits of the token that follows each row's prefix, in the order of the rows.
    ///
    /// # Errors
    ///
    /// Whatever went wrong in the model; it ends the search.
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> std::result::Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>>;
}

/// The number of a row among all that one search asks for, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u32);

/// One forward pass: some prefixes, each a row.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub(crate) rows: &'a [Row<'a>],
}

/// A prefix whose next code is to be scored.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its number in this search.
    pub id: RowId,
    /// The request it belongs to, from 0.
    pub request: usize,
    /// The row of an earlier step that this one continues, whose key-value cache it can go on
    /// with: its prefix is the longest scored one. `None` at the root.
    pub parent: Option<RowId>,
    /// The codes so far, `[depth]`.
    pub prefix: &'a [Code],
    /// The codes that may come next, ascending; no other logits are looked at, except for the
    /// normalizer's sum.
    pub allowed: Codes<'a>,
}

impl<'a> Step<'a> {
    /// The rows, in the order in which their logits are expected; there is at least one.
    pub fn rows(&self) -> &'a [Row<'a>] {
        self.rows
    }
}

/// The logits of a step.
#[derive(Debug, Clone, Copy)]
pub struct Scores<'a> {
    pub(crate) logits: Logits<'a>,
    pub(crate) columns: Columns,
    pub(crate) log_sums: Option<&'a [f32]>,
}

/// What the columns of a row of logits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    Vocabulary,
    Level,
}

impl<'a> Scores<'a> {
    /// Logits of the whole vocabulary, `[rows, V]`; the search needs a
    /// [`TokenMap`](crate::TokenMap) to find the codes among them.
    pub fn vocabulary(logits: Logits<'a>) -> Self {
        Self {
            logits,
            columns: Columns::Vocabulary,
            log_sums: None,
        }
    }

    /// Logits of the next level's codes only, `[rows, K]`. With one more column, the last is that
    /// of the end of a shorter ID. Where rows of one step are at levels of different sizes, `K`
    /// is the largest, and columns beyond a row's level are not looked at.
    pub fn level(logits: Logits<'a>) -> Self {
        Self {
            logits,
            columns: Columns::Level,
            log_sums: None,
        }
    }

    /// The same with `ln(sum(exp(logits)))` of each row, `[rows]`, as the model itself found it
    /// over whatever it normalizes over. The search's normalizer then has nothing to do.
    pub fn normalized_by(self, log_sums: &'a [f32]) -> Self {
        Self {
            log_sums: Some(log_sums),
            ..self
        }
    }
}
