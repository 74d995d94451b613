use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::sync::Mutex;

use indexmap::IndexSet;
use rayon::prelude::*;
use serde::Serialize;
use tempfile::SpooledTempFile;

use crate::stored::StoredRow;
use crate::{Error, Result};

/// Files that rows are spread over by their hash.
const PARTITIONS: usize = 64;

/// Bytes of a partition that are held in memory before they go to a temporary file.
const SPOOL: usize = 1 << 20;

/// Rows that a shard collects before it hands them over.
const BATCH: usize = 1 << 15;

/// Finds rows with one prompt, by hashes: 24 bytes a row.
///
/// Rows are spread by the hash of their prompt over 64 temporary files, which stay in memory up
/// to 64 MiB in all; at the end each is sorted alone, one a thread. So memory is 64 MiB and a
/// 64th of the rows' bytes a thread: 38 MB each for 100 million rows. Two prompts are taken for
/// one with a chance of 2^-128 a pair, two answers to one prompt with 2^-32.
#[derive(Debug)]
pub(super) struct Repeats {
    partitions: Vec<Mutex<SpooledTempFile>>,
    tasks: Mutex<IndexSet<String>>,
}

/// Two words of the prompt, one of answer (32 bits), rejected answers (16) and task (16).
type Record = [u64; 3];

/// Rows of one part with the same prompt and different answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Contradictions {
    /// Prompts with several different answers.
    pub prompts: u64,
    /// Rows with such a prompt.
    pub rows: u64,
    /// Their share of all rows.
    pub share: f64,
    /// Their numbers, by task.
    pub by_task: BTreeMap<String, u64>,
}

/// Rows of one part with the same prompt, answer and rejected answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RepeatedRows {
    /// Such rows, each first one not counted.
    pub rows: u64,
    /// Their share of all rows.
    pub share: f64,
    /// Their numbers, by task.
    pub by_task: BTreeMap<String, u64>,
}

/// A shard's rows on their way to [`Repeats`].
#[derive(Debug)]
pub(super) struct Batch<'a> {
    repeats: &'a Repeats,
    records: Vec<Record>,
    tasks: BTreeMap<String, u16>,
}

impl Repeats {
    pub(super) fn new() -> Self {
        let partition = |_| Mutex::new(SpooledTempFile::new(SPOOL));
        Self {
            partitions: (0..PARTITIONS).map(partition).collect(),
            tasks: Mutex::default(),
        }
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            repeats: self,
            records: Vec::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// What is the same in all rows that were handed over.
    pub(super) fn finish(self) -> Result<(Contradictions, RepeatedRows)> {
        let counts = self.partitions.into_par_iter().map(|partition| {
            let mut bytes = Vec::new();
            let mut file = partition.into_inner().expect("no thread panicked");
            let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
            read.map_err(Error::Spill)?;
            let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
            let (words, _) = bytes.as_chunks();
            let (records, _) = words.as_chunks::<3>();
            let mut records: Vec<Record> = records.iter().map(|r| r.each_ref().map(word)).collect();
            Result::Ok(Counts::of(&mut records))
        });
        let counts = counts.try_reduce(Counts::default, |a, b| Ok(a.merged(b)))?;
        let tasks = self.tasks.into_inner().expect("no thread panicked");
        let named = |by_task: BTreeMap<u16, u64>| {
            let by_task = by_task.into_iter();
            by_task
                .map(|(task, rows)| (tasks[task as usize].clone(), rows))
                .collect()
        };
        let share = |rows: u64| rows as f64 / counts.rows.max(1) as f64;
        let against = counts.against.values().sum();
        let again = counts.again.values().sum();
        let contradictions = Contradictions {
            prompts: counts.prompts,
            rows: against,
            share: share(against),
            by_task: named(counts.against),
        };
        let duplicates = RepeatedRows {
            rows: again,
            share: share(again),
            by_task: named(counts.again),
        };
        Ok((contradictions, duplicates))
    }

    fn task(&self, name: &str) -> u16 {
        let mut tasks = self.tasks.lock().expect("no thread panicked");
        let (task, _) = match tasks.len() <= usize::from(u16::MAX) {
            true => tasks.insert_full(name.to_owned()),
            // Names come from a file that may be hostile: those beyond share the last number.
            false => (
                tasks.get_index_of(name).unwrap_or(usize::from(u16::MAX)),
                false,
            ),
        };
        task as u16
    }

    fn add(&self, records: &mut Vec<Record>) -> Result<()> {
        let partition = |record: &Record| record[0] as usize % PARTITIONS;
        records.sort_unstable_by_key(partition);
        for run in records.chunk_by(|a, b| partition(a) == partition(b)) {
            let words = run.iter().flatten();
            let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
            let file = &self.partitions[partition(&run[0])];
            let mut file = file.lock().expect("no thread panicked");
            file.write_all(&bytes).map_err(Error::Spill)?;
        }
        records.clear();
        Ok(())
    }
}

impl Batch<'_> {
    pub(super) fn add(&mut self, row: &StoredRow<'_>) -> Result<()> {
        let name = &*row.provenance.task;
        let task = match self.tasks.get(name) {
            Some(&task) => task,
            None => {
                let task = self.repeats.task(name);
                self.tasks.insert(name.to_owned(), task);
                task
            }
        };
        self.records.push(record(row, task));
        match self.records.len() {
            BATCH => self.repeats.add(&mut self.records),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.repeats.add(&mut self.records)
    }
}

fn record(row: &StoredRow<'_>, task: u16) -> Record {
    let part = row.provenance.part as u8;
    let hash = |text: &str| {
        let hash = blake3::Hasher::new()
            .update(&[part])
            .update(text.as_bytes())
            .finalize();
        u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    };
    // Slots in place of texts: all of them are the prompt.
    let asked = if row.prompt.is_empty() {
        row.answer
    } else {
        row.prompt
    };
    let [prompt, answer, rejected] = [asked, row.answer, row.rejected].map(hash);
    let last = (answer as u64) << 32 | (rejected as u64 & 0xffff) << 16 | u64::from(task);
    [prompt as u64, (prompt >> 64) as u64, last]
}

#[derive(Default)]
struct Counts {
    rows: u64,
    prompts: u64,
    against: BTreeMap<u16, u64>,
    again: BTreeMap<u16, u64>,
}

impl Counts {
    fn of(records: &mut [Record]) -> Self {
        records.sort_unstable();
        let mut counts = Self {
            rows: records.len() as u64,
            ..Self::default()
        };
        let answer = |record: &Record| record[2] >> 32;
        let words = |record: &Record| record[2] >> 16;
        let task = |record: &Record| record[2] as u16;
        for same in records.chunk_by(|a, b| a[..2] == b[..2]) {
            for [a, b] in same.array_windows() {
                if words(a) == words(b) {
                    *counts.again.entry(task(b)).or_default() += 1;
                }
            }
            if same.iter().any(|record| answer(record) != answer(&same[0])) {
                counts.prompts += 1;
                for record in same {
                    *counts.against.entry(task(record)).or_default() += 1;
                }
            }
        }
        counts
    }

    fn merged(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.prompts += other.prompts;
        for (to, from) in [
            (&mut self.against, other.against),
            (&mut self.again, other.again),
        ] {
            for (task, rows) in from {
                *to.entry(task).or_default() += rows;
            }
        }
        self
    }
}
