//! Rows of logits in any of three precisions, and what is computed over them.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use crate::prefetch::prefetch;

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
const LANES: usize = 32;

/// Rows of lanes that are read from memory, and then once more from the nearest cache.
const BLOCK: usize = 4;

/// Blocks between the one that is read and the one that is asked for: 2 KiB of f32.
const AHEAD: usize = 4;

struct LogSumExp<'a, E>(&'a [E]);

impl<E: Element> WithSimd for LogSumExp<'_, E> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let (rows, rest) = self.0.as_chunks::<LANES>();
        let mut sum = Powers::NONE;
        for (at, block) in rows.chunks(BLOCK).enumerate() {
            for row in rows.iter().skip((at + AHEAD) * BLOCK).take(BLOCK) {
                let line = 64 / size_of::<E>();
                row.iter().step_by(line).for_each(prefetch);
            }
            sum.add(block);
        }
        if !rest.is_empty() {
            let mut last = [f32::NEG_INFINITY; LANES];
            for (slot, value) in last.iter_mut().zip(rest) {
                *slot = value.single();
            }
            sum.add(&[last]);
        }
        sum.ln()
    }
}

/// A sum of powers of e, in one pass over memory: relative to the largest value so far, unless a
/// later one exceeds it by little.
struct Powers {
    base: f32,
    sums: [f32; LANES],
    /// Largest values so far.
    most: [f32; LANES],
    /// Largest bits so far, without their signs: those of NaN are above those of infinity.
    bits: [u32; LANES],
}

impl Powers {
    const NONE: Self = Self {
        base: f32::NEG_INFINITY,
        sums: [0.0; LANES],
        most: [f32::NEG_INFINITY; LANES],
        bits: [0; LANES],
    };

    #[inline(always)]
    fn add<E: Element>(&mut self, block: &[[E; LANES]]) {
        /// `e^60` and sums of it are far from overflow.
        const MUCH: f32 = 60.0;
        let (mut most, mut bits) = (self.most, self.bits);
        for row in block {
            for ((most, bits), value) in most.iter_mut().zip(&mut bits).zip(row) {
                let value = value.single();
                *most = if value > *most { value } else { *most };
                *bits = (value.to_bits() & !(1 << 31)).max(*bits);
            }
        }
        (self.most, self.bits) = (most, bits);
        let limit = self.base + MUCH;
        if most.iter().fold(false, |any, &most| any | (most > limit)) {
            let base = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let scale = exp(self.base - base);
            self.sums.iter_mut().for_each(|sum| *sum *= scale);
            self.base = base;
        }
        if self.base == f32::NEG_INFINITY {
            return; // nothing so far has any mass
        }
        let (mut sums, base) = (self.sums, self.base);
        for row in block {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += exp(value.single() - base);
            }
        }
        self.sums = sums;
    }

    /// The logarithm of the sum: NaN if a value was NaN or infinite, `-inf` without any mass.
    fn ln(&self) -> f32 {
        let most = self.bits.iter().fold(0, |most, &bits| bits.max(most));
        let bad = most > f32::INFINITY.to_bits();
        match self.base {
            _ if bad || self.base == f32::INFINITY => f32::NAN,
            f32::NEG_INFINITY => f32::NEG_INFINITY,
            base => {
                let mut total = [0.0_f64; 8];
                for sums in self.sums.as_chunks::<8>().0 {
                    total
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(total, &sum)| *total += f64::from(sum));
                }
                total.iter().sum::<f64>().ln() as f32 + base
            }
        }
    }
}

/// `e^x` for `x <= 60`, to 2e-7 of itself near 0: `2^n` by the exponent's bits times `2^f`,
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
        for x in (-600_000..870_000).map(|x| x as f32 * -1e-4) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(
                error < 3e-7 + 3e-8 * f64::from(x.abs()),
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
        fn log_sum_exp_is_the_plain_sum(
            values in prop::collection::vec(-60.0_f32..60.0, 1..4000),
            late in prop::sample::select(vec![0.0_f32, 0.0, 50.0, 200.0]),
        ) {
            // The last values may be far above all others.
            let half = values.len() / 2;
            let values: Vec<f32> = (values.iter().enumerate())
                .map(|(at, value)| if at < half { *value } else { value + late })
                .collect();
            let plain = values.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            let got = Logits::F32(&values).log_sum_exp();
            prop_assert!((f64::from(got) - plain).abs() < 1e-5 * plain.abs().max(1.0));
        }

        /// The portable path gives the same bits as the vectors of this machine.
        #[test]
        fn instruction_sets_agree(values in prop::collection::vec(-90.0_f32..90.0, 0..2000)) {
            let portable = LogSumExp(&values).with_simd(pulp::Scalar::new());
            prop_assert_eq!(Logits::F32(&values).log_sum_exp().to_bits(), portable.to_bits());
        }
    }
}
