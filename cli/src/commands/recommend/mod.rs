//! A generative recommender: one subcommand a file.

mod compare;
mod course;
mod decoders;
mod eval;
mod folder;
mod item_head;
mod page;
mod query;
mod scratch;
#[cfg(feature = "serve")]
mod serve;
mod train;
mod tune;

use clap::{Args, Subcommand};

use crate::console::Console;

/// Train a generative recommender on an index and histories, and ask it
#[derive(Debug, Args)]
pub(crate) struct Recommend {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Train),
    Eval(eval::Eval),
    Compare(compare::Compare),
    Query(query::Query),
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
}

impl Recommend {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        match &self.command {
            Command::Train(train) => train.run(console),
            Command::Eval(eval) => eval.run(console),
            Command::Compare(compare) => compare.run(console),
            Command::Query(query) => query.run(console),
            #[cfg(feature = "serve")]
            Command::Serve(serve) => serve.run(console),
        }
    }
}
