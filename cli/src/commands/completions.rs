use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::console::{Console, print};

/// Print a shell's completion script
///
/// For bash: `semid completions bash > ~/.local/share/bash-completion/completions/semid`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, _console: &Console) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "semid", &mut script);
        print(&script)
    }
}
