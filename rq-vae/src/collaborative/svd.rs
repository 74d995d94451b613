use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt;
use rayon::prelude::*;

use super::dense::{eigen, gram, orthonormal, times};
use crate::random::generator;

/// Columns beyond the rank: Halko, Martinsson and Tropp advise 5 to 10.
const OVERSAMPLING: usize = 10;

/// The largest eigenvalues, by magnitude, of a symmetric matrix.
///
/// Its singular values are their magnitudes, and its singular vectors, up to sign, these.
#[derive(Debug, Clone)]
pub(crate) struct Truncated {
    /// `[rank]`, by falling magnitude.
    pub(crate) values: Vec<f64>,
    /// `[N, rank]`, orthonormal columns.
    pub(crate) vectors: Array2<f64>,
}

impl Truncated {
    /// Randomised subspace iteration: Halko, Martinsson and Tropp, *Finding structure with
    /// randomness* (2011), algorithms 4.4 and 5.3.
    ///
    /// The matrix `[N, N]` is known by its products with `[N, k]`. Each of `passes` more
    /// products sharpens the answer: the error in a vector falls by the ratio of the first
    /// eigenvalue left out to its own. Takes `O((passes + 2) k (entries + N k))` and holds
    /// three matrices `[N, rank + 10]`. The rank is cut to `N`. The same seed gives the same
    /// bits on any number of threads, if `product` does.
    pub(crate) fn of(
        size: usize,
        product: impl Fn(ArrayView2<'_, f64>) -> Array2<f64>,
        rank: usize,
        passes: usize,
        seed: u64,
    ) -> Self {
        let rank = rank.min(size);
        let width = (rank + OVERSAMPLING).min(size);
        let mut basis = orthonormal(product(noise(size, width, seed).view()).view());
        for _ in 0..passes {
            basis = orthonormal(product(basis.view()).view());
        }
        let (values, vectors) = eigen(gram(basis.view(), product(basis.view()).view()).view());
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()).then(b.cmp(&a)));
        order.truncate(rank);
        let chosen = vectors.select(Axis(1), &order);
        Self {
            values: order.iter().map(|&at| values[at]).collect(),
            vectors: times(basis.view(), chosen.view()),
        }
    }
}

/// Independent normal numbers `[rows, columns]`, each row drawn by its own key.
fn noise(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let row = |row| {
        let mut rng = generator(seed, "range finder", row as u64);
        // Box and Muller (1958): two even draws make a normal one.
        (0..columns).map(move |_| {
            let (radius, turn): (f64, f64) = (rng.random(), rng.random());
            (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
        })
    };
    let values = (0..rows).into_par_iter().flat_map_iter(row).collect();
    Array2::from_shape_vec((rows, columns), values).expect("a row has as many as columns")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sparse::SparseSymmetric;
    use super::super::sparse::tests::{dense, matrices};
    use super::*;

    fn truncated(matrix: &SparseSymmetric, rank: usize) -> Truncated {
        Truncated::of(matrix.size(), |x| matrix.times(x), rank, 30, 3)
    }

    #[test]
    fn a_path_of_three_items_has_eigenvalues_of_the_root_of_two() {
        let path = SparseSymmetric::of_upper(3, &[(0, 1, 1.0), (1, 2, 1.0)]);
        let found = truncated(&path, 2);
        let magnitudes: Vec<f64> = found.values.iter().map(|value| value.abs()).collect();
        assert!(
            magnitudes
                .iter()
                .all(|m| (m - 2.0_f64.sqrt()).abs() < 1e-12)
        );
    }

    proptest! {
        /// What is left over is hardly larger than after the exact decomposition: vectors of
        /// eigenvalues that are close to one another may be mixed.
        #[test]
        fn agrees_with_the_dense_decomposition(matrix in matrices(), rank in 1_usize..8) {
            let plain = dense(&matrix);
            let (mut exact, _) = eigen(plain.view());
            exact.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
            let found = truncated(&matrix, rank);
            let close = 0.03 * exact[0].abs();
            for (found, exact) in found.values.iter().zip(&exact) {
                prop_assert!((found.abs() - exact.abs()).abs() < close, "{found} {exact}");
            }
            let scaled = &found.vectors * &ndarray::Array1::from(found.values.clone());
            let left = plain - scaled.dot(&found.vectors.t());
            let norm: f64 = left.iter().map(|x| x * x).sum();
            let least: f64 = exact.iter().skip(rank).map(|x| x * x).sum();
            prop_assert!(norm <= least + close * exact[0].abs(), "{norm} {least}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let pairs = (0..3000_u32).map(|i| (i % 600, 600 + i * 7 % 600, 1.0 + (i % 5) as f32));
        let mut upper: Vec<_> = pairs.collect();
        upper.sort_by_key(|&(row, column, _)| (row, column));
        upper.dedup_by_key(|&mut (row, column, _)| (row, column));
        let matrix = SparseSymmetric::of_upper(1200, &upper);
        let vectors = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("a small pool");
            pool.install(|| truncated(&matrix, 12).vectors)
        };
        assert_eq!(vectors(1), vectors(2));
        assert_eq!(vectors(1), vectors(5));
    }
}
