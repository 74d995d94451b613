mod gates;
mod inputs;
mod page;
mod report;
mod samples;
mod texts;

pub use gates::Limit;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use clap::Args;
use serde_json::Value;

use crate::artefact::name;
use crate::console::Console;
use crate::output::OutputFile;
use gates::Gates;
use inputs::Inputs;
use report::Report;

/// Tell how good an index is, and fail if it is not good enough
///
/// The index alone tells how evenly each level uses its codes, how the tree branches, and which
/// items collide. --embeddings add the reconstruction error, whether neighbours begin alike, and
/// the nearest and farthest items below some prefixes. --interactions add how well an item's codes
/// can be told from the item before it (the held-out gain, in bits; the last event of each user is
/// held out) and how the traffic falls on items and codes. --items add titles and how pure prefixes
/// are in category: the first part of `categories`, between commas, in which the items differ.
/// Every figure of meaning stands beside that of a shuffled index. docs/algorithms.md has every
/// definition.
///
/// Gates decide the exit status: 1 if one fails. Three are there by default, as far as they can be
/// measured: `unique`, all IDs differ; `recall`, neighbours share their first code more often than
/// in a shuffled index; `gain`, the held-out gain is above the shuffled one. More are set on any
/// number that --json prints, with --gate or in a file:
///
// The manual's examples are no Rust.
#[cfg_attr(doctest, doc = "````text")]
///     [gates]
///     levels_stats.0.perplexity = { at_least = 128 }
///     held_out_gain.bits = { above = 0.6 }
///     purity.0.value = { above = "purity.0.shuffled" }
///     unique = false    # switch a default gate off
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Check {
    /// The index file
    pub index: PathBuf,
    /// The embeddings it was made from
    #[arg(long, value_name = "EMB")]
    pub embeddings: Option<PathBuf>,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS", requires = "embeddings")]
    pub keys: Option<PathBuf>,
    /// The model it was made with [default: least-squares codebooks]
    #[arg(long, value_name = "MODEL", requires = "embeddings")]
    pub model: Option<PathBuf>,
    /// Who did what, in any format that `semid tasks` reads
    #[arg(long, value_name = "INTER")]
    pub interactions: Option<PathBuf>,
    /// The items' titles and categories
    #[arg(long, value_name = "ITEMS")]
    pub items: Option<PathBuf>,
    /// Write the report as one HTML page, with charts
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// A further gate, as --gate 'levels_stats.0.perplexity>=128' or 'collision_rate<0.01'
    #[arg(long, value_name = "LIMIT")]
    pub gate: Vec<Limit>,
    /// Further gates, TOML
    #[arg(long, value_name = "FILE")]
    pub gates: Option<PathBuf>,
    /// Leave out a default gate: `unique`, `recall` or `gain`
    #[arg(long, value_name = "GATE", value_parser = ["unique", "recall", "gain"])]
    pub without: Vec<String>,
    /// Seed of the shuffled controls
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl Check {
    /// The check of an index alone, with the default gates.
    pub fn new(index: PathBuf) -> Self {
        Self {
            index,
            embeddings: None,
            keys: None,
            model: None,
            interactions: None,
            items: None,
            report: None,
            gate: Vec::new(),
            gates: None,
            without: Vec::new(),
            seed: 0,
        }
    }

    /// Checks as `semid check` does, and gives what that prints with `--json`. A gate that fails
    /// is no error here; `ok` tells.
    ///
    /// # Errors
    ///
    /// An input cannot be read or does not fit the others; a gate names a figure that there is
    /// not; it shall `stop`, which is looked at before the page is written.
    pub fn measure(&self, stop: &AtomicBool) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.measured(stop)?)?)
    }

    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let report = self.measured(&AtomicBool::new(false))?;
        console.report(&report)?;
        let failed = report.gates.iter().filter(|gate| !gate.ok);
        let failed: Vec<String> = failed.map(ToString::to_string).collect();
        ensure!(
            report.ok,
            "{} failed {}",
            self.index.display(),
            failed.join("; ")
        );
        Ok(())
    }

    fn measured(&self, stop: &AtomicBool) -> anyhow::Result<Report> {
        let gates = self.gates()?;
        for (name, path) in [("keys", &self.keys), ("model", &self.model)] {
            ensure!(
                path.is_none() || self.embeddings.is_some(),
                "got {name} without embeddings; give those that it is for"
            );
        }
        let page = self.report.as_deref().map(OutputFile::create).transpose()?;
        let going = || {
            ensure!(
                !stop.load(Ordering::Relaxed),
                "stopped; nothing was written"
            );
            Ok(())
        };
        let inputs = Inputs::open(self)?;
        going()?;
        let mut report = Report::of(&inputs, self.seed)?;
        going()?;
        report.gates = gates.hold(&serde_json::to_value(&report)?)?;
        report.ok = report.gates.iter().all(|gate| gate.ok);
        if let Some(mut file) = page {
            file.write_all(page::page(&name(&self.index), &inputs, &report)?.as_bytes())?;
            file.commit()?;
        }
        Ok(report)
    }

    /// The gates of the file and of the command line.
    fn gates(&self) -> anyhow::Result<Gates> {
        let mut gates = match &self.gates {
            Some(path) => Gates::read(path)?,
            None => Gates::default(),
        };
        gates.limits.extend_from_slice(&self.gate);
        gates.without.extend_from_slice(&self.without);
        gates.check()?;
        Ok(gates)
    }
}
