use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use semantic_id::{Digest, Manifest};
use semid_tasks::{
    CorpusFolder, DatasetCard, Folder, Part, RowFormat, RowWriter, dataset_info, new_tokens,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::console::Console;
use crate::corpus::CorpusSource;
use crate::materials::Materials;
use crate::output::{OutputFile, discard_unfinished};
use crate::progress;

/// Build a corpus from a recipe
///
/// The folder gets a folder of shards for each part, split.jsonl (for each user what is held out:
/// also the truth of `semid eval`), the recipe, a dataset card and a manifest. The bytes depend on
/// the recipe and its inputs alone, not on threads. A build that was killed goes on where it was:
/// finished shards are kept.
///
/// Files are named from the folder of the recipe. docs/recipes.md has every table and key.
#[derive(Debug, Args)]
pub struct Build {
    /// The recipe, TOML
    recipe: PathBuf,
    /// The folder to write
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Make all rows and write none: what would come out, and how fast
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Seed, instead of the recipe's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<PathBuf>,
    rows: BTreeMap<String, u64>,
    skipped: BTreeMap<String, u64>,
    truncated: BTreeMap<String, u64>,
    seconds: f64,
    seconds_reading: f64,
    bytes: u64,
    files: Vec<String>,
    inputs: serde_json::Value,
    peak_rss: Option<u64>,
}

/// Told of the number of places of a part, and then of those that are done.
type Progress<'p> = dyn Fn(u64) -> Box<dyn Fn(u64) -> semid_tasks::Result<()> + Sync + 'p> + 'p;

impl Build {
    /// The corpus of a recipe; without `out` it is made and not written.
    pub fn new(recipe: PathBuf, out: Option<PathBuf>, seed: Option<u64>) -> Self {
        Self {
            recipe,
            dry_run: out.is_none(),
            out,
            seed,
        }
    }

    /// Builds it as `semid tasks build` does, and gives what that prints with `--json`. It ends
    /// early, with an error, once it shall `stop`; the same build then goes on where it was.
    ///
    /// # Errors
    ///
    /// Those of the recipe, of its inputs and of the folder.
    pub fn report(&self, stop: &AtomicBool) -> anyhow::Result<Value> {
        let advance = |_| match stop.load(Ordering::Relaxed) {
            true => Err(semid_tasks::Error::Stopped),
            false => Ok(()),
        };
        let report = self.made(&Console::silent(), stop, &|_| Box::new(advance))?;
        Ok(serde_json::to_value(report)?)
    }

    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let never = AtomicBool::new(false);
        let report = self.made(console, &never, &|places| {
            let bar = progress::bar(console, "making rows", places as usize);
            Box::new(move |places| {
                bar.inc(places);
                Ok(())
            })
        })?;
        console.report(&report)
    }

    fn made(
        &self,
        console: &Console,
        stop: &AtomicBool,
        progress: &Progress<'_>,
    ) -> anyhow::Result<Report> {
        let start = Instant::now();
        let source = CorpusSource::open(&self.recipe, self.seed, console)?;
        let seconds_reading = start.elapsed().as_secs_f64();
        if stop.load(Ordering::Relaxed) {
            // Nothing has been touched so far.
            return Err(semid_tasks::Error::Stopped.into());
        }
        let report = match &self.out {
            Some(out) => self.build(&source, DiskFolder::open(out)?, progress)?,
            None => self.build(&source, Nowhere, progress)?,
        };
        Ok(Report {
            out: self.out.clone(),
            seconds: start.elapsed().as_secs_f64(),
            seconds_reading,
            peak_rss: crate::artefact::peak_rss(),
            ..report
        })
    }

    fn build<F: Folder>(
        &self,
        source: &CorpusSource,
        folder: F,
        progress: &Progress<'_>,
    ) -> anyhow::Result<Report> {
        let materials = &source.materials;
        let params = materials.recipe.params();
        let mut manifest = Manifest::new("tasks build", json!(params));
        manifest.seed = Some(source.seed);
        manifest.inputs = materials.inputs.clone();
        manifest.results = json!({
            "inputs": materials.done,
            "time_leakage": materials.split.leakage(&materials.histories),
        });
        let identity = serde_json::to_vec(&(&manifest, &materials.text))?;
        let mut folder = CorpusFolder::open(folder, Digest::of(&identity))?;

        let context = materials.context();
        for part in materials.recipe.parts() {
            let corpus = source.corpus(&context, part)?;
            let advance = progress(corpus.len());
            let per_shard = params.output.samples_per_shard;
            corpus.write(part, &source.writer, per_shard, &mut folder, &*advance)?;
        }
        self.beside(materials, &source.writer, &mut folder)?;
        let report = report(&folder, materials);
        folder.finish(manifest)?;
        Ok(report)
    }

    /// Writes the files beside the shards.
    fn beside<F: Folder>(
        &self,
        materials: &Materials,
        rows: &RowWriter,
        folder: &mut CorpusFolder<F>,
    ) -> anyhow::Result<()> {
        folder.file("recipe.toml", materials.text.as_bytes())?;
        folder.lines("split.jsonl", |file| materials.write_split(file))?;
        let name = self
            .recipe
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let shards = folder.shards().to_vec();
        if rows.format() == RowFormat::LlamaFactory {
            let info = serde_json::to_vec_pretty(&dataset_info(&name, &shards))?;
            folder.file("dataset_info.json", &info)?;
        }
        let index = &materials.index;
        let tokens = new_tokens(index.token_format(), index.space());
        folder.file("new_tokens.json", &serde_json::to_vec_pretty(&tokens)?)?;
        let card = DatasetCard {
            title: &name,
            format: rows.format(),
            container: rows.container(),
            shards: &shards,
        };
        folder.file("README.md", card.to_string().as_bytes())?;
        Ok(())
    }
}

fn report<F: Folder>(folder: &CorpusFolder<F>, materials: &Materials) -> Report {
    let mut report = Report {
        out: None,
        rows: BTreeMap::new(),
        skipped: BTreeMap::new(),
        truncated: BTreeMap::new(),
        seconds: 0.0,
        seconds_reading: 0.0,
        bytes: folder.shards().iter().map(|shard| shard.bytes).sum(),
        files: folder
            .shards()
            .iter()
            .map(|shard| shard.file.clone())
            .collect(),
        inputs: json!(materials.done),
        peak_rss: None,
    };
    for (name, count) in folder.shards().iter().flat_map(|shard| &shard.counts) {
        let (kind, name) = name.split_once('.').unwrap_or(("rows", name));
        let counts = match kind {
            "skipped" => &mut report.skipped,
            "truncation" => &mut report.truncated,
            _ => &mut report.rows,
        };
        *counts.entry(name.to_owned()).or_default() += count;
    }
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: u64 = self.rows.values().sum();
        for (task, rows) in &self.rows {
            writeln!(f, "{rows:>12}  {task}")?;
        }
        for (reason, count) in &self.skipped {
            writeln!(f, "{count:>12}  skipped: {reason}")?;
        }
        for (what, count) in &self.truncated {
            writeln!(f, "{count:>12}  shortened: {what}")?;
        }
        let making = self.seconds - self.seconds_reading;
        write!(
            f,
            "{rows:>12}  rows, {:.1} MB in {} files; {making:.1} s, {:.0} rows a second (and {:.1} s \
             to read the inputs)",
            self.bytes as f64 / 1e6,
            self.files.len(),
            rows as f64 / making.max(1e-9),
            self.seconds_reading,
        )?;
        match &self.out {
            Some(out) => write!(f, "\n{}", out.display()),
            None => write!(f, "\nnothing was written"),
        }
    }
}

/// A corpus on the disk. What is there already must be a corpus, finished or not.
struct DiskFolder(PathBuf);

impl DiskFolder {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let ours = ["journal.json", "manifest.json"].map(|file| path.join(file));
        let is_empty = || fs::read_dir(path).is_ok_and(|mut files| files.next().is_none());
        if path.exists() && !ours.iter().any(|file| file.exists()) && !is_empty() {
            bail!(
                "{} is there and is no corpus; remove it or choose another name",
                path.display()
            );
        }
        fs::create_dir_all(path).with_context(|| format!("cannot write {}", path.display()))?;
        let parts = Part::ALL.map(|part| path.join(part.to_string()));
        for folder in parts.iter().chain([&path.to_owned()]) {
            discard_unfinished(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(Self(path.to_owned()))
    }
}

impl Folder for DiskFolder {
    type File = OutputFile;

    fn create(&self, name: &str) -> io::Result<OutputFile> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        OutputFile::create(&path).map_err(io::Error::other)
    }

    fn finish(&self, _: &str, file: OutputFile) -> io::Result<()> {
        file.commit().map(|_| ()).map_err(io::Error::other)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Where a dry run goes.
struct Nowhere;

impl Folder for Nowhere {
    type File = io::Sink;

    fn create(&self, _: &str) -> io::Result<io::Sink> {
        Ok(io::sink())
    }

    fn finish(&self, _: &str, mut file: io::Sink) -> io::Result<()> {
        file.flush()
    }

    fn read(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}
