//! Which index a recommender learns best, and whether its cheap figures told so.

mod contender;
mod journal;
mod proxies;
mod report;
mod seeds;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use semantic_id::{Digest, Manifest};
use semid_tasks::EventFormat;
use semid_tasks::metrics::Comparison;
use serde_json::{Value, json};

use super::course::{Checkpoint, Course, Trained};
use super::folder;
use super::scratch::Scratch;
use crate::console::Console;
use crate::map;
use crate::output::{OutputFile, OutputFolder};
use contender::Contender;
use journal::{Journal, Run};
use report::Report;
use seeds::Seeds;

/// Tell which of several indexes a recommender learns best
///
/// The model of `semid recommend train` is trained on each index with the same settings, once for
/// each seed, and is asked for each user's last event as `semid recommend eval` asks (leave-one-out,
/// all items ranked). The indexes must be of the same items.
///
/// A user's score is the mean over seeds. Intervals hold 95 % of the means when users are drawn
/// again (bootstrap); how trainings differ by seed is told beside them, as a standard deviation.
/// The p values are of a paired randomisation test against the first index, with Holm's correction
/// for all that is compared.
///
/// Beside that stand the cheap figures of `semid check`, and how far to trust them: Spearman's
/// correlation of the order they put the indexes in with that of the recommenders. Here the held-out
/// gain is told without the events that the recommenders are asked for.
///
/// FOLDER/journal.jsonl gets a line when a training is over, FOLDER/*.checkpoint hold one that runs:
/// the same command goes on where it was killed, and trains only what is new when it is given
/// further indexes or seeds. With other settings it refuses the folder.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Two or more indexes, between commas; each is compared with the first
    #[arg(long, value_name = "INDEXES", value_delimiter = ',', required = true)]
    indexes: Vec<PathBuf>,
    /// Who did what, in any format that `semid tasks` reads. Events of unknown items are left out
    /// and counted
    #[arg(long, value_name = "INTER")]
    interactions: PathBuf,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long)]
    format: Option<EventFormat>,
    /// How many seeds, from 1 on; or the seeds, between commas (`7,` for one alone)
    #[arg(long, value_name = "SEEDS", default_value = "3")]
    seeds: Seeds,
    /// The items' embeddings, for more of the cheap figures
    #[arg(long, value_name = "EMB")]
    embeddings: Option<PathBuf>,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS", requires = "embeddings")]
    keys: Option<PathBuf>,
    /// The folder to work in: a new one, or that of a comparison to go on with
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    scratch: Scratch,
    #[command(flatten)]
    course: Course,
    /// Prefixes kept after each level when a recommender is asked
    #[arg(long, value_name = "N", default_value = "50")]
    beams: NonZeroUsize,
    /// Keep each recommender as a model folder, FOLDER/NAME-seed-N
    #[arg(long)]
    keep_models: bool,
    /// Draws of the bootstrap and of the randomisation test
    #[arg(long, value_name = "N", default_value = "2000")]
    resamples: NonZeroUsize,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Seed of the draws of the bootstrap and of the tests, and of the shuffled controls of figures.
const DRAWS: u64 = 42;

impl Compare {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        self.course.device()?;
        let page = self.report.as_deref().map(OutputFile::create).transpose()?;
        let contenders = Contender::open_all(&self.indexes, &self.interactions, self.format)?;
        let interactions = Digest::of(&map::open(&self.interactions)?);
        let settings =
            |levels, seed| -> anyhow::Result<Value> { self.settings(levels, seed, interactions) };
        // Known before the first training, not after the last one.
        for contender in &contenders {
            settings(contender.levels(), 0)?;
        }
        let mut journal = Journal::open(&self.out, settings)?;
        let proxies = contenders.iter().map(|contender| {
            console.note(format_args!("the cheap figures of {}", contender.name));
            proxies::measure(contender, self.embeddings.as_deref(), self.keys.as_deref())
        });
        let proxies = proxies.collect::<anyhow::Result<Vec<_>>>()?;

        let trainings = contenders.len() * self.seeds.0.len();
        let mut results: Vec<Vec<Run>> = Vec::new();
        for (at, contender) in contenders.iter().enumerate() {
            let mut runs = Vec::new();
            for (number, &seed) in self.seeds.0.iter().enumerate() {
                let number = at * self.seeds.0.len() + number + 1;
                let what = format!("{}, seed {seed}", contender.name);
                console.note(format_args!("{what}: training {number} of {trainings}"));
                let run = self.run_of(contender, seed, &mut journal, console);
                runs.push(run.context(what)?);
            }
            results.push(runs);
        }
        let comparison = Comparison {
            resamples: self.resamples,
            seed: DRAWS,
        };
        let report = Report::of(&contenders, &results, &proxies, comparison);
        if let Some(page) = page {
            super::page::fill(page, include_str!("page.html"), &report)?;
        }
        console.report(&report)
    }

    /// All that the figures of a training depend on, but the index itself.
    fn settings(&self, levels: usize, seed: u64, interactions: Digest) -> anyhow::Result<Value> {
        Ok(json!({
            "settings": self.scratch.config(&self.course, Some(seed), levels)?,
            "model": self.scratch,
            "course": self.course,
            "beams": self.beams,
            "interactions": interactions,
        }))
    }

    /// What became of a training: from the journal, or by training.
    fn run_of(
        &self,
        contender: &Contender,
        seed: u64,
        journal: &mut Journal<impl Fn(usize, u64) -> anyhow::Result<Value>>,
        console: &Console,
    ) -> anyhow::Result<Run> {
        let name = format!("{}-seed-{seed}", contender.file_name());
        let folder = self.keep_models.then(|| self.out.join(name));
        let checkpoint = Checkpoint {
            path: self
                .out
                .join(format!("{}-{seed}.checkpoint", contender.index().digest())),
            resume: true,
        };
        let is_kept = folder.as_ref().is_none_or(|folder| folder.exists());
        if let Some(run) = journal.find(contender, seed)?.filter(|_| is_kept) {
            checkpoint.remove();
            return Ok(run.clone());
        }
        let start = Instant::now();
        let output = folder.as_deref().map(OutputFolder::create).transpose()?;
        let trained = contender.train(&self.scratch, &self.course, seed, &checkpoint, console)?;
        let places = contender.ask(&trained.recommender, self.beams.get(), console)?;
        let settings = journal.settings(contender.levels(), seed)?;
        if let Some(output) = output {
            keep(output, contender, &trained, settings.clone())?;
        }
        let best = trained.best();
        let run = Run {
            index: contender.index().digest(),
            name: contender.name.clone(),
            levels: contender.levels(),
            seed,
            settings,
            parameters: trained.recommender.model().parameters(),
            epochs_run: trained.epochs.len(),
            best_epoch: best.map_or(0, |epoch| epoch.epoch),
            validation: best.and_then(|epoch| epoch.validation),
            seconds: start.elapsed().as_secs_f64(),
            places,
        };
        journal.enter(run.clone())?;
        checkpoint.remove();
        Ok(run)
    }
}

/// Writes a model folder as `recommend train` does, without titles.
fn keep(
    output: OutputFolder,
    contender: &Contender,
    trained: &Trained,
    settings: Value,
) -> anyhow::Result<()> {
    let mut manifest = Manifest::new("recommend compare", settings);
    manifest.seed = Some(trained.config.seed);
    contender.enter(&mut manifest);
    let (titles, epochs) = (BTreeMap::new(), trained.lines()?);
    let index = contender.index().bytes();
    folder::write(
        output,
        &trained.recommender,
        index,
        &titles,
        &epochs,
        None,
        manifest,
    )
}
