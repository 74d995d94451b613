use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use semid_recommender::{
    Evaluation, ItemExamples, ItemKnn, Llama, Popularity, Ranker, SasRec, Trainer, TrainingParams,
};
use semid_tasks::metrics::{
    BINS, Comparison, Difference, Exposure, List, Metric, Scores, bin, slices,
};
use semid_tasks::{EventFormat, Histories, Part, Split};
use serde::Serialize;

use super::decoders::{Decoders, Proven};
use super::folder::{Folder, Source};
use crate::console::Console;
use crate::interactions::Interactions;
use crate::named::Named;
use crate::progress;

/// Tell how good a recommender is, beside others
///
/// Each user's last event is to be found among all items of the index, none sampled, from the
/// events before it (leave-one-out, full ranking). A hit is an item, not a semantic ID.
///
/// Baselines see the same training events: `popularity`; `item-knn`, cosine over co-occurrence;
/// `sasrec`, a sequential model without semantic IDs that is trained here, for as many minutes as
/// the recommender was. Intervals hold 95 % of the means when users are drawn again (bootstrap);
/// the p-values are of a paired randomisation test with Holm's correction.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    source: Source,
    /// Who did what; the same file as in training
    #[arg(long, value_name = "INTER")]
    interactions: PathBuf,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long)]
    format: Option<EventFormat>,
    /// The part of each user's events that is to be found
    #[arg(long, value_enum, default_value_t = EvalPart::Test)]
    part: EvalPart,
    /// What to compare with, between commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    baseline: Vec<Baseline>,
    /// Cutoffs K of the metrics
    #[arg(
        long = "at",
        value_name = "K",
        default_value = "1,5,10,20",
        value_delimiter = ','
    )]
    cutoffs: Vec<NonZeroUsize>,
    #[command(flatten)]
    decoders: Decoders,
    /// Recommend nobody what they had; common in shops, not in papers
    #[arg(long)]
    leave_out_seen: bool,
    /// Draws of the bootstrap and of the randomisation test
    #[arg(long, value_name = "N", default_value = "2000")]
    resamples: NonZeroUsize,
    /// Seed of the draws, and of baselines that are trained
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EvalPart {
    Valid,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Baseline {
    /// What most training events are of
    Popularity,
    /// What users of the same items had
    ItemKnn,
    /// The same transformer, with a token for each item
    Sasrec,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    users: usize,
    items: usize,
    leave_out_seen: bool,
    /// The system that others are compared with: the first decoder.
    ours: &'static str,
    systems: Named<System>,
    /// How it differs from each other system.
    comparisons: Named<Named<Difference>>,
}

#[derive(Debug, Serialize)]
struct System {
    seconds: f64,
    metrics: Named<f64>,
    intervals: Named<[f64; 2]>,
    slices: Named<Named<Slice>>,
    /// Of a search over the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<Proven>,
}

#[derive(Debug, Serialize)]
struct Slice {
    users: usize,
    metrics: Named<f64>,
}

impl Eval {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let page = self
            .report
            .as_deref()
            .map(crate::output::OutputFile::create)
            .transpose()?;
        let folder = self.source.open()?;
        let keys = folder.index().keys()?;
        let interactions = Interactions::open(&self.interactions, self.format, &keys)?;
        let histories = interactions.histories();
        let split = Split::leave_one_out(histories);
        let part = match self.part {
            EvalPart::Valid => Part::Valid,
            EvalPart::Test => Part::Test,
        };
        let desk = Desk {
            evaluation: Evaluation::new(histories, &split, part, self.leave_out_seen),
            metrics: Metric::all(&self.cutoffs(), false),
            count: self.cutoffs().into_iter().max().unwrap_or(1),
            popularity: training_events(histories, &split),
            comparison: Comparison {
                resamples: self.resamples,
                seed: self.seed,
            },
            console,
        };
        let head = self.decoders.head(&folder, &self.source)?;
        let mut measured = Vec::new();
        for decoder in self.decoders.distinct() {
            let opened = self
                .decoders
                .open(decoder, &folder, head.as_ref(), &desk.popularity)?;
            let (scores, mut system) = desk.measure(decoder.name(), opened.ranker())?;
            system.proven = opened.proven();
            measured.push((decoder.name().to_owned(), (scores, system)));
        }
        for baseline in &self.baseline {
            let ranker = self.ranker(*baseline, histories, &split, &folder, console)?;
            let name = baseline.to_possible_value().expect("all have names");
            let name = name.get_name().to_owned();
            measured.push((name, desk.measure("baseline", &*ranker)?));
        }
        let (_, (ours, _)) = &measured[0];
        let compared = measured[1..].iter().map(|(name, (theirs, _))| {
            let differences = desk.comparison.of(ours, theirs).into_iter();
            (name.clone(), Named(desk.names().zip(differences).collect()))
        });
        let report = Report {
            users: ours.users(),
            items: histories.catalogue_len(),
            leave_out_seen: self.leave_out_seen,
            ours: self.decoders.distinct()[0].name(),
            comparisons: Named(compared.collect()),
            systems: Named(
                measured
                    .into_iter()
                    .map(|(name, (_, system))| (name, system))
                    .collect(),
            ),
        };
        if let Some(page) = page {
            super::page::write(page, &report)?;
        }
        console.report(&report)
    }

    fn cutoffs(&self) -> Vec<usize> {
        let mut cutoffs: Vec<usize> = self.cutoffs.iter().map(|k| k.get()).collect();
        cutoffs.sort_unstable();
        cutoffs.dedup();
        cutoffs
    }

    fn ranker(
        &self,
        baseline: Baseline,
        histories: &Histories,
        split: &Split,
        folder: &Folder,
        console: &Console,
    ) -> anyhow::Result<Box<dyn Ranker>> {
        Ok(match baseline {
            Baseline::Popularity => Box::new(Popularity::new(histories, split)),
            Baseline::ItemKnn => Box::new(ItemKnn::new(histories, split)),
            Baseline::Sasrec => Box::new(self.sasrec(histories, split, folder, console)?),
        })
    }

    /// Trained as the recommender is by default.
    fn sasrec(
        &self,
        histories: &Histories,
        split: &Split,
        folder: &Folder,
        console: &Console,
    ) -> anyhow::Result<SasRec> {
        let items = folder.recommender.reader().settings().items;
        let params = TrainingParams {
            row_tokens: items + 1,
            seed: self.seed,
            ..TrainingParams::default()
        };
        let width = folder.recommender.model().config().hidden_size;
        let shape = SasRec::config(histories.catalogue_len(), width, items + 1);
        let device = folder.recommender.model().device();
        let model = Llama::new(shape, device, self.seed as i64)?;
        let examples = ItemExamples::new(histories, split, items);
        let config = params.check()?;
        let bar = progress::bar(console, "epochs of sasrec", config.epochs);
        let mut trainer = Trainer::new(model, config, &examples)?;
        let validation = Evaluation::new(histories, split, Part::Valid, false);
        while trainer
            .epoch(&mut |model| validation.ndcg(&SasRec::new(model.shallow_clone(), items), 10))?
            .is_some()
        {
            bar.inc(1);
        }
        Ok(SasRec::new(trainer.finish(), items))
    }
}

/// What systems are measured by.
struct Desk<'a> {
    evaluation: Evaluation<'a>,
    metrics: Vec<Metric>,
    /// Items of a list.
    count: usize,
    /// Training events of each item.
    popularity: Vec<u64>,
    comparison: Comparison,
    console: &'a Console,
}

impl Desk<'_> {
    fn measure(&self, name: &'static str, ranker: &dyn Ranker) -> anyhow::Result<(Scores, System)> {
        let start = Instant::now();
        let bar = progress::bar(self.console, name, self.evaluation.users().len());
        let lists = self
            .evaluation
            .lists(ranker, self.count, |users| bar.inc(users as u64))?;
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        let scores = Scores::of(self.metrics.clone(), &self.evaluation.paired(&lists));
        let intervals = self.comparison.intervals(&scores);
        let mut metrics = self.means(&scores);
        metrics.0.extend(self.exposure(&lists));
        let system = System {
            seconds,
            metrics,
            intervals: Named(self.names().zip(intervals).collect()),
            slices: self.slices(&lists),
            proven: None,
        };
        Ok((scores, system))
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.metrics.iter().map(Metric::to_string)
    }

    fn means(&self, scores: &Scores) -> Named<f64> {
        Named(self.names().zip(scores.means()).collect())
    }

    /// Which items are recommended at all.
    fn exposure(&self, lists: &[List]) -> Vec<(String, f64)> {
        let k = self.count;
        let exposure = Exposure::of(lists, k, self.popularity.len());
        vec![
            (format!("coverage@{k}"), exposure.coverage()),
            (format!("gini@{k}"), exposure.gini()),
        ]
    }

    fn slices(&self, lists: &[List]) -> Named<Named<Slice>> {
        let users = self.evaluation.users();
        let history = |user: usize, _| Some(bin(self.evaluation.history(users[user]).len() as u64));
        let popularity = |_, row: u32| Some(bin(self.popularity[row as usize]));
        Named(vec![
            ("history".to_owned(), self.family(lists, &history)),
            ("popularity".to_owned(), self.family(lists, &popularity)),
        ])
    }

    fn family(&self, lists: &[List], label: &dyn Fn(usize, u32) -> Option<usize>) -> Named<Slice> {
        let slices = slices(
            &self.metrics,
            &self.evaluation.paired(lists),
            BINS.len(),
            label,
        );
        let slices = BINS
            .iter()
            .zip(slices)
            .filter(|(_, scores)| scores.users() > 0);
        let slices = slices.map(|(label, scores)| {
            let (users, metrics) = (scores.users(), self.means(&scores));
            ((*label).to_owned(), Slice { users, metrics })
        });
        Named(slices.collect())
    }
}

/// Training events of each item.
fn training_events(histories: &Histories, split: &Split) -> Vec<u64> {
    let mut events = vec![0; histories.catalogue_len()];
    for user in histories.users() {
        for item in &histories.items(user)[..split.train_end(user)] {
            events[item.index()] += 1;
        }
    }
    events
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} users, {} items, full ranking",
            self.users, self.items
        )?;
        if self.leave_out_seen {
            write!(f, ", seen items left out")?;
        }
        write!(f, "\n\n{:12}", "")?;
        for (name, _) in &self.systems.0 {
            write!(f, " {name:>12}")?;
        }
        let (_, ours) = &self.systems.0[0];
        for (at, (metric, _)) in ours.metrics.0.iter().enumerate() {
            write!(f, "\n{metric:12}")?;
            for (_, system) in &self.systems.0 {
                write!(f, " {:>12.4}", system.metrics.0[at].1)?;
            }
        }
        let headline = headline(&ours.intervals);
        for (name, [low, high]) in ours
            .intervals
            .0
            .iter()
            .filter(|(name, _)| headline.contains(name))
        {
            write!(f, "\n{name}: 95 % interval {low:.4} to {high:.4}")?;
        }
        for (name, system) in &self.systems.0 {
            if let Some(proven) = &system.proven {
                write!(f, "\n{name}: {proven}")?;
            }
        }
        for (name, differences) in &self.comparisons.0 {
            write!(f, "\n\nagainst {name}")?;
            let shown = differences
                .0
                .iter()
                .filter(|(metric, _)| headline.contains(metric));
            for (
                metric,
                Difference {
                    difference,
                    interval: [low, high],
                    p_holm,
                    ..
                },
            ) in shown
            {
                write!(
                    f,
                    "\n{metric:12} {difference:>+8.4}  [{low:>+7.4}, {high:>+7.4}]  p {p_holm:.4} (Holm)"
                )?;
            }
        }
        let [hits, gains] = &headline;
        write!(
            f,
            "\n\nslice                     users {hits:>9} {gains:>9}"
        )?;
        for (family, slices) in &ours.slices.0 {
            for (label, Slice { users, metrics }) in &slices.0 {
                write!(f, "\n{family:12} {label:11} {users:>7}")?;
                for name in &headline {
                    write!(
                        f,
                        " {:>9.4}",
                        metrics.get(name).copied().unwrap_or(f64::NAN)
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// The metrics that papers give: at 10 or, if not wanted, at the largest cutoff.
fn headline<T>(metrics: &Named<T>) -> [String; 2] {
    let of = |kind: &str| {
        let mut names = metrics
            .0
            .iter()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(kind));
        let ten = format!("{kind}10");
        let found = names
            .clone()
            .find(|name| **name == ten)
            .or(names.next_back());
        found.cloned().unwrap_or(ten)
    };
    [of("hr@"), of("ndcg@")]
}
