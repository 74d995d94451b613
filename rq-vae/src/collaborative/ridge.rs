use ndarray::{Array1, Array2, ArrayView2};

use super::dense::{eigen, gram};
use crate::encoder::standard;

/// A linear map `y = weights x + intercept` fitted by ridge regression.
#[derive(Debug, Clone)]
pub(crate) struct Ridge {
    /// `[b, a]`.
    pub(crate) weights: Array2<f32>,
    /// `[b]`.
    pub(crate) intercept: Array1<f32>,
}

impl Ridge {
    /// Minimises `sum |y - weights x - intercept|^2 + penalty |weights|^2` over the rows of
    /// `x` `[n, a]` and `y` `[n, b]`, by the normal equations. The intercept bears no penalty.
    /// `O(n a (a + b) + a^3)`.
    pub(crate) fn fit(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>, penalty: f64) -> Self {
        let ((x_mean, _), (y_mean, _)) = (standard(x), standard(y));
        let (x, y) = (&x - &x_mean, &y - &y_mean);
        let (values, vectors) = eigen(gram(x.view(), x.view()).view());
        // (V diag(values) V^T + penalty I)^-1 X^T Y
        let mut inner = vectors.t().dot(&gram(x.view(), y.view()));
        for (mut row, value) in inner.outer_iter_mut().zip(values) {
            row /= value.max(0.0) + penalty;
        }
        let weights = vectors.dot(&inner).reversed_axes().mapv(|w| w as f32);
        let weights = weights.as_standard_layout().into_owned();
        let intercept = y_mean - weights.dot(&x_mean);
        Self { weights, intercept }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Axis;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_found() {
        let x = ndarray::array![[0.0], [1.0], [2.0], [5.0]];
        let y = x.mapv(|x| 3.0 * x - 4.0);
        let line = Ridge::fit(x.view(), y.view(), 1e-9);
        assert!((line.weights[[0, 0]] - 3.0).abs() < 1e-5);
        assert!((line.intercept[0] + 4.0).abs() < 1e-5);
    }

    proptest! {
        /// At the minimum the gradient is zero: `X^T (X W^T - Y) + penalty W^T = 0`, centred.
        #[test]
        fn the_normal_equations_hold(
            values in proptest::collection::vec(-2.0_f32..2.0, 12 * 5),
            penalty in 0.1_f64..10.0,
        ) {
            let all = Array2::from_shape_vec((12, 5), values).expect("sizes agree");
            let (x, y) = all.view().split_at(Axis(1), 3);
            let ridge = Ridge::fit(x, y, penalty);
            let left = x.dot(&ridge.weights.t()) + &ridge.intercept - y;
            let gradient = (&x - &standard(x).0).t().dot(&left) + &ridge.weights.t() * penalty as f32;
            prop_assert!(gradient.iter().all(|g| g.abs() < 1e-3), "{gradient}");
            prop_assert!(left.sum_axis(Axis(0)).iter().all(|sum| sum.abs() < 1e-3));
        }
    }
}
