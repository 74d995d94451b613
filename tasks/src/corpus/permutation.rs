use rand::RngExt;

use crate::Draw;

/// A random order of `0..len` that needs no memory: each place can be asked for alone.
///
/// A Feistel network of four rounds over the next power of four; numbers beyond `len` are walked
/// on until one is within (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
/// 2002, section 4). On average fewer than four steps.
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    len: u64,
    half: u32,
    keys: [u64; 4],
}

impl Permutation {
    pub(super) fn new(seed: u64, purpose: &str, len: u64) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let mut chance = Draw::new(seed, purpose, len);
        Self {
            len,
            half: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| chance.random()),
        }
    }

    /// The number at a place.
    pub(super) fn at(&self, place: u64) -> u64 {
        let mut number = self.step(place);
        while number >= self.len {
            number = self.step(number);
        }
        number
    }

    /// The place of a number.
    pub(super) fn place_of(&self, number: u64) -> u64 {
        let mut place = self.step_back(number);
        while place >= self.len {
            place = self.step_back(place);
        }
        place
    }

    fn step(&self, number: u64) -> u64 {
        let (mut left, mut right) = self.halves(number);
        for key in self.keys {
            (left, right) = (right, left ^ self.mixed(right, key));
        }
        left << self.half | right
    }

    fn step_back(&self, number: u64) -> u64 {
        let (mut left, mut right) = self.halves(number);
        for key in self.keys.into_iter().rev() {
            (left, right) = (right ^ self.mixed(left, key), left);
        }
        left << self.half | right
    }

    fn halves(&self, number: u64) -> (u64, u64) {
        (number >> self.half, number & self.mask())
    }

    fn mask(&self) -> u64 {
        (1 << self.half) - 1
    }

    /// The finalizer of SplitMix64.
    fn mixed(&self, half: u64, key: u64) -> u64 {
        let mut mixed = half.wrapping_add(key);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) & self.mask()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_of_a_word_is_its_limit() {
        let all = Permutation::new(0, "order", u64::MAX);
        assert_eq!(all.half, 32);
        assert!(all.at(7) < u64::MAX);
    }

    proptest! {
        #[test]
        fn every_number_comes_once(seed: u64, len in 1_u64..2000) {
            let order = Permutation::new(seed, "order", len);
            let mut seen: Vec<u64> = (0..len).map(|place| order.at(place)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }

        #[test]
        fn every_number_knows_its_place(seed: u64, len in 1_u64.., place: u64) {
            let order = Permutation::new(seed, "order", len);
            prop_assert_eq!(order.place_of(order.at(place % len)), place % len);
        }
    }
}
