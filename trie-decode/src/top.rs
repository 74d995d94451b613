//! The best few of many candidates.

/// A place in the order of results: score descending, then node or rank ascending. The least
/// is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    /// Neither score nor what it is the score of is lost.
    pub(crate) fn new(score: f32, number: u32) -> Self {
        // -0 would sort after 0, and is as good.
        let bits = (score + 0.0).to_bits();
        let ascending = if bits >> 31 == 0 {
            bits | 1 << 31
        } else {
            !bits
        };
        Self(u64::from(!ascending) << 32 | u64::from(number))
    }

    pub(crate) fn score(self) -> f32 {
        let ascending = !((self.0 >> 32) as u32);
        f32::from_bits(match ascending >> 31 {
            1 => ascending & !(1 << 31),
            _ => !ascending,
        })
    }

    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }
}

/// A candidate: a child of one of the live prefixes, or an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) key: Key,
    /// The prefix it continues, as a place among all of the search.
    pub(crate) parent: u32,
}

/// Keeps the best candidates of those it is given.
///
/// Holds up to twice as many, and drops the worse half when full: every candidate is compared
/// with the worst that can still matter, and few are moved.
#[derive(Debug, Default)]
pub(crate) struct Top {
    keep: usize,
    best: Vec<Candidate>,
    limit: Option<Key>,
    dropped: Dropped,
}

/// What becomes of candidates that are not kept.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// The best of them.
    pub(crate) best: Option<Key>,
    /// All of them, if they were asked for.
    pub(crate) all: Option<Vec<Candidate>>,
}

impl Dropped {
    fn add(&mut self, candidate: Candidate) {
        if self.best.is_none_or(|best| candidate.key < best) {
            self.best = Some(candidate.key);
        }
        if let Some(all) = &mut self.all {
            all.push(candidate);
        }
    }
}

impl Top {
    /// Starts anew, to keep the best `keep`; `all` says whether to keep the others aside.
    pub(crate) fn restart(&mut self, keep: usize, all: bool) {
        self.keep = keep;
        self.best.clear();
        self.limit = None;
        self.dropped = Dropped {
            best: None,
            all: all.then(Vec::new),
        };
    }

    /// A score below which no candidate is worth an [`offer`](Self::offer): it would be dropped,
    /// and is not the best of the dropped.
    pub(crate) fn floor(&self) -> f32 {
        match (self.limit, self.dropped.best, &self.dropped.all) {
            (Some(_), Some(dropped), None) => dropped.score(),
            _ => f32::NEG_INFINITY,
        }
    }

    /// Whether a candidate would change anything.
    pub(crate) fn wants(&self, key: Key) -> bool {
        self.dropped.all.is_some()
            || self.limit.is_none_or(|limit| key < limit)
            || self.dropped.best.is_none_or(|dropped| key < dropped)
    }

    pub(crate) fn offer(&mut self, candidate: Candidate) {
        if self.keep == 0 || self.limit.is_some_and(|limit| candidate.key > limit) {
            self.dropped.add(candidate);
            return;
        }
        self.best.push(candidate);
        if self.best.len() >= 2 * self.keep.max(16) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.best.len() <= self.keep {
            return;
        }
        self.best.select_nth_unstable(self.keep);
        for &candidate in &self.best[self.keep..] {
            self.dropped.add(candidate);
        }
        self.best.truncate(self.keep);
        self.limit = self.best.iter().map(|candidate| candidate.key).max();
    }

    /// The best, best first, and what was dropped.
    pub(crate) fn finish(&mut self) -> (&[Candidate], &mut Dropped) {
        self.shrink();
        self.best.sort_unstable();
        (&self.best, &mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn better_scores_and_then_lower_numbers_come_first() {
        let key = Key::new;
        assert!(key(-1.0, 9) < key(-2.0, 0));
        assert!(key(-1.0, 3) < key(-1.0, 4));
        assert!(key(0.0, 0) < key(-0.5, 0));
        assert_eq!(key(-0.0, 1), key(0.0, 1));
        assert_eq!((key(-3.25, 7).score(), key(-3.25, 7).number()), (-3.25, 7));
    }

    proptest! {
        #[test]
        fn keeps_what_sorting_would(scores in prop::collection::vec(-9_i8..0, 0..300), keep in 0_usize..40) {
            let candidate = |(at, &score): (usize, &i8)| Candidate {
                key: Key::new(score.into(), at as u32),
                parent: 0,
            };
            let mut all: Vec<_> = scores.iter().enumerate().map(candidate).collect();
            let mut top = Top::default();
            top.restart(keep, true);
            all.iter().for_each(|&candidate| top.offer(candidate));
            let (best, dropped) = top.finish();
            all.sort_unstable();
            let keep = keep.min(all.len());
            prop_assert_eq!(best, &all[..keep]);
            prop_assert_eq!(dropped.best, all.get(keep).map(|candidate| candidate.key));
            let mut rest = dropped.all.take().expect("they were asked for");
            rest.sort_unstable();
            prop_assert_eq!(&rest[..], &all[keep..]);
        }
    }
}
