use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Serialize;

use super::Comparison;
use crate::Draw;

/// How far two figures of the same things order them alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RankCorrelation {
    /// Spearman's rho (*The Proof and Measurement of Association between Two Things*, 1904), from
    /// -1 to 1: Pearson's correlation of the ranks. Equal values share the mean of their ranks.
    pub rho: f64,
    /// How often a rho as far from 0 comes about if it is left to chance which value of the one
    /// figure goes with which of the other (permutation test, two-sided).
    pub p: f64,
}

impl Comparison {
    /// The rank correlation of two figures of `n` things, in `O(orders * n^2)` on all threads: if
    /// there are no more orders than `resamples`, `p` is of all of them and exact.
    ///
    /// `None` if a figure is the same for all things, of which one alone is a case.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use semid_tasks::metrics::Comparison;
    ///
    /// let comparison = Comparison { resamples: NonZeroUsize::MIN.saturating_add(999), seed: 0 };
    /// let alike = comparison.rank_correlation(&[0.1, 0.2, 0.3, 0.9], &[1.0, 4.0, 5.0, 6.0]);
    /// let alike = alike.expect("neither is constant");
    /// assert_eq!(alike.rho, 1.0);
    /// // As far from 0 are two of the 24 orders. Four things cannot tell more.
    /// assert_eq!(alike.p, 2.0 / 24.0);
    /// ```
    ///
    /// # Panics
    ///
    /// If there are not as many values of the one as of the other.
    pub fn rank_correlation(&self, a: &[f64], b: &[f64]) -> Option<RankCorrelation> {
        assert_eq!(a.len(), b.len(), "two figures of the same things");
        let (a, b) = (ranks(a), ranks(b));
        let square = |ranks: &[i64]| ranks.iter().map(|rank| rank * rank).sum::<i64>();
        let scale = (square(&a) as f64 * square(&b) as f64).sqrt();
        if scale == 0.0 {
            return None;
        }
        let product = |order: &[usize]| a.iter().zip(order).map(|(a, &at)| a * b[at]).sum::<i64>();
        let own: Vec<usize> = (0..a.len()).collect();
        let found = product(&own);
        let orders = (1..=a.len()).try_fold(1_usize, |orders, n| orders.checked_mul(n));
        let all = orders.filter(|&orders| orders <= self.resamples.get());
        let far = |order: &Vec<usize>| product(order).abs() >= found.abs();
        let (far, orders) = match all {
            Some(orders) => {
                let order = |number| permutation(number, a.len());
                let far = (0..orders).into_par_iter().map(order).filter(far).count();
                (far, orders)
            }
            None => {
                let draws = self.resamples.get();
                let order = |number| {
                    let mut order = own.clone();
                    order.shuffle(&mut Draw::new(self.seed, "order of ranks", number as u64));
                    order
                };
                let far = (0..draws).into_par_iter().map(order).filter(far).count();
                (far + 1, draws + 1)
            }
        };
        Some(RankCorrelation {
            rho: (found as f64 / scale).clamp(-1.0, 1.0),
            p: far as f64 / orders as f64,
        })
    }
}

/// Twice the distance of each value's rank from the mean rank: an integer, ties too.
fn ranks(values: &[f64]) -> Vec<i64> {
    let rank = |value: &f64| {
        let less = values.iter().filter(|other| *other < value).count();
        let more = values.iter().filter(|other| *other > value).count();
        less as i64 - more as i64
    };
    values.iter().map(rank).collect()
}

/// The order with this number among the `n!` orders of `0..n`.
fn permutation(mut number: usize, n: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..n).collect();
    let mut order = Vec::with_capacity(n);
    while !left.is_empty() {
        order.push(left.remove(number % left.len()));
        number /= left.len() + 1;
    }
    order
}
