use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use semantic_id::Manifest;
use serde::Serialize;
use serde_json::json;

use crate::artefact::{TableFormat, name, open_table};
use crate::console::Console;
use crate::output::OutputFile;

/// Make an index file of another tool's index
///
/// Takes the IDs as they are. Where items share one, the result is a capacity index, which
/// `semid check` fails; `semid index --draft` repairs it.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The other tool's file
    file: PathBuf,
    /// Its format [default: told by content]
    #[arg(long)]
    format: Option<TableFormat>,
    /// The index file to write
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,
    /// Codes a level [default: 256, or the next power of two above the largest]
    #[arg(long, value_name = "K")]
    codes: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    items: usize,
    unique: usize,
    levels: usize,
    sizes: Vec<u32>,
}

impl Import {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let mut output = OutputFile::create(&self.out)?;
        let (table, digest) = open_table(&self.file, self.format, self.codes)?;
        let mut manifest = Manifest::new("import", json!({ "codes": self.codes }));
        manifest.inputs.insert(name(&self.file), digest);
        let report = Report {
            out: self.out.clone(),
            items: table.keys().len(),
            unique: table.codes().unique(),
            levels: table.space().levels(),
            sizes: table.space().sizes().to_vec(),
        };
        manifest
            .counts
            .insert("items".to_owned(), report.items as u64);
        manifest
            .counts
            .insert("unique".to_owned(), report.unique as u64);
        output.write_all(table.build(manifest)?.bytes())?;
        output.commit()?;
        console.report(&report)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} items, {} distinct IDs of {} levels",
            self.out.display(),
            self.items,
            self.unique,
            self.levels
        )?;
        if self.unique < self.items {
            write!(
                f,
                "\n{} items share an ID with an earlier one",
                self.items - self.unique
            )?;
        }
        Ok(())
    }
}
