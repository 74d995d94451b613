//! Rows of logits in any of three precisions, and what is computed over them.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

/// Logits of some rows, row after row.
#[derive(Debug, Clone, Copy)]
pub enum Logits<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// The upper half of single precision.
    Bf16(&'a [bf16]),
}

impl<'a> Logits<'a> {
    /// Number of values.
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A run of values, if they exist.
    pub(crate) fn slice(self, at: std::ops::Range<usize>) -> Option<Self> {
        Some(match self {
            Self::F32(values) => Self::F32(values.get(at)?),
            Self::F16(values) => Self::F16(values.get(at)?),
            Self::Bf16(values) => Self::Bf16(values.get(at)?),
        })
    }

    /// One value, if it exists.
    pub(crate) fn get(self, at: usize) -> Option<f32> {
        match self {
            Self::F32(values) => values.get(at).copied(),
            Self::F16(values) => values.get(at).map(|value| value.single()),
            Self::Bf16(values) => values.get(at).map(|value| value.single()),
        }
    }

    /// `ln(sum(exp(x)))`: not a number if a value is none, or infinite; `-inf` if all are.
    pub(crate) fn log_sum_exp(self) -> f32 {
        let arch = pulp::Arch::new();
        match self {
            Self::F32(values) => arch.dispatch(LogSumExp(values)),
            Self::F16(values) => arch.dispatch(LogSumExp(values)),
            Self::Bf16(values) => arch.dispatch(LogSumExp(values)),
        }
    }

    /// Appends the values at some columns; `-inf` for one beyond the row.
    pub(crate) fn gather(self, columns: impl Iterator<Item = usize>, out: &mut Vec<f32>) {
        match self {
            Self::F32(values) => gather(values, columns, out),
            Self::F16(values) => gather(values, columns, out),
            Self::Bf16(values) => gather(values, columns, out),
        }
    }

    /// Appends all values.
    pub(crate) fn copy_to(self, out: &mut Vec<f32>) {
        match self {
            Self::F32(values) => out.extend_from_slice(values),
            Self::F16(values) => out.extend(values.iter().map(|value| value.single())),
            Self::Bf16(values) => out.extend(values.iter().map(|value| value.single())),
        }
    }
}

fn gather<E: Element>(values: &[E], columns: impl Iterator<Item = usize>, out: &mut Vec<f32>) {
    let value = |column| {
        values
            .get(column)
            .map_or(f32::NEG_INFINITY, |value: &E| value.single())
    };
    out.extend(columns.map(value));
}

/// A logit.
trait Element: Copy {
    /// The value in single precision; by plain arithmetic, of which the compiler makes vectors.
    fn single(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn single(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn single(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn single(self) -> f32 {
        // Five bits of exponent become eight by a product, which also makes subnormals normal.
        const REBIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
        // Infinities and NaN keep an exponent of all ones.
        let special = if bits & 0x7c00 == 0x7c00 {
            0xff << 23
        } else {
            0
        };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

/// Partial sums, whatever the vector width: so the result is the same on any machine.
const LANES: usize = 64;

struct LogSumExp<'a, E>(&'a [E]);

impl<E: Element> WithSimd for LogSumExp<'_, E> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let max = maximum(self.0);
        if !max.is_finite() {
            // `-inf`: nothing has any mass. NaN or `inf`: neither has a logarithm to return.
            return if max == f32::NEG_INFINITY {
                max
            } else {
                f32::NAN
            };
        }
        let mut sums = [0.0; LANES];
        for values in self.0.chunks(LANES) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += exp(value.single() - max);
            }
        }
        sums.into_iter().map(f64::from).sum::<f64>().ln() as f32 + max
    }
}

/// The largest value, NaN if one is NaN, `-inf` if there are none.
#[inline(always)]
fn maximum<E: Element>(values: &[E]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut bad = [false; LANES];
    for values in values.chunks(LANES) {
        for ((lane, bad), value) in lanes.iter_mut().zip(&mut bad).zip(values) {
            let value = value.single();
            *lane = if value > *lane { value } else { *lane };
            *bad |= value.is_nan();
        }
    }
    match bad.contains(&true) {
        true => f32::NAN,
        false => lanes.into_iter().fold(f32::NEG_INFINITY, f32::max),
    }
}

/// `e^x` for `x <= 0`, to 2e-7 of itself near 0: `2^n` by the exponent's bits times `2^f`,
/// `|f| <= 1/2`, by the polynomial of least relative error (9e-8).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    #[expect(
        clippy::approx_constant,
        reason = "near ln 2, but the best for the interval"
    )]
    const POLYNOMIAL: [f32; 6] = [
        1.326_472_6e-3,
        9.671_513e-3,
        5.550_733_6e-2,
        2.402_224_2e-1,
        6.931_47e-1,
        1.0,
    ];
    // Below, `2^n` would leave the exponent's range; e^-87 is as good as nothing beside a 1.
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let f = x.mul_add(std::f32::consts::LOG2_E, ROUND - shifted);
    let power = POLYNOMIAL
        .into_iter()
        .fold(0.0, |sum: f32, c| sum.mul_add(f, c));
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exp_is_near_the_library_s() {
        for x in (0..870_000).map(|x| x as f32 * -1e-4) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(
                error < 3e-7 - 3e-8 * f64::from(x),
                "exp({x}) is off by {error}"
            );
        }
    }

    #[test]
    fn all_halves_become_singles() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (got, expected) in [
                (half.single(), half.to_f32()),
                (brain.single(), brain.to_f32()),
            ] {
                let same = got.to_bits() == expected.to_bits();
                assert!(
                    same || got.is_nan() && expected.is_nan(),
                    "{bits:x}: {got} {expected}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number_is_told() {
        let row = |bad| {
            let mut values = vec![0.5_f32; 100];
            values[77] = bad;
            Logits::F32(&values).log_sum_exp()
        };
        assert!(row(f32::NAN).is_nan());
        assert!(row(f32::INFINITY).is_nan());
        assert!(row(f32::NEG_INFINITY).is_finite());
        assert_eq!(
            Logits::F32(&[f32::NEG_INFINITY; 3]).log_sum_exp(),
            f32::NEG_INFINITY
        );
    }

    proptest! {
        #[test]
        fn log_sum_exp_is_the_plain_sum(values in prop::collection::vec(-60.0_f32..60.0, 1..400)) {
            let plain = values.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            let got = Logits::F32(&values).log_sum_exp();
            prop_assert!((f64::from(got) - plain).abs() < 1e-5 * plain.abs().max(1.0));
        }

        /// The portable path gives the same bits as the vectors of this machine.
        #[test]
        fn instruction_sets_agree(values in prop::collection::vec(-60.0_f32..60.0, 0..400)) {
            let portable = LogSumExp(&values).with_simd(pulp::Scalar::new());
            prop_assert_eq!(Logits::F32(&values).log_sum_exp().to_bits(), portable.to_bits());
        }
    }
}
