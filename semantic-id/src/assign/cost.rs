use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};

/// What an assigner minimises: moves first, then squared distance, lexicographically.
///
/// Ordered pairs under component-wise addition are an ordered group, and shortest paths and
/// linear duality need no more than that. One number `big * moves + distance` would need a
/// `big` that is either too small to be right or too large to be exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// Items that leave their native path.
    pub(crate) moves: i64,
    /// Squared distance in units of a [`Scale`].
    pub(crate) distance: i64,
}

impl Cost {
    pub(crate) const ZERO: Self = Self {
        moves: 0,
        distance: 0,
    };
    pub(crate) const MAX: Self = Self {
        moves: i64::MAX,
        distance: i64::MAX,
    };
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            moves: self.moves + other.moves,
            distance: self.distance + other.distance,
        }
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            moves: self.moves - other.moves,
            distance: self.distance - other.distance,
        }
    }
}

impl Mul<u32> for Cost {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self {
            moves: self.moves * i64::from(times),
            distance: self.distance * i64::from(times),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Squared distances as integers: multiples of a power of two, at most `2^30` of them, so
/// that a sum over `2^32` items fits 63 bits and is the same in every order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    per_unit: f64,
}

impl Scale {
    const BITS: i32 = 30;

    /// The finest scale that holds every distance up to `max` (finite, non-negative).
    pub(crate) fn up_to(max: f32) -> Self {
        // The biased exponent of `max`, read from its bits: `max < 2^exponent`.
        let exponent = (max.to_bits() >> 23) as i32 - 126;
        Self {
            per_unit: 2f64.powi(Self::BITS - exponent),
        }
    }

    /// The nearest multiple of the unit.
    pub(crate) fn to_units(self, distance: f32) -> i64 {
        (f64::from(distance) * self.per_unit + 0.5) as i64
    }

    /// The squared distance of so many units.
    pub(crate) fn to_distance(self, units: i64) -> f64 {
        units as f64 / self.per_unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_move_outweighs_any_distance() {
        let near = Cost {
            moves: 1,
            distance: 0,
        };
        let far = Cost {
            moves: 0,
            distance: i64::MAX,
        };
        assert!(far < near);
    }

    #[test]
    fn units_are_exact_within_f32_precision_and_bounded() {
        for max in [0.0, f32::MIN_POSITIVE, 1e-40, 0.3, 1.0, 1.5, 1e9, f32::MAX] {
            let scale = Scale::up_to(max);
            let units = scale.to_units(max);
            assert!(units <= 1 << 30, "{max} became {units} units");
            assert_eq!(scale.to_distance(units), f64::from(max));
        }
        assert_eq!(Scale::up_to(4.0).to_units(1.0), 1 << 27);
    }
}
