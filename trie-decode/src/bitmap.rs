use std::ops::Range;

/// A set of ranks that counts any interval in `O(1)`: one bit a rank, and for each word the
/// number of ranks before it. 1.5 bits a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    /// Ranks of the set before each word, and all of them, `[words + 1]`.
    before: Vec<u32>,
}

impl Bitmap {
    /// Rank `r` is bit `r % 64` of word `r / 64`.
    pub(crate) fn new(words: Vec<u64>) -> Self {
        let mut count = 0;
        let mut before = Vec::with_capacity(words.len() + 1);
        before.push(count);
        before.extend(words.iter().map(|word| {
            count += word.count_ones();
            count
        }));
        Self { words, before }
    }

    /// The first `ranks` bits of a bitmap of bytes, as an index file has it.
    pub(crate) fn of_bytes(bytes: &[u8], ranks: usize) -> Self {
        let mut words = full(ranks);
        for (at, word) in words.iter_mut().enumerate() {
            let mut eight = [0; 8];
            let bytes = bytes.iter().skip(at * 8);
            eight
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, &from)| *to = from);
            *word &= u64::from_le_bytes(eight);
        }
        Self::new(words)
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn len(&self) -> usize {
        self.before.last().map_or(0, |&count| count as usize)
    }

    pub(crate) fn contains(&self, rank: u32) -> bool {
        let word = self.words.get(rank as usize / 64);
        word.is_some_and(|word| word >> (rank % 64) & 1 == 1)
    }

    /// Whether there is a rank in an interval. One that lies within a word, as those of deep
    /// nodes do, needs no look at the counts.
    pub(crate) fn any(&self, ranks: Range<u32>) -> bool {
        let word = ranks.start / 64;
        if ranks.start < ranks.end && (ranks.end - 1) / 64 == word {
            let bits = self
                .words
                .get(word as usize)
                .map_or(0, |bits| bits >> (ranks.start % 64));
            return bits << (64 - (ranks.end - ranks.start)) != 0;
        }
        self.count(ranks) > 0
    }

    pub(crate) fn count(&self, ranks: Range<u32>) -> usize {
        self.below(ranks.end)
            .saturating_sub(self.below(ranks.start)) as usize
    }

    /// How many ranks are less than `rank`.
    fn below(&self, rank: u32) -> u32 {
        let at = rank as usize / 64;
        match self.words.get(at) {
            Some(word) => self.before[at] + (word & ((1 << (rank % 64)) - 1)).count_ones(),
            None => self.len() as u32,
        }
    }
}

/// Words in which the first `ranks` bits are set.
pub(crate) fn full(ranks: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; ranks.div_ceil(64)];
    trim(&mut words, ranks);
    words
}

/// Clears the bits of the last word that are beyond `ranks`.
pub(crate) fn trim(words: &mut [u64], ranks: usize) {
    if let Some(last) = words.last_mut() {
        *last &= u64::MAX >> ((64 - ranks % 64) % 64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tutorial() {
        // Ranks 1, 4 and 6 of 8.
        let set = Bitmap::of_bytes(&[0b0101_0010], 8);
        assert!(set.contains(4) && !set.contains(5));
        assert_eq!(set.count(1..5), 2);
        assert!(set.any(6..8) && !set.any(2..4));
        assert_eq!(set.len(), 3);
    }

    proptest! {
        #[test]
        fn counts_as_a_plain_set_does(
            set in prop::collection::vec(any::<bool>(), 0..300),
            spans in prop::collection::vec((0..400_u32, 0..400_u32), 20),
        ) {
            let mut bytes = vec![0xaa; set.len().div_ceil(8)];
            for (rank, &here) in set.iter().enumerate() {
                bytes[rank / 8] &= !(1 << (rank % 8));
                bytes[rank / 8] |= u8::from(here) << (rank % 8);
            }
            let bitmap = Bitmap::of_bytes(&bytes, set.len());
            let here = |rank: u32| set.get(rank as usize) == Some(&true);
            for (start, end) in spans {
                let count = (start..end).filter(|&rank| here(rank)).count();
                prop_assert_eq!(bitmap.count(start..end), count);
                prop_assert_eq!(bitmap.any(start..end), count > 0);
                prop_assert_eq!(bitmap.contains(start), here(start));
            }
            prop_assert_eq!(bitmap.len(), (0..400).filter(|&rank| here(rank)).count());
        }
    }
}
