use std::fmt;

use rayon::prelude::*;

use super::{Hits, List};

/// A measure of one user's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// [`Hits::hit_rate`] at K.
    HitRate(usize),
    /// [`Hits::recall`] at K.
    Recall(usize),
    /// [`Hits::ndcg`] at K.
    Ndcg(usize),
    /// [`Hits::mrr`] at K.
    Mrr(usize),
    /// [`Hits::hit_rate`] of the whole list: what no better order of the same items can exceed.
    BeamCeiling,
}

impl Metric {
    /// HR, NDCG and MRR at each K, and the ceiling; recall too if a user may have `several` true
    /// items, as with one it is HR.
    pub fn all(cutoffs: &[usize], several: bool) -> Vec<Self> {
        let at = |metric: fn(usize) -> Self| cutoffs.iter().copied().map(metric);
        let recall = at(Self::Recall).filter(|_| several);
        let metrics = at(Self::HitRate).chain(recall);
        let metrics = metrics.chain(at(Self::Ndcg)).chain(at(Self::Mrr));
        metrics.chain([Self::BeamCeiling]).collect()
    }

    fn of(self, hits: &Hits) -> f64 {
        match self {
            Self::HitRate(k) => hits.hit_rate(k),
            Self::Recall(k) => hits.recall(k),
            Self::Ndcg(k) => hits.ndcg(k),
            Self::Mrr(k) => hits.mrr(k),
            Self::BeamCeiling => hits.hit_rate(usize::MAX),
        }
    }
}

impl fmt::Display for Metric {
    /// Writes `ndcg@10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HitRate(k) => write!(f, "hr@{k}"),
            Self::Recall(k) => write!(f, "recall@{k}"),
            Self::Ndcg(k) => write!(f, "ndcg@{k}"),
            Self::Mrr(k) => write!(f, "mrr@{k}"),
            Self::BeamCeiling => f.write_str("beam_ceiling"),
        }
    }
}

/// What every metric gives every user: `[users, metrics]`, row-major, each from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    metrics: Vec<Metric>,
    values: Vec<f64>,
}

impl Scores {
    /// Scores each user's list by the rows of the true items, ascending and distinct. On all
    /// threads; the values do not depend on their number.
    pub fn of(metrics: Vec<Metric>, users: &[(&List, &[u32])]) -> Self {
        let row = |&(list, targets): &(&List, &[u32])| {
            let hits = Hits::of(list, targets);
            metrics
                .iter()
                .map(move |metric| metric.of(&hits))
                .collect::<Vec<_>>()
        };
        let rows: Vec<Vec<f64>> = users.par_iter().map(row).collect();
        let values = rows.concat();
        Self { metrics, values }
    }

    /// What several runs of a system, e.g. with other seeds, give every user on average.
    ///
    /// # Panics
    ///
    /// If there is no run, or they are not of the same metrics and users.
    pub fn mean(runs: &[Self]) -> Self {
        let metrics = runs.first().expect("a run").metrics.clone();
        for run in runs {
            assert_eq!(run.metrics, metrics, "scores of the same metrics");
            assert_eq!(run.values.len(), runs[0].values.len(), "the same users");
        }
        let mean = |at| sum(runs.iter().map(|run| run.values[at])) / runs.len() as f64;
        Self {
            values: (0..runs[0].values.len()).map(mean).collect(),
            metrics,
        }
    }

    /// The metrics, `[M]`.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Number of users.
    pub fn users(&self) -> usize {
        self.rows().len()
    }

    /// The values of each user, `[M]` each.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.metrics.len().max(1))
    }

    /// The mean over users of each metric, `[M]`; 0 without users.
    pub fn means(&self) -> Vec<f64> {
        let users = self.users().max(1) as f64;
        let column = |metric| self.rows().map(move |row| row[metric]);
        let mean = |metric| sum(column(metric)) / users;
        (0..self.metrics.len()).map(mean).collect()
    }
}

/// Neumaier's compensated sum, in the order given.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        sum = next;
    }
    sum + lost
}
