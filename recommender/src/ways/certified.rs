use std::cell::Cell;

use semantic_id::ItemId;
use trie_decode::{Exact, Outcome};

use crate::recommender::items;
use crate::{Generative, Query, Ranker, Result};

/// A search that keeps count of what it proved: beams alone or, with a budget, beams and then
/// best first until the answer is [proven](Outcome::exact) or the budget is used up.
#[derive(Debug)]
pub struct Certified<'a, D: AsRef<[u8]>> {
    generative: Generative<'a, D>,
    exact: Option<Exact>,
    proofs: Cell<Proofs>,
}

/// What was proved of some answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Proofs {
    /// Answers that were given.
    pub answers: usize,
    /// Of these, proven to be the best of all items.
    pub exact: usize,
    /// Not proven, but with a bound on what may be missed.
    pub bounded: usize,
    /// The sum over those of [`Outcome::gap`].
    pub gaps: f64,
    /// Rows that were scored.
    pub rows: usize,
}

impl Proofs {
    /// The share of answers that are proven; 0 of none.
    pub fn share(&self) -> f64 {
        self.exact as f64 / self.answers.max(1) as f64
    }

    /// By how much an item that was not looked at may be better than the last one of an answer
    /// that is not proven, in nats, on average; `None` if there is no such answer.
    pub fn mean_gap(&self) -> Option<f64> {
        (self.bounded > 0).then(|| self.gaps / self.bounded as f64)
    }

    /// Rows scored for an answer, on average.
    pub fn mean_rows(&self) -> f64 {
        self.rows as f64 / self.answers.max(1) as f64
    }

    fn with(mut self, outcome: &Outcome) -> Self {
        let gap = outcome.gap.filter(|_| !outcome.exact);
        self.answers += 1;
        self.exact += usize::from(outcome.exact);
        self.bounded += usize::from(gap.is_some());
        self.gaps += f64::from(gap.unwrap_or(0.0));
        self.rows += outcome.rows;
        self
    }
}

impl<'a, D: AsRef<[u8]>> Certified<'a, D> {
    /// A search by beams that goes on as `exact` says.
    pub fn new(generative: Generative<'a, D>, exact: Option<Exact>) -> Self {
        Self {
            generative,
            exact,
            proofs: Cell::default(),
        }
    }

    /// What was proved of all answers so far.
    pub fn proofs(&self) -> Proofs {
        self.proofs.get()
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Ranker for Certified<'_, D> {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        let generative = &self.generative;
        let mut params = generative.reader.search(count, generative.beams);
        params.exact = self.exact;
        let outcomes = generative.outcomes(queries, params)?;
        let proofs = outcomes.iter().fold(self.proofs.get(), Proofs::with);
        self.proofs.set(proofs);
        Ok(outcomes.into_iter().map(items).collect())
    }
}
