use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use semid_tasks::{Part, Side, SideRequest};
use serde::Serialize;

use crate::console::Console;
use crate::materials::Materials;
use crate::output::OutputFile;

/// Write the questions that a language model must answer to make side texts
///
/// JSON lines {"id", "kind", "user", "target", "made_at", "system", "prompt"}, one a user; for
/// intentions one a review. A question shows the history before its horizon and never the item
/// that comes next. Answer each with a line {"id", "text"}, and give the answers to `semid tasks
/// ingest`.
#[derive(Debug, Args)]
pub(crate) struct Requests {
    /// The recipe, TOML
    recipe: PathBuf,
    /// What to ask for: intention, preference, evidence, latent_preference, intent,
    /// rewritten_history
    #[arg(long)]
    kind: Side,
    /// For which part: train, valid, test
    #[arg(long, default_value_t = Part::Train)]
    part: Part,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    kind: Side,
    requests: usize,
}

impl Requests {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let materials = Materials::read(&self.recipe, console)?;
        let seed = materials.recipe.params().seed;
        let context = materials.context();
        let templates = &materials.templates;
        let requests = SideRequest::all(&context, templates, self.kind, self.part, seed)?;
        let mut out = OutputFile::create(&self.out)?;
        for request in &requests {
            serde_json::to_writer(&mut out, request)?;
            out.write_all(b"\n")?;
        }
        out.commit()?;
        console.report(&Report {
            out: self.out.clone(),
            kind: self.kind,
            requests: requests.len(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            out,
            kind,
            requests,
        } = self;
        write!(f, "{}: {requests} requests for {kind}", out.display())
    }
}
