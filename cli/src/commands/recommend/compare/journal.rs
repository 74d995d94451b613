//! What trainings have told so far, a line each.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use semantic_id::Digest;
use semid_tasks::metrics::{List, Metric, Scores};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contender::Contender;

/// Items that are recommended to each user.
pub(super) const CUTOFF: u8 = 10;

/// What a recommender is measured by.
pub(super) const METRICS: [Metric; 2] = [
    Metric::HitRate(CUTOFF as usize),
    Metric::Ndcg(CUTOFF as usize),
];

/// A training that is over, and what its recommender found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    /// Digest of the index.
    pub(super) index: Digest,
    pub(super) name: String,
    pub(super) levels: usize,
    pub(super) seed: u64,
    /// All else that the figures depend on.
    pub(super) settings: Value,
    pub(super) parameters: usize,
    pub(super) epochs_run: usize,
    pub(super) best_epoch: usize,
    pub(super) validation: Option<f64>,
    /// Of the sitting that ended it.
    pub(super) seconds: f64,
    /// Of each user how many items were recommended before the one that came next, [`CUTOFF`] at
    /// most.
    pub(super) places: Vec<u8>,
}

impl Run {
    /// What each user's list is worth by [`METRICS`].
    pub(super) fn scores(&self) -> Scores {
        let rows: Vec<u32> = (0..CUTOFF.into()).collect();
        let list = List::of_items(&rows);
        let targets: Vec<[u32; 1]> = self.places.iter().map(|&place| [place.into()]).collect();
        let users: Vec<(&List, &[u32])> = targets.iter().map(|row| (&list, &row[..])).collect();
        Scores::of(METRICS.to_vec(), &users)
    }
}

/// The file `journal.jsonl` of a folder, which is this process's alone.
pub(super) struct Journal<S> {
    file: File,
    path: PathBuf,
    runs: Vec<Run>,
    settings: S,
}

impl<S: Fn(usize, u64) -> anyhow::Result<Value>> Journal<S> {
    /// Opens a folder's journal, or begins one; `settings` are those of an index of so many levels
    /// and a seed, and every line must have been written with them.
    pub(super) fn open(folder: &Path, settings: S) -> anyhow::Result<Self> {
        let path = folder.join("journal.jsonl");
        let cannot = || format!("cannot write {}", path.display());
        let is_empty = || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(
            !folder.exists() || path.exists() || is_empty(),
            "{} is there and has no journal.jsonl, so no comparison wrote it; choose another name",
            folder.display()
        );
        fs::create_dir_all(folder).with_context(cannot)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        let mut file = options.open(&path).with_context(cannot)?;
        // Where files cannot be locked, nobody is kept from harm.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("{}: another process is at work here", path.display());
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(cannot)?;
        // A line without an end is one that a killed process was writing.
        let whole = text.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        file.set_len(whole as u64).with_context(cannot)?;
        let mut journal = Self {
            file,
            path,
            runs: Vec::new(),
            settings,
        };
        let lines = text[..whole].split_inclusive(|&byte| byte == b'\n');
        for (number, line) in lines.enumerate() {
            let run = journal.read(line);
            let run =
                run.with_context(|| format!("{}, line {}", journal.path.display(), number + 1));
            journal.runs.push(run?);
        }
        Ok(journal)
    }

    fn read(&self, line: &[u8]) -> anyhow::Result<Run> {
        let run: Run = serde_json::from_slice(line)
            .context("it is no training of this version's; choose another folder")?;
        let now = self.settings(run.levels, run.seed)?;
        if let Some((name, was, is)) = difference("", &run.settings, &now) {
            bail!(
                "it was written with other settings: {name} was {was}, now it is {is}; give the \
                 same settings, or another folder"
            );
        }
        Ok(run)
    }

    /// What a training depends on beside its index, as lines have it.
    pub(super) fn settings(&self, levels: usize, seed: u64) -> anyhow::Result<Value> {
        (self.settings)(levels, seed)
    }

    /// What became of a training, if it is over.
    pub(super) fn find(&self, contender: &Contender, seed: u64) -> anyhow::Result<Option<&Run>> {
        let digest = contender.index().digest();
        let mut runs = self.runs.iter().rev();
        let found = runs.find(|run| run.index == digest && run.seed == seed);
        if let Some(run) = found {
            ensure!(
                run.places.len() == contender.users(),
                "{} tells of {} users, there are {}; choose another folder",
                self.path.display(),
                run.places.len(),
                contender.users()
            );
        }
        Ok(found)
    }

    /// Writes a line; when this returns it is on the disk.
    pub(super) fn enter(&mut self, run: Run) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&run)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        let written = written.and_then(|()| self.file.sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.runs.push(run);
        Ok(())
    }
}

/// The first value that is not the same, by its name, in both.
fn difference(name: &str, was: &Value, is: &Value) -> Option<(String, Value, Value)> {
    let (Value::Object(old), Value::Object(new)) = (was, is) else {
        return (was != is).then(|| (name.to_owned(), was.clone(), is.clone()));
    };
    let mut keys = old.keys().chain(new.keys());
    keys.find_map(|key| {
        let name = match name {
            "" => key.clone(),
            _ => format!("{name}.{key}"),
        };
        let value = |of: &serde_json::Map<_, _>| of.get(key).cloned().unwrap_or(Value::Null);
        difference(&name, &value(old), &value(new))
    })
}
