//! `semid bench`: one file for each part that can be timed.

mod decode;

use clap::{Args, Subcommand};

use crate::console::Console;

/// Time a part of semid on this machine
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    Decode(decode::Decode),
}

impl Bench {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        match &self.part {
            Part::Decode(decode) => decode.run(console),
        }
    }
}
