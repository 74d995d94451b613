use std::num::NonZeroUsize;

use rand::RngExt;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::Scores;
use crate::Draw;

/// A score of 1 as an integer, so that sums are the same in any order. Scores are from 0 to 1, so
/// 2^27 users fit. Rounding moves a sum by less than one for each user; sums that are as near count
/// as equal.
const UNIT: f64 = (1_u64 << 36) as f64;

/// How two systems are compared by the same users' scores.
///
/// A paired bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993) and a
/// paired randomisation test (Smucker, Allan and Carterette, *A Comparison of Statistical
/// Significance Tests for Information Retrieval Evaluation*, CIKM 2007), corrected by Holm's
/// method (1979).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Draws of the bootstrap, and of the randomisation. If there are no more ways to swap the
    /// users who differ, all are tried and the randomisation test is exact.
    pub resamples: NonZeroUsize,
    /// Seed of the draws, each of which is keyed by its number.
    pub seed: u64,
}

/// How a system differs from another by one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean over users of this system's score less the other's.
    pub difference: f64,
    /// Where 95 % of the means lie if users are drawn again (bootstrap, percentiles).
    pub interval: [f64; 2],
    /// Twice the share of those means on the far side of 0, at most 1.
    pub p_bootstrap: f64,
    /// How often a mean as far from 0 comes about if it is left to chance which of a user's two
    /// scores is which system's (randomisation, two-sided).
    pub p: f64,
    /// `p` corrected for all metrics compared; those that differ alike for every user count once.
    pub p_holm: f64,
}

impl Comparison {
    /// The differences by all metrics, `[M]`, in `O(resamples * users)` on all threads.
    ///
    /// # Panics
    ///
    /// If the scores are not those of the same metrics and users.
    pub fn of(&self, system: &Scores, other: &Scores) -> Vec<Difference> {
        let pairs = Pairs::of(system, other);
        let totals = pairs.sum(|_| 1);
        let slack = pairs.users as i64;
        let redrawn = self.redrawn(&pairs);
        let swapped = self.swapped(&pairs);
        let mut differences: Vec<Difference> = redrawn
            .iter()
            .enumerate()
            .map(|(metric, sums)| {
                let far = |sums: &&Vec<i64>| sums[metric].abs() + slack >= totals[metric].abs();
                let far = swapped.iter().filter(far).count();
                Difference {
                    difference: pairs.mean(totals[metric]),
                    interval: percentiles(sums).map(|sum| pairs.mean(sum)),
                    p_bootstrap: two_sided(sums, slack),
                    p: far as f64 / swapped.len() as f64,
                    p_holm: 1.0,
                }
            })
            .collect();
        pairs.correct(&mut differences);
        differences
    }

    /// Where 95 % of one system's means lie if users are drawn again (bootstrap, percentiles),
    /// `[M]`, in `O(resamples * users)` on all threads.
    pub fn intervals(&self, scores: &Scores) -> Vec<[f64; 2]> {
        let pairs = Pairs::alone(scores);
        let redrawn = self.redrawn(&pairs);
        let interval = |sums: &Vec<i64>| percentiles(sums).map(|sum| pairs.mean(sum));
        redrawn.iter().map(interval).collect()
    }

    /// Of each metric the sums over as many users, drawn with replacement, ascending.
    fn redrawn(&self, pairs: &Pairs) -> Vec<Vec<i64>> {
        let redraw = |sample| {
            let mut draw = Draw::new(self.seed, "bootstrap", sample as u64);
            let mut sums = vec![0; pairs.metrics];
            for _ in 0..pairs.users {
                // Beyond the rows are the users without a difference.
                if let Some(row) = pairs.rows().nth(draw.random_range(0..pairs.users)) {
                    add(&mut sums, row, 1);
                }
            }
            sums
        };
        let samples = 0..self.resamples.get();
        let redrawn: Vec<Vec<i64>> = samples.into_par_iter().map(redraw).collect();
        let ascending = |metric| {
            let mut sums: Vec<i64> = redrawn.iter().map(|sums| sums[metric]).collect();
            sums.sort_unstable();
            sums
        };
        (0..pairs.metrics).map(ascending).collect()
    }

    /// The sums after users have swapped their scores; the first as they are.
    fn swapped(&self, pairs: &Pairs) -> Vec<Vec<i64>> {
        let users = pairs.rows().len() as u32;
        let ways = 1_usize.checked_shl(users).filter(|&ways| ways > 0);
        if let Some(ways) = ways.filter(|&ways| ways <= self.resamples.get()) {
            let swap = |way: usize| pairs.sum(|user| sign((way >> user) as u64));
            return (0..ways).into_par_iter().map(swap).collect();
        }
        let swap = |sample| {
            let mut draw = Draw::new(self.seed, "randomisation", sample as u64);
            let mut bits = 0;
            pairs.sum(|user| {
                bits = if user % 64 == 0 {
                    draw.next_u64()
                } else {
                    bits >> 1
                };
                if sample == 0 { 1 } else { sign(bits) }
            })
        };
        (0..=self.resamples.get())
            .into_par_iter()
            .map(swap)
            .collect()
    }
}

fn sign(bits: u64) -> i64 {
    if bits & 1 == 0 { 1 } else { -1 }
}

/// The differences of the users who have any, `[users who differ, metrics]`.
struct Pairs {
    differences: Vec<i64>,
    metrics: usize,
    users: usize,
}

impl Pairs {
    fn of(system: &Scores, other: &Scores) -> Self {
        assert_eq!(
            system.metrics(),
            other.metrics(),
            "scores of the same metrics"
        );
        assert_eq!(system.users(), other.users(), "scores of the same users");
        let rows = system.rows().zip(other.rows());
        Self::new(
            system,
            rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()),
        )
    }

    /// How a system differs from one that finds nothing.
    fn alone(system: &Scores) -> Self {
        Self::new(system, system.rows().map(<[f64]>::to_vec))
    }

    fn new(system: &Scores, rows: impl Iterator<Item = Vec<f64>>) -> Self {
        let differences = rows
            .flat_map(|row| {
                let row: Vec<i64> = row
                    .iter()
                    .map(|value| (value * UNIT).round() as i64)
                    .collect();
                let differs = row.iter().any(|&difference| difference != 0);
                differs.then_some(row)
            })
            .flatten()
            .collect();
        Self {
            differences,
            metrics: system.metrics().len(),
            users: system.users(),
        }
    }

    fn mean(&self, sum: i64) -> f64 {
        sum as f64 / UNIT / self.users.max(1) as f64
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, i64> {
        self.differences.chunks_exact(self.metrics.max(1))
    }

    /// The sum over users of each metric, every user with a sign.
    fn sum(&self, mut sign: impl FnMut(usize) -> i64) -> Vec<i64> {
        let mut sums = vec![0; self.metrics];
        for (user, row) in self.rows().enumerate() {
            add(&mut sums, row, sign(user));
        }
        sums
    }

    /// Metrics that differ alike for every user are corrected as one.
    fn correct(&self, differences: &mut [Difference]) {
        let alike = |a: usize, b: usize| self.rows().all(|row| row[a] == row[b]);
        let first_alike = |metric| (0..metric).find(|&before| alike(before, metric));
        let firsts: Vec<Option<usize>> = (0..self.metrics).map(first_alike).collect();
        let distinct: Vec<usize> = (0..self.metrics).filter(|&m| firsts[m].is_none()).collect();
        let p: Vec<f64> = distinct.iter().map(|&m| differences[m].p).collect();
        for (metric, p_holm) in distinct.into_iter().zip(holm(&p)) {
            differences[metric].p_holm = p_holm;
        }
        for (metric, first) in firsts.into_iter().enumerate() {
            if let Some(first) = first {
                differences[metric].p_holm = differences[first].p_holm;
            }
        }
    }
}

/// Corrects the p values of several tests, in their order, by Holm's method (1979): of `m` values
/// the `i`-th smallest, from 0, is multiplied by `m - i`, and is no less than those before it.
///
/// ```
/// assert_eq!(semid_tasks::metrics::holm(&[0.5, 0.125, 0.75]), [1.0, 0.375, 1.0]);
/// ```
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (before, &test) in order.iter().enumerate() {
        let left = (p.len() - before) as f64;
        least = least.max(left * p[test]).min(1.0);
        corrected[test] = least;
    }
    corrected
}

fn add(sums: &mut [i64], row: &[i64], sign: i64) {
    for (sum, difference) in sums.iter_mut().zip(row) {
        *sum += sign * difference;
    }
}

/// The ends of the middle 95 % of ascending numbers.
fn percentiles(sorted: &[i64]) -> [i64; 2] {
    let cut = sorted.len() / 40;
    [sorted[cut], sorted[sorted.len() - 1 - cut]]
}

/// Twice the smaller of the shares of ascending numbers up to 0 and from 0 on.
fn two_sided(sorted: &[i64], slack: i64) -> f64 {
    let below = sorted.partition_point(|&sum| sum <= slack);
    let above = sorted.len() - sorted.partition_point(|&sum| sum < -slack);
    let share = (below.min(above) + 1) as f64 / (sorted.len() + 1) as f64;
    (2.0 * share).min(1.0)
}
