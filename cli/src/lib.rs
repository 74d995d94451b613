//! The commands of semid: [`main`] for people, and functions for bindings.
//!
//! Every command resolves its arguments, calls a library and prints. Exit
//! status: 0 done, 1 the data or a check failed, 2 wrong usage.

mod artefact;
mod commands;
mod console;
mod corpus;
mod embedding_output;
#[cfg(feature = "embed")]
mod encoder;
mod encoding;
mod events;
mod generation;
mod interactions;
mod map;
mod materials;
mod named;
mod output;
mod progress;
mod scores;
mod share;
#[cfg(feature = "train")]
mod training;
mod tree;
mod watched;

pub use commands::check::{Check, Limit};
pub use commands::tasks::Build;
pub use corpus::RecipeRows;
pub use events::{EventTable, Texts};
pub use share::{
    Counted, Placed, RecipeFiles, RowKeys, ShareRows, Standing, audit_repeats, audit_share,
};

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

/// Semantic IDs for generative recommenders: from item texts to
/// collision-free code sequences, and back from a model's codes to items.
#[derive(Debug, Parser)]
#[command(name = "semid", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
    #[command(flatten)]
    console: console::Console,
}

/// Runs the command that was typed.
pub fn main() -> ExitCode {
    #[cfg(feature = "train")]
    training::quiet_about_memory();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    output::discard_unfinished_on_interrupt()?;
    cli.console.start_threads()?;
    cli.command.run(&cli.console)
}

/// Prints the error and gives the status that goes with it.
fn fail(error: anyhow::Error) -> ExitCode {
    match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) => {
            console::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// An error in what was typed (exit status 2) that clap itself cannot see.
fn usage_error(message: impl std::fmt::Display) -> anyhow::Error {
    Cli::command()
        .error(ErrorKind::ValueValidation, message)
        .into()
}
