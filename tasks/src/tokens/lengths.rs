use std::collections::BTreeMap;

use serde::Serialize;

use super::{NextFit, Packing};

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

    /// All of that at a glance; zeros without texts.
    pub fn summary(&self) -> Summary {
        let [min, median, p95, p99, max] =
            [0.0, 0.5, 0.95, 0.99, 1.0].map(|q| self.quantile(q).unwrap_or_default());
        Summary {
            min,
            median,
            p95,
            p99,
            max,
            mean: self.total() as f64 / self.texts().max(1) as f64,
        }
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

/// What most ask of lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The shortest.
    pub min: u32,
    /// Half are no longer.
    pub median: u32,
    /// 95 % are no longer.
    pub p95: u32,
    /// 99 % are no longer.
    pub p99: u32,
    /// The longest.
    pub max: u32,
    /// The mean.
    pub mean: f64,
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

/// The lengths of a corpus's rows, by task, and how they pack in their order.
#[derive(Debug, Clone)]
pub struct CorpusLengths {
    tasks: BTreeMap<String, TaskLengths>,
    in_order: NextFit,
}

impl CorpusLengths {
    /// Begins with no rows, to be packed into sequences of `context`.
    pub fn new(context: u32) -> Self {
        Self {
            tasks: BTreeMap::new(),
            in_order: NextFit::new(context),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, task: &str, prompt: usize, answer: usize) {
        if !self.tasks.contains_key(task) {
            self.tasks.insert(task.to_owned(), TaskLengths::default());
        }
        let lengths = self.tasks.get_mut(task).expect("it was just put there");
        lengths.add(prompt, answer);
        self.in_order.add(prompt + answer);
    }

    /// Adds another shard's rows.
    pub fn merge(&mut self, other: &Self) {
        for (task, lengths) in &other.tasks {
            self.tasks.entry(task.clone()).or_default().merge(lengths);
        }
        self.in_order.merge(&other.in_order);
    }

    /// Each task's lengths, in order of their names.
    pub fn tasks(&self) -> &BTreeMap<String, TaskLengths> {
        &self.tasks
    }

    /// The lengths of all rows.
    pub fn all(&self) -> TaskLengths {
        let mut all = TaskLengths::default();
        self.tasks.values().for_each(|lengths| all.merge(lengths));
        all
    }

    /// How the rows pack in their order, each shard for itself.
    pub fn in_order(&self) -> Packing {
        self.in_order.packing()
    }
}
