use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use semid_tasks::{Ingested, SideRequest};
use serde::Serialize;

use crate::console::Console;
use crate::map;
use crate::materials::Materials;
use crate::output::OutputFile;

/// Make side texts of a language model's answers
///
/// ANSWERS has a line {"id", "text"} for each request. Answers that are empty, and those that name
/// the item which the model was not told, are left out and counted. The result goes into the
/// recipe's inputs.side_texts.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// The recipe, TOML
    recipe: PathBuf,
    /// The answers, JSONL
    answers: PathBuf,
    /// The requests, as `semid tasks requests` wrote them
    #[arg(long, value_name = "FILE")]
    requests: PathBuf,
    /// The file of side texts to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    #[serde(flatten)]
    ingested: Ingested,
}

impl Ingest {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let mut out = OutputFile::create(&self.out)?;
        let materials = Materials::read(&self.recipe, console)?;
        let bytes = map::open(&self.requests)?;
        let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
        let lines = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
        let requests = lines.map(|(line, number)| {
            let place = || format!("{}, line {number}", self.requests.display());
            serde_json::from_slice(line).with_context(place)
        });
        let requests: Vec<SideRequest> = requests.collect::<anyhow::Result<_>>()?;
        let file = self.answers.display().to_string();
        let answers = map::open(&self.answers)?;
        let context = materials.context();
        let (records, ingested) = SideRequest::ingest(&requests, &file, &answers, &context)?;
        for record in &records {
            serde_json::to_writer(&mut out, record)?;
            out.write_all(b"\n")?;
        }
        out.commit()?;
        console.report(&Report {
            out: self.out.clone(),
            ingested,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ingested {
            taken,
            empty,
            name_the_target,
            unanswered,
        } = self.ingested;
        write!(
            f,
            "{}: {taken} side texts; {empty} answers were empty, {name_the_target} named the item \
             that the model was not told, {unanswered} requests have no answer",
            self.out.display()
        )
    }
}
