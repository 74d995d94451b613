use std::fmt;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use semid_tasks::Templates;
use serde::Serialize;

use crate::console::Console;
use crate::materials::overlay;

/// Check a folder of templates
///
/// Errors stop at once, with file, line and template: unknown slots, slots that are not declared,
/// answers that the prompt tells, names that come twice. Doubts are listed: templates that are
/// nearly alike, white space at the ends of lines. Exit status 1 if there is either.
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The folder, with a file TASK.toml for each task; without it the builtin templates
    folder: Option<PathBuf>,
    /// The locale whose builtin templates stand where the folder has none
    #[arg(long, default_value = "en")]
    locale: String,
}

#[derive(Debug, Serialize)]
struct Report {
    templates: usize,
    findings: Vec<String>,
}

impl Lint {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let mut templates = Templates::builtin(&self.locale)?;
        if let Some(folder) = &self.folder {
            overlay(&mut templates, folder)?;
        }
        let findings: Vec<String> = templates.lint().iter().map(ToString::to_string).collect();
        let count = findings.len();
        console.report(&Report {
            templates: Templates::tasks()
                .map(|task| templates.of(task).len())
                .sum(),
            findings,
        })?;
        ensure!(count == 0, "{count} templates are doubtful");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{} templates, {} findings",
            self.templates,
            self.findings.len()
        )
    }
}
