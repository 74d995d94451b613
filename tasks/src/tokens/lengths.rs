use std::collections::BTreeMap;

/// How many texts there are of each length. Exact; memory grows with the number of different
/// lengths, not with that of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths {
    counts: BTreeMap<u32, u64>,
}

impl Lengths {
    /// Adds a text.
    pub fn add(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        *self.counts.entry(length).or_default() += 1;
    }

    /// Adds all texts of another count.
    pub fn merge(&mut self, other: &Self) {
        for (&length, count) in &other.counts {
            *self.counts.entry(length).or_default() += count;
        }
    }

    /// The lengths there are, ascending, and how many texts have each.
    pub fn counts(&self) -> impl DoubleEndedIterator<Item = (u32, u64)> {
        self.counts.iter().map(|(&length, &count)| (length, count))
    }

    /// Number of texts.
    pub fn texts(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The length of all texts together.
    pub fn total(&self) -> u64 {
        let each = self.counts();
        each.map(|(length, count)| u64::from(length) * count).sum()
    }

    /// Texts longer than a limit.
    pub fn beyond(&self, limit: u32) -> u64 {
        let beyond = self
            .counts
            .range(limit..)
            .filter(|&(&length, _)| length > limit);
        beyond.map(|(_, count)| count).sum()
    }

    /// The least length that at least a share `q` of the texts do not exceed: 0 for the minimum,
    /// 0.5 for the median, 1 for the maximum. `None` without texts.
    pub fn quantile(&self, q: f64) -> Option<u32> {
        let rank = (q * self.texts() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let mut reached = self.counts().filter(|&(_, count)| {
            seen += count;
            seen >= rank
        });
        reached.next().map(|(length, _)| length)
    }

    /// The numbers of texts in `bars` equal ranges of lengths from 0 to `longest`.
    pub fn histogram(&self, bars: usize, longest: u32) -> Vec<u64> {
        let mut heights = vec![0; bars];
        let Some(last) = bars.checked_sub(1) else {
            return heights;
        };
        for (length, count) in self.counts() {
            let bar = u64::from(length) * bars as u64 / (u64::from(longest) + 1);
            heights[(bar as usize).min(last)] += count;
        }
        heights
    }
}

/// The lengths of a task's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLengths {
    /// Of what a model is told and asked.
    pub prompt: Lengths,
    /// Of what it shall answer.
    pub answer: Lengths,
    /// Of both together.
    pub row: Lengths,
}

impl TaskLengths {
    /// Adds a row.
    pub fn add(&mut self, prompt: usize, answer: usize) {
        self.prompt.add(prompt);
        self.answer.add(answer);
        self.row.add(prompt + answer);
    }

    /// Adds all rows of another count.
    pub fn merge(&mut self, other: &Self) {
        self.prompt.merge(&other.prompt);
        self.answer.merge(&other.answer);
        self.row.merge(&other.row);
    }
}
