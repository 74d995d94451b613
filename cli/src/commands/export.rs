use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use semantic_id::interchange::Table;
use serde::Serialize;

use crate::artefact::{TableFormat, open_index};
use crate::console::Console;
use crate::output::OutputFile;

/// Write an index in another tool's format
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The index file
    index: PathBuf,
    /// The format to write
    #[arg(long)]
    format: TableFormat,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    items: usize,
    bytes: usize,
}

impl Export {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let mut output = OutputFile::create(&self.out)?;
        let table = Table::of(&open_index(&self.index, false)?)?;
        let bytes = self.format.write(&table)?;
        output.write_all(&bytes)?;
        output.commit()?;
        let (items, bytes) = (table.keys().len(), bytes.len());
        console.report(&Report {
            out: self.out.clone(),
            items,
            bytes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} items, {} bytes",
            self.out.display(),
            self.items,
            self.bytes
        )
    }
}
