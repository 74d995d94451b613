use ndarray::{Array2, ArrayView2, Axis, s};

use super::dense::{eigen, gram};

/// The directions in which centred rows vary most.
#[derive(Debug, Clone)]
pub(crate) struct PrincipalAxes {
    /// `[k, D]`, orthonormal rows, by falling variance.
    pub(crate) axes: Array2<f32>,
    /// The sum of squares along each, `[k]`.
    pub(crate) variances: Vec<f64>,
    /// The share of the variance that lies in them.
    pub(crate) explained: f64,
}

impl PrincipalAxes {
    /// The first `count` axes of `x` `[n, D]`, whose columns have mean 0; all if `D` is less.
    /// `O(n D^2 + D^3)`.
    pub(crate) fn of(x: ArrayView2<'_, f32>, count: usize) -> Self {
        let (mut values, mut vectors) = eigen(gram(x, x).view());
        values.reverse();
        vectors.invert_axis(Axis(1));
        let count = count.min(values.len());
        let total: f64 = values.iter().sum();
        let kept: f64 = values[..count].iter().sum();
        let axes = vectors.slice(s![.., ..count]).reversed_axes();
        Self {
            axes: axes.mapv(|x| x as f32).as_standard_layout().into_owned(),
            explained: if total > 0.0 { kept / total } else { 1.0 },
            variances: values[..count].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_axis_comes_first() {
        let x = ndarray::array![[3.0, 0.1], [-3.0, -0.1], [0.0, 0.5], [0.0, -0.5]];
        let found = PrincipalAxes::of(x.view(), 1);
        assert!(found.axes[[0, 0]].abs() > 0.99);
        assert!((0.9..1.0).contains(&found.explained));
        let all = PrincipalAxes::of(x.view(), 7);
        assert_eq!(all.axes.dim(), (2, 2));
        assert!((all.explained - 1.0).abs() < 1e-12);
    }
}
