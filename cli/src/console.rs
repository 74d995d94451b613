//! What every command shares: the common options, and the ways to speak.
//!
//! Results go to stdout. Progress and notes go to stderr, and only to a person:
//! never into a pipe, never with `--quiet`.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::num::NonZeroUsize;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

/// The options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Console {
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress and no notes
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Threads to work with [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl Console {
    /// Nobody watches.
    pub(crate) fn silent() -> Self {
        Self {
            json: false,
            quiet: true,
            threads: None,
        }
    }

    /// Starts the pool of worker threads; called once.
    pub(crate) fn start_threads(&self) -> anyhow::Result<()> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.map_or(0, NonZeroUsize::get))
            .build_global()
            .context("cannot start the worker threads")
    }

    /// Whether a person is watching stderr and wants to be told.
    pub(crate) fn is_watched(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Tells the person something beside the result.
    pub(crate) fn note(&self, message: impl Display) {
        if self.is_watched() {
            // A note that cannot be shown is no reason to stop.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// Tells what happened to whoever keeps the log of a service, a person or a file.
    #[cfg(feature = "serve")]
    pub(crate) fn log(&self, message: impl Display) {
        if !self.quiet {
            // A log that cannot be written is no reason to stop.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// Prints a command's result: its text, or with `--json` its object.
    pub(crate) fn report<R: Display + Serialize>(&self, report: &R) -> anyhow::Result<()> {
        let mut text = if self.json {
            serde_json::to_string(report)?
        } else {
            report.to_string()
        };
        text.push('\n');
        print(text.as_bytes())
    }
}

/// Writes to stdout. A reader that has gone (`| head`) changes nothing about
/// the result, so it is no error.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints why a command failed, from the outermost circumstance to the cause.
pub(crate) fn print_error(error: &anyhow::Error) {
    // Without a stderr the exit status still tells.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
