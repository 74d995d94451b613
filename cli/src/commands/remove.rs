use std::fmt;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use semantic_id::Change;
use serde::Serialize;
use serde_json::json;

use crate::artefact::{listed_keys, some_keys};
use crate::console::Console;
use crate::generation::{Generation, Published};
use crate::output::OutputFile;

/// Take items out of a published index, and leave all others as they are
///
/// A removed item is not offered, found or exported any more. It keeps its row, and its ID is
/// never given to another, so that a model that has learnt the ID cannot mean a stranger by it;
/// `semid add` brings it back under that ID.
///
/// With --free the items are gone, and `semid add` may give their IDs to others. The rows after
/// theirs then move up by as many: whoever holds row numbers must look up the keys again.
///
/// OUT is the next generation; beside it, OUT.delta-GENERATION.json holds the change alone. Both
/// appear whole or not at all, so OUT may be INDEX.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The index file
    index: PathBuf,
    /// Keys of the items to remove
    #[arg(value_name = "KEY", required_unless_present = "keys")]
    given: Vec<String>,
    /// A file with more of them, one a line
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The index file to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Forget the items, removed ones too, and let others have their IDs
    #[arg(long)]
    free: bool,
    /// Pass over keys that the index does not know, or that were removed before
    #[arg(long)]
    ignore_unknown: bool,
}

/// What `remove` reports.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    generation: Generation,
    removed: usize,
    freed: usize,
    /// Keys that were passed over.
    unknown: usize,
    removed_before: usize,
}

/// The given keys, by what the index knows of them.
#[derive(Default)]
struct Sorted {
    known: Vec<String>,
    unknown: Vec<String>,
    removed_before: Vec<String>,
}

impl Remove {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let output = OutputFile::create(&self.out)?;
        let published = Published::open(&self.index)?;
        let sorted = self.sorted(&published)?;
        let index = self.index.display();
        let (unknown, before) = (&sorted.unknown, &sorted.removed_before);
        ensure!(
            self.ignore_unknown || unknown.is_empty(),
            "{} of the keys are not in {index}: {}; leave them out, or say --ignore-unknown",
            unknown.len(),
            some_keys(unknown)
        );
        ensure!(
            self.ignore_unknown || before.is_empty(),
            "{} of the items were removed from {index} before: {}; leave them out, say \
             --ignore-unknown, or give up their IDs with --free",
            before.len(),
            some_keys(before)
        );
        let mut change = Change::default();
        match self.free {
            true => change.freed = sorted.known,
            false => change.removed = sorted.known,
        }
        let report = Report {
            removed: change.removed.len(),
            freed: change.freed.len(),
            unknown: unknown.len(),
            removed_before: before.len(),
            generation: published.publish(
                output,
                &self.out,
                change,
                published.capacity().get() as usize,
                published.manifest("remove", json!({ "free": self.free })),
            )?,
        };
        console.report(&report)
    }

    fn sorted(&self, published: &Published) -> anyhow::Result<Sorted> {
        let mut keys = self.given.clone();
        if let Some(file) = &self.keys {
            keys.extend(listed_keys(file)?);
        }
        // A key that is given twice is no mistake.
        keys.sort_unstable();
        keys.dedup();
        let mut sorted = Sorted::default();
        for key in keys {
            match published.index.find(&key)? {
                None => sorted.unknown.push(key),
                Some(item) if self.free || published.index.is_alive(item)? => {
                    sorted.known.push(key);
                }
                Some(_) => sorted.removed_before.push(key),
            }
        }
        Ok(sorted)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{} items removed", self.generation, self.removed)?;
        if self.freed > 0 {
            write!(f, ", {} forgotten", self.freed)?;
        }
        write!(
            f,
            "; passed over {} unknown keys and {} removed before",
            self.unknown, self.removed_before
        )
    }
}
