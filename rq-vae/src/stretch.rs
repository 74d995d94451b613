use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::Result;
use crate::collaborative::PrincipalAxes;
use crate::network::{Linear, Mlp};

/// No direction is made shorter than this, or the way back would be all noise.
const LEAST: f64 = 1e-3;

/// Linear networks that multiply each principal direction of `points` `[n, D]`, whose columns have
/// mean 0, by `(its standard deviation / the greatest one)^power`, and undo that: to `[n, D]` and
/// back. With power 0 both are the identity. `O(n D^2 + D^3)`.
///
/// Text encoders spread most of what they know over few directions, and noise over all. A power
/// above 0 lets the first count for more in a distance, without cutting any off.
pub(crate) fn stretch(points: ArrayView2<'_, f32>, power: f64) -> Result<(Mlp, Mlp)> {
    if power == 0.0 {
        return Ok((Mlp::new(Vec::new(), false)?, Mlp::new(Vec::new(), false)?));
    }
    let principal = PrincipalAxes::of(points, points.ncols());
    let greatest = principal.variances[0];
    let factor = |variance: &f64| match greatest > 0.0 {
        true => (variance / greatest).max(0.0).powf(power / 2.0).max(LEAST) as f32,
        false => 1.0,
    };
    let factors: Array1<f32> = principal.variances.iter().map(factor).collect();
    let there = &principal.axes * &factors.view().insert_axis(Axis(1));
    let back = &principal.axes / &factors.view().insert_axis(Axis(1));
    Ok((linear(there)?, linear(back.reversed_axes())?))
}

fn linear(weight: Array2<f32>) -> Result<Mlp> {
    let bias = Array1::zeros(weight.nrows());
    let weight = weight.as_standard_layout().into_owned();
    Mlp::new(vec![Linear { weight, bias }], false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three directions with standard deviations of about 4, 1 and 0.
    fn points() -> Array2<f32> {
        Array2::from_shape_fn((200, 3), |(row, column)| {
            let (long, short) = ((row as f32).sin() * 4.0, (row as f32 * 1.7).cos());
            [long + short, long - short, 0.0][column]
        })
    }

    #[test]
    fn a_point_comes_back() {
        let x = points();
        let (there, back) = stretch(x.view(), 0.5).expect("dimensions agree");
        let error = back.forward(there.forward(x.view()).view()) - &x;
        assert!(error.iter().all(|e| e.abs() < 1e-4), "{error}");
    }

    #[test]
    fn long_directions_get_longer_beside_short_ones() {
        let x = points();
        let ratio = |power| {
            let (there, _) = stretch(x.view(), power).expect("dimensions agree");
            let y = there.forward(x.view());
            let variances = PrincipalAxes::of(y.view(), 2).variances;
            variances[0] / variances[1]
        };
        let (as_it_is, stretched) = (ratio(0.0), ratio(0.5));
        let expected = as_it_is.powf(1.5);
        assert!(
            (stretched / expected - 1.0).abs() < 1e-2,
            "{stretched} {expected}"
        );
    }

    #[test]
    fn points_that_do_not_vary_are_left_alone() {
        let (there, _) = stretch(Array2::zeros((5, 2)).view(), 1.0).expect("dimensions agree");
        let y = there.forward(ndarray::array![[3.0, 4.0]].view());
        assert!((y.mapv(|y| y * y).sum() - 25.0).abs() < 1e-4);
    }
}
