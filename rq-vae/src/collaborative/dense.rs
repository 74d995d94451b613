//! Dense linear algebra whose result does not depend on the number of threads: faer works on
//! one thread, sums over rows are cut in the same places whatever there is to run them.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor as qr;
use faer::linalg::{evd, householder};
use faer::{Conj, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Parts into which the rows of a [`gram`] are cut.
const PARTS: usize = 32;

/// Rows of one product of a [`gram`].
const CHUNK: usize = 512;

/// An orthonormal basis `[n, k]` of the columns of a tall `x` `[n, k]` (Householder QR).
pub(crate) fn orthonormal(x: ArrayView2<'_, f64>) -> Array2<f64> {
    let (rows, columns) = x.dim();
    assert!(rows >= columns, "a tall matrix");
    let mut factors = Mat::from_fn(rows, columns, |row, column| x[[row, column]]);
    let block = qr::recommended_block_size::<f64>(rows, columns);
    let mut coefficients = Mat::zeros(block, columns);
    let par = Par::Seq;
    let scratch = qr::qr_in_place_scratch::<f64>(rows, columns, block, par, Default::default());
    qr::qr_in_place(
        factors.as_mut(),
        coefficients.as_mut(),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    let mut basis = Mat::<f64>::identity(rows, columns);
    let scratch = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
        rows, block, columns,
    );
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        factors.as_ref(),
        coefficients.as_ref(),
        Conj::No,
        basis.as_mut(),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
    Array2::from_shape_fn((rows, columns), |(row, column)| basis[(row, column)])
}

/// The eigenvalues of a symmetric matrix `[k, k]`, ascending, and its eigenvectors as columns.
/// Only the lower half is read.
pub(crate) fn eigen(symmetric: ArrayView2<'_, f64>) -> (Vec<f64>, Array2<f64>) {
    let size = symmetric.nrows();
    let symmetric = symmetric.as_standard_layout();
    let values = symmetric.as_slice().expect("row-major");
    let mut lambda = Diag::<f64>::zeros(size);
    let mut vectors = Mat::zeros(size, size);
    let par = Par::Seq;
    let wanted = evd::ComputeEigenvectors::Yes;
    let scratch = evd::self_adjoint_evd_scratch::<f64>(size, wanted, par, Default::default());
    evd::self_adjoint_evd(
        MatRef::from_row_major_slice(values, size, size),
        lambda.as_mut(),
        Some(vectors.as_mut()),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .expect("a finite symmetric matrix has eigenvalues");
    let lambda = lambda.column_vector().iter().copied().collect();
    let vectors = Array2::from_shape_fn((size, size), |(row, column)| vectors[(row, column)]);
    (lambda, vectors)
}

/// `x^T y` for `x` `[n, a]` and `y` `[n, b]`, on all threads; sums of f64.
pub(crate) fn gram<T: Float>(x: ArrayView2<'_, T>, y: ArrayView2<'_, T>) -> Array2<f64> {
    let rows = x.nrows().div_ceil(PARTS).next_multiple_of(CHUNK);
    let part = |(x, y): (ArrayView2<'_, T>, ArrayView2<'_, T>)| {
        let chunks = x.axis_chunks_iter(Axis(0), CHUNK);
        let chunks = chunks.zip(y.axis_chunks_iter(Axis(0), CHUNK));
        let mut sum = Array2::zeros((x.ncols(), y.ncols()));
        for (x, y) in chunks {
            sum += &x.t().dot(&y).mapv(Into::<f64>::into);
        }
        sum
    };
    let parts: Vec<Array2<f64>> = x
        .axis_chunks_iter(Axis(0), rows)
        .into_par_iter()
        .zip(y.axis_chunks_iter(Axis(0), rows))
        .map(part)
        .collect();
    let zero = Array2::zeros((x.ncols(), y.ncols()));
    parts.iter().fold(zero, |sum, part| sum + part)
}

/// What [`gram`] multiplies.
pub(crate) trait Float: ndarray::LinalgScalar + Into<f64> + Send + Sync {}

impl Float for f32 {}
impl Float for f64 {}

/// `x w` for `x` `[n, a]` and `w` `[a, b]`, on all threads.
pub(crate) fn times(x: ArrayView2<'_, f64>, w: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros((x.nrows(), w.ncols()));
    out.axis_chunks_iter_mut(Axis(0), CHUNK)
        .into_par_iter()
        .zip(x.axis_chunks_iter(Axis(0), CHUNK))
        .for_each(|(mut out, x)| out.assign(&x.dot(&w)));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tall() -> impl Strategy<Value = Array2<f64>> {
        (1_usize..6, 6_usize..20).prop_flat_map(|(columns, rows)| {
            proptest::collection::vec(-2.0..2.0, rows * columns)
                .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).expect("sizes agree"))
        })
    }

    fn close(a: &Array2<f64>, b: &Array2<f64>) -> bool {
        a.dim() == b.dim() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8)
    }

    proptest! {
        #[test]
        fn a_basis_is_orthonormal_and_spans_the_columns(x in tall()) {
            let basis = orthonormal(x.view());
            prop_assert!(close(&basis.t().dot(&basis), &Array2::eye(x.ncols())));
            prop_assert!(close(&basis.dot(&basis.t().dot(&x)), &x));
        }

        #[test]
        fn eigenvectors_make_up_the_matrix(x in tall()) {
            let symmetric = gram(x.view(), x.view());
            let (values, vectors) = eigen(symmetric.view());
            prop_assert!(values.is_sorted());
            let scaled = &vectors * &ndarray::Array1::from(values);
            prop_assert!(close(&scaled.dot(&vectors.t()), &symmetric));
        }
    }

    #[test]
    fn threads_change_no_bit_of_a_gram() {
        let x = Array2::from_shape_fn((3000, 7), |(r, c)| ((r * 7 + c) as f64).sin());
        let gram = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("a small pool")
                .install(|| gram(x.view(), x.view()))
        };
        assert_eq!(gram(1), gram(5));
        assert!(close(&gram(2), &x.t().dot(&x)));
    }
}
