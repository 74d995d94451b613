//! The commands, one file each. A new one is a `mod` line and a line in the list below.

mod add;
mod bench;
pub(crate) mod check;
mod classic;
mod completions;
mod decode;
mod diff;
#[cfg(feature = "embed")]
mod embed;
mod eval;
mod export;
mod fuse;
mod import;
mod index;
mod inspect;
mod rebuild;
#[cfg(feature = "train")]
mod recommend;
mod remove;
pub(crate) mod tasks;
#[cfg(feature = "train")]
mod train;
mod users;
mod verify;

use clap::Subcommand;

use crate::console::Console;

/// Makes the subcommands out of `Name(arguments)` pairs; the documentation of
/// the arguments is the command's help, their method `run` is the command.
macro_rules! commands {
    ($($(#[$condition:meta])* $name:ident($arguments:ty),)*) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$condition])* $name($arguments),)*
        }

        impl Command {
            pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
                match self {
                    $($(#[$condition])* Self::$name(arguments) => arguments.run(console),)*
                }
            }
        }
    };
}

commands! {
    #[cfg(feature = "embed")]
    Embed(embed::Embed),
    Fuse(fuse::Fuse),
    Users(users::Users),
    Classic(classic::Classic),
    #[cfg(feature = "train")]
    Train(train::Train),
    Index(index::Index),
    Add(add::Add),
    Remove(remove::Remove),
    Rebuild(rebuild::Rebuild),
    Diff(diff::Diff),
    Check(check::Check),
    Inspect(inspect::Inspect),
    Import(import::Import),
    Export(export::Export),
    Verify(verify::Verify),
    Decode(decode::Decode),
    Eval(eval::Eval),
    Tasks(tasks::Tasks),
    #[cfg(feature = "train")]
    Recommend(recommend::Recommend),
    Bench(bench::Bench),
    Completions(completions::Completions),
}
