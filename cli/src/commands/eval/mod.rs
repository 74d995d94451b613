mod report;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use semid_tasks::metrics::{
    BINS, Comparison, Exposure, Items, Metric, Predictions, Scores, TokenColdness, Training, Truth,
    bin, slices,
};
use semid_tasks::{EventOptions, Input, Part};

use crate::artefact::open_index;
use crate::console::Console;
use crate::map;
use crate::named::Named;
use report::{Compared, Difference, Lists, Report, Slice};

/// Tell how good predictions are, and whether they beat others by more than chance
///
/// PREDICTIONS has a JSON object a line and user: {"user": key, "items": [key, ...]} or, with
/// --index, {"user": key, "ids": ["<a_1><b_2>", ...]}, the best first. An ID that no item has takes
/// its place as a miss; so does what repeats an earlier entry. An ID that several items share takes
/// as many places, and each earns its share. Users of the truth without a line count as misses.
///
/// The truth is the split.jsonl of a corpus, or has lines {"user": key, "items": [key, ...]}.
///
/// beam_ceiling is the hit rate of whole lists, whatever their order. With --index there are
/// coverage and Gini coefficient of the items that are recommended; with --interactions also their
/// novelty in bits, and the slices by how often the target and its codes were seen in training.
/// docs/algorithms.md has every formula.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The predictions, JSONL
    predictions: PathBuf,
    /// What is true, JSONL
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// The part of a split.jsonl
    #[arg(long, value_enum, default_value_t = TruthPart::Test)]
    part: TruthPart,
    /// The index that the IDs are of
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// Interactions: all but those that the truth lists count as training's
    #[arg(long, value_name = "INTER", requires = "index")]
    interactions: Option<PathBuf>,
    /// Cutoffs K of the metrics
    #[arg(
        long = "at",
        value_name = "K",
        default_value = "1,5,10,20",
        value_delimiter = ',',
        num_args = 1
    )]
    cutoffs: Vec<NonZeroUsize>,
    /// Other predictions for the same users, to compare with
    #[arg(long, value_name = "OTHER")]
    baseline: Option<PathBuf>,
    /// Draws of the bootstrap and of the randomisation test
    #[arg(long, value_name = "N", default_value = "10000", requires = "baseline")]
    resamples: NonZeroUsize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0, requires = "baseline")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TruthPart {
    Valid,
    Test,
}

impl Eval {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let index = self.index.as_ref().map(|path| open_index(path, false));
        let index = index.transpose()?;
        let mut items = match &index {
            Some(index) => Items::of_index(index)?,
            None => Items::default(),
        };
        let part = match self.part {
            TruthPart::Valid => Part::Valid,
            TruthPart::Test => Part::Test,
        };
        let truth = Truth::read(
            &name(&self.truth),
            &map::open(&self.truth)?,
            part,
            &mut items,
        )?;
        let mut read = |path: &PathBuf| -> anyhow::Result<Predictions> {
            let bytes = map::open(path)?;
            Ok(Predictions::read(&name(path), &bytes, &truth, &mut items)?)
        };
        let predictions = read(&self.predictions)?;
        let baseline = self.baseline.as_ref().map(&mut read).transpose()?;
        let desk = Desk {
            cutoffs: self.cutoffs(),
            events: self.events(&truth, &items)?,
            items: &items,
            truth: &truth,
        };
        let scores = desk.scores(&predictions);
        let mut metrics = means(&scores);
        metrics.0.extend(desk.exposure(&predictions));
        console.report(&Report {
            users: scores.users(),
            metrics,
            slices: desk.slices(&predictions)?,
            lists: Lists::of(&predictions, &truth, &items),
            comparison: baseline.map(|baseline| self.compare(&desk, &scores, &baseline)),
            headline: desk.headline(),
        })
    }

    fn cutoffs(&self) -> Vec<usize> {
        let mut cutoffs: Vec<usize> = self.cutoffs.iter().map(|k| k.get()).collect();
        cutoffs.sort_unstable();
        cutoffs.dedup();
        cutoffs
    }

    /// How often training sees each item of the index.
    fn events(&self, truth: &Truth, items: &Items<'_>) -> anyhow::Result<Option<Vec<u64>>> {
        let Some(path) = &self.interactions else {
            return Ok(None);
        };
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut training = Training::new(items, truth);
        training.read(&name(path), Input::File(file), &EventOptions::default())?;
        Ok(Some(training.finish()))
    }

    fn compare(&self, desk: &Desk<'_>, scores: &Scores, baseline: &Predictions) -> Compared {
        let others = desk.scores(baseline);
        let comparison = Comparison {
            resamples: self.resamples,
            seed: self.seed,
        };
        let differences = comparison.of(scores, &others).into_iter();
        let metrics = means(&others).0.into_iter().zip(differences);
        let metrics = metrics.map(|((name, baseline), ours)| (name, Difference { baseline, ours }));
        Compared {
            baseline: self.baseline.as_deref().map(name).unwrap_or_default(),
            resamples: self.resamples.get(),
            metrics: Named(metrics.collect()),
            lists: Lists::of(baseline, desk.truth, desk.items),
        }
    }
}

/// What predictions are measured by.
struct Desk<'a> {
    cutoffs: Vec<usize>,
    items: &'a Items<'a>,
    truth: &'a Truth,
    /// Training events of each item of the index.
    events: Option<Vec<u64>>,
}

impl Desk<'_> {
    fn metrics(&self) -> Vec<Metric> {
        // With one true item recall is HR.
        let several = self.truth.users().iter().any(|user| user.targets.len() > 1);
        Metric::all(&self.cutoffs, several)
    }

    fn scores(&self, predictions: &Predictions) -> Scores {
        Scores::of(self.metrics(), &predictions.paired(self.truth))
    }

    /// The metrics that papers give: at 10 or, if not wanted, at the largest cutoff.
    fn headline(&self) -> [String; 2] {
        let usual = self.cutoffs.iter().find(|&&k| k == 10);
        let k = *usual.or(self.cutoffs.last()).expect("clap wants a cutoff");
        [Metric::HitRate(k), Metric::Ndcg(k)].map(|metric| metric.to_string())
    }

    /// What the index, and training, tell of the items that are recommended.
    fn exposure(&self, predictions: &Predictions) -> Vec<(String, f64)> {
        if !self.items.has_index() {
            return Vec::new();
        }
        let mut values = [vec![], vec![], vec![]];
        for k in &self.cutoffs {
            let exposure = Exposure::of(predictions.lists(), *k, self.items.catalogue());
            values[0].push((format!("coverage@{k}"), exposure.coverage()));
            values[1].push((format!("gini@{k}"), exposure.gini()));
            let novelty = self
                .events
                .as_ref()
                .and_then(|events| exposure.novelty(events));
            values[2].extend(novelty.map(|bits| (format!("novelty@{k}"), bits)));
        }
        values.concat()
    }

    /// Ways to look at targets apart, as far as the files given tell.
    fn slices(&self, predictions: &Predictions) -> anyhow::Result<Named<Named<Slice>>> {
        let bins = BINS.map(str::to_owned);
        let history = |user: usize, _| self.truth.users()[user].history.map(bin);
        let mut families = vec![self.family(predictions, "history", &bins, &history)];
        if let (Some(events), Some(paths)) = (&self.events, self.items.paths()?) {
            let seen: Vec<bool> = events.iter().map(|&events| events > 0).collect();
            let tokens = TokenColdness::of(&paths, &seen);
            // A target that the index lacks has neither an ID nor a count.
            let known = |row: u32| Some(row as usize).filter(|&row| row < events.len());
            let popularity = |_, row| Some(bin(events[known(row)?]));
            let codes = ["all seen", "some unseen"].map(str::to_owned);
            let is_cold = |_, row| Some(usize::from(!tokens.all_seen(known(row)?)));
            let depths: Vec<String> = (0..=paths.levels())
                .map(|depth| depth.to_string())
                .collect();
            let depth = |_, row| Some(tokens.depth(known(row)?));
            families.push(self.family(predictions, "popularity", &bins, &popularity));
            families.push(self.family(predictions, "codes", &codes, &is_cold));
            families.push(self.family(predictions, "prefix_seen", &depths, &depth));
        }
        families.retain(|(_, slices)| !slices.0.is_empty());
        Ok(Named(families))
    }

    /// The slices of these labels that have users.
    fn family(
        &self,
        predictions: &Predictions,
        name: &str,
        labels: &[String],
        label: &dyn Fn(usize, u32) -> Option<usize>,
    ) -> (String, Named<Slice>) {
        let slices = slices(
            &self.metrics(),
            &predictions.paired(self.truth),
            labels.len(),
            label,
        );
        let slices = labels.iter().zip(slices);
        let slices = slices.filter(|(_, scores)| scores.users() > 0);
        let slices = slices.map(|(label, scores)| {
            let (users, metrics) = (scores.users(), means(&scores));
            (label.clone(), Slice { users, metrics })
        });
        (name.to_owned(), Named(slices.collect()))
    }
}

fn name(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// The means of all metrics.
fn means(scores: &Scores) -> Named<f64> {
    let names = scores.metrics().iter().map(Metric::to_string);
    Named(names.zip(scores.means()).collect())
}
