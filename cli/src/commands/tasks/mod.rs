//! The corpora: one subcommand a file.

mod audit;
mod build;
mod ingest;
mod lint;
mod requests;
mod shards;
mod stats;

pub use build::Build;

use clap::{Args, Subcommand};

use crate::console::Console;

/// Corpora that teach a model what the IDs mean
#[derive(Debug, Args)]
pub(crate) struct Tasks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Build),
    Audit(audit::Audit),
    Stats(stats::Stats),
    Lint(lint::Lint),
    Requests(requests::Requests),
    Ingest(ingest::Ingest),
}

impl Tasks {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        match &self.command {
            Command::Build(build) => build.run(console),
            Command::Audit(audit) => audit.run(console),
            Command::Stats(stats) => stats.run(console),
            Command::Lint(lint) => lint.run(console),
            Command::Requests(requests) => requests.run(console),
            Command::Ingest(ingest) => ingest.run(console),
        }
    }
}
