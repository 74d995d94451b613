//! The small files beside the shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use indexmap::IndexSet;
use semantic_id::{Code, CodeSpace, TokenFormat};
use serde_json::{Value, json};

use super::columns::{Column, Kind};
use super::{Container, RowFormat, Shard};
use crate::Part;

/// What a corpus tells about itself: its `README.md`, from which `datasets.load_dataset(FOLDER)`
/// and the Hub learn the files of each split and the types of the columns.
///
/// Types must be told: where the first rows lack a user, a reader that guesses them from those
/// refuses the rest.
#[derive(Debug)]
pub struct DatasetCard<'a> {
    /// A title for people.
    pub title: &'a str,
    /// The columns.
    pub format: RowFormat,
    /// The kind of files.
    pub container: Container,
    /// The files.
    pub shards: &'a [Shard],
}

impl fmt::Display for DatasetCard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            title,
            format,
            container,
            ..
        } = self;
        writeln!(f, "---\nconfigs:\n- config_name: default\n  data_files:")?;
        for part in parts(self.shards) {
            writeln!(
                f,
                "  - split: {}\n    path: {part}/*.{container}",
                split(part)
            )?;
        }
        if let Some(columns) = format.columns(*container) {
            write!(f, "dataset_info:\n  features:\n{}", features(&columns, 2))?;
        }
        writeln!(
            f,
            "tags:\n- recommendation\n- semantic-ids\n---\n\n# {title}\n"
        )?;
        writeln!(
            f,
            "Rows of the format `{format}`. `provenance` says of each which task and template it \
             is of, which sample, and which events of which user it has read.\n"
        )?;
        writeln!(f, "| part | files | rows | bytes |\n|---|---:|---:|---:|")?;
        for part in parts(self.shards) {
            let of_part = || self.shards.iter().filter(move |shard| is_of(shard, part));
            let rows: u64 = of_part().map(|shard| shard.rows).sum();
            let bytes: u64 = of_part().map(|shard| shard.bytes).sum();
            writeln!(f, "| {part} | {} | {rows} | {bytes} |", of_part().count())?;
        }
        let mut counts = BTreeMap::<&str, u64>::new();
        for (name, count) in self.shards.iter().flat_map(|shard| &shard.counts) {
            *counts.entry(name).or_default() += count;
        }
        writeln!(f, "\n| | |\n|---|---:|")?;
        counts
            .iter()
            .try_for_each(|(name, count)| writeln!(f, "| {name} | {count} |"))?;
        writeln!(
            f,
            "\n`recipe.toml` is what it was made from, `manifest.json` has the hash of each file."
        )
    }
}

/// LLaMA-Factory's list of data sets: one a part, each a folder.
pub fn dataset_info(name: &str, shards: &[Shard]) -> Value {
    let entry = |part: Part| {
        let columns = json!({
            "prompt": "instruction", "query": "input", "response": "output", "system": "system",
        });
        let entry =
            json!({ "file_name": part.to_string(), "formatting": "alpaca", "columns": columns });
        (format!("{name}_{part}"), entry)
    };
    parts(shards).into_iter().map(entry).collect()
}

/// All tokens of an index, whether an item uses them yet or not: those around an ID, then those
/// of each level, by code.
pub fn new_tokens(format: &TokenFormat, space: &CodeSpace) -> Vec<String> {
    let around = [format.begin(), format.end()].map(str::to_owned);
    let codes = (0..space.levels()).flat_map(|level| {
        (0..space.size(level)).map(move |code| format.token(level, Code(code as u16)))
    });
    let tokens: IndexSet<String> = around
        .into_iter()
        .filter(|token| !token.is_empty())
        .chain(codes)
        .collect();
    tokens.into_iter().collect()
}

/// The parts that have files, in order.
fn parts(shards: &[Shard]) -> BTreeSet<Part> {
    let of = |shard: &Shard| Part::ALL.into_iter().find(|&part| is_of(shard, part));
    shards.iter().filter_map(of).collect()
}

fn is_of(shard: &Shard, part: Part) -> bool {
    shard.file.split('/').next() == Some(&*part.to_string())
}

/// The Hub's word for a part.
fn split(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Valid => "validation",
        Part::Test => "test",
    }
}

/// Columns as the Hub's YAML lists them.
fn features(columns: &[Column], indent: usize) -> String {
    let mut yaml = String::new();
    for &Column(name, kind) in columns {
        let pad = " ".repeat(indent);
        writeln!(yaml, "{pad}- name: {name}").expect("memory takes text");
        let more = match kind {
            Kind::Text => "dtype: string\n".to_owned(),
            Kind::Integer => "dtype: int64\n".to_owned(),
            Kind::Texts => "list: string\n".to_owned(),
            Kind::Integers => "list: int64\n".to_owned(),
            Kind::Object(columns) => format!("struct:\n{}", features(columns, indent + 2)),
            Kind::Objects(columns) => format!("list:\n{}", features(columns, indent + 2)),
        };
        yaml.push_str(&format!("{pad}  {more}"));
    }
    yaml
}
