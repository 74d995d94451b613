use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Histories, UserId};
use crate::{Error, Result};

/// A part of a [`Split`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What a model learns from.
    Train,
    /// What decides when to stop and which settings to take.
    Valid,
    /// What figures are reported of.
    Test,
}

impl Part {
    /// All parts, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let named = Self::ALL.into_iter().find(|part| part.to_string() == name);
        named.ok_or_else(|| "the parts are train, valid, test".to_owned())
    }
}

/// Which events of each user are of training, validation and test: two ordinals a user.
///
/// ```text
/// ordinals of a user   0 1 2 3 4 5 6 | 7 | 8 9
///                                    ^   ^
///                            train_end   valid_end
/// ```
///
/// A *target* is an event that is to be predicted from those before it, so a user's first event
/// is none, in whichever part it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// For each user `[train_end, valid_end, len]`, ascending.
    ends: Vec<[u32; 3]>,
    without_test: usize,
}

impl Split {
    /// Each user's last event is of the test, the one before of validation.
    ///
    /// Users with fewer than three events would have nothing left to learn from: theirs are all
    /// of training, and [`Split::without_test`] counts them.
    pub fn leave_one_out(histories: &Histories) -> Self {
        Self::of(histories, |user| {
            let len = histories.items(user).len() as u32;
            match len {
                0..3 => [len, len],
                _ => [len - 2, len - 1],
            }
        })
    }

    /// Two cut times, in seconds since 1970: what is at or after `valid_from` is of validation,
    /// what is at or after `test_from` of the test.
    ///
    /// # Errors
    ///
    /// If there are no times, if the files gave a split (then rows are not in order of time), or
    /// if `valid_from > test_from`.
    pub fn at_times(histories: &Histories, valid_from: i64, test_from: i64) -> Result<Self> {
        if valid_from > test_from {
            return Err(Error::Histories(format!(
                "validation begins at {valid_from}, after the test at {test_from}"
            )));
        }
        ordered_times(histories)?;
        Ok(Self::of(histories, |user| {
            let times = histories.times(user).unwrap_or_default();
            [valid_from, test_from].map(|from| times.partition_point(|&time| time < from) as u32)
        }))
    }

    /// By time, so that the numbers of targets in the three parts are as `shares` (MiniOneRec
    /// takes `[8, 1, 1]`); events of the second at which a part begins are all in that part.
    ///
    /// # Errors
    ///
    /// Those of [`Split::at_times`], and shares that are all 0. `O(E)`, no memory.
    pub fn by_time(histories: &Histories, shares: [u32; 3]) -> Result<Self> {
        let shares = Shares::new(shares)?;
        ordered_times(histories)?;
        let targets = || {
            let times = histories.users().filter_map(|user| histories.times(user));
            times.flat_map(|times| times.iter().skip(1).copied())
        };
        let [valid_from, test_from] = shares
            .of(targets().count())
            .map(|rank| nth_time(targets, rank));
        Self::at_times(histories, valid_from, test_from)
    }

    /// By each user's own events, rounded down but for training, which has at least one.
    ///
    /// # Errors
    ///
    /// If all shares are 0.
    pub fn by_user(histories: &Histories, shares: [u32; 3]) -> Result<Self> {
        let shares = Shares::new(shares)?;
        Ok(Self::of(histories, |user| {
            let ends = shares.of(histories.items(user).len());
            ends.map(|end| end.max(1) as u32)
        }))
    }

    /// The split that the files gave.
    ///
    /// # Errors
    ///
    /// If they gave none.
    pub fn given(histories: &Histories) -> Result<Self> {
        let given = histories.given.as_ref().ok_or_else(|| {
            Error::Histories("no split is given: read one file for each part".into())
        })?;
        Ok(Self::of(histories, |user| given[user.index()]))
    }

    fn of(histories: &Histories, ends: impl Fn(UserId) -> [u32; 2]) -> Self {
        let ends = histories.users().map(|user| {
            let [train, valid] = ends(user);
            [train, valid, histories.items(user).len() as u32]
        });
        let mut split = Self {
            ends: ends.collect(),
            without_test: 0,
        };
        let has_none = |user: &UserId| split.targets(*user, Part::Test).is_empty();
        split.without_test = histories.users().filter(has_none).count();
        split
    }

    /// The first ordinal of a user that training may not read.
    ///
    /// # Panics
    ///
    /// This and the methods below: if the user is not of these histories.
    pub fn train_end(&self, user: UserId) -> usize {
        self.ends[user.index()][0] as usize
    }

    /// The first ordinal of a user's test part.
    pub fn valid_end(&self, user: UserId) -> usize {
        self.ends[user.index()][1] as usize
    }

    /// The ordinals that a part is to predict; never 0.
    pub fn targets(&self, user: UserId, part: Part) -> Range<usize> {
        let [train, valid, len] = self.ends[user.index()].map(|end| end.max(1) as usize);
        match part {
            Part::Train => 1..train,
            Part::Valid => train..valid,
            Part::Test => valid..len,
        }
    }

    /// Users without a test target: too few events, or none that late.
    pub fn without_test(&self) -> usize {
        self.without_test
    }

    /// How much of what training learns was not yet known when the test's events happened;
    /// `None` without times, or without targets of either part. `O(E log(test targets))`.
    pub fn leakage(&self, histories: &Histories) -> Option<Leakage> {
        let times = |part| {
            let of = move |user| histories.times(user).map(|t| &t[self.targets(user, part)]);
            histories.users().filter_map(of).flatten().copied()
        };
        let mut tests: Vec<i64> = times(Part::Test).collect();
        tests.sort_unstable();
        let first = *tests.first()?;
        let (mut count, mut after_first, mut pairs) = (0_usize, 0_usize, 0_u64);
        for time in times(Part::Train) {
            count += 1;
            after_first += usize::from(time > first);
            pairs += tests.partition_point(|&test| test < time) as u64;
        }
        (count > 0).then(|| Leakage {
            after_first_test: after_first as f64 / count as f64,
            per_test: pairs as f64 / (count as f64 * tests.len() as f64),
        })
    }
}

/// Cross-user leakage of time: a model that is trained on all training targets knows things of
/// other users that happened after the event it is asked for. 0 under a global temporal split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Leakage {
    /// The share of training targets later than the earliest test target of any user.
    pub after_first_test: f64,
    /// The share of training targets later than a test target, averaged over test targets.
    pub per_test: f64,
}

fn ordered_times(histories: &Histories) -> Result<()> {
    let problem = match (&histories.events.times, &histories.given) {
        (None, _) => "a split by time needs times; these histories have none",
        (_, Some(_)) => "the files give a split: use it, or read them as one part",
        _ => return Ok(()),
    };
    Err(Error::Histories(problem.into()))
}

/// How large the parts are, relative to each other.
struct Shares {
    train: u64,
    valid: u64,
    all: u64,
}

impl Shares {
    fn new(shares: [u32; 3]) -> Result<Self> {
        let [train, valid, test] = shares.map(u64::from);
        let all = train + valid + test;
        if all == 0 {
            return Err(Error::Histories("the shares of all parts are 0".into()));
        }
        Ok(Self { train, valid, all })
    }

    /// Where training and validation end among so many.
    fn of(&self, count: usize) -> [usize; 2] {
        [self.train, self.train + self.valid]
            .map(|share| (count as u128 * u128::from(share) / u128::from(self.all)) as usize)
    }
}

/// The time at a rank, from 0, in ascending order; beyond the last one, the end of time.
/// Found by bisection, so that times need not be copied to be sorted.
fn nth_time<I: Iterator<Item = i64>>(times: impl Fn() -> I, rank: usize) -> i64 {
    let (Some(mut low), Some(mut high)) = (times().min(), times().nth(rank).and(times().max()))
    else {
        return i64::MAX;
    };
    while low < high {
        let middle = low + (high - low) / 2;
        match times().filter(|&time| time <= middle).count() > rank {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    low
}
