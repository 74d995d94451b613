//! What a comparison tells.

use std::fmt;
use std::path::PathBuf;

use semantic_id::Digest;
use semid_tasks::metrics::{Comparison, Difference, Metric, RankCorrelation, Scores, holm};
use serde::Serialize;

use super::contender::Contender;
use super::journal::{METRICS, Run};
use super::proxies::{Good, PROXIES};
use crate::named::Named;

/// What `recommend compare` reports; times in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    users: usize,
    items: usize,
    unknown_items_skipped: u64,
    seeds: Vec<u64>,
    /// The first is what the others are compared with.
    indexes: Vec<Entry>,
    proxies: Vec<ProxyEntry>,
    /// Whether there are enough indexes for a rank correlation to say anything.
    correlations_say_something: bool,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    path: PathBuf,
    digest: Digest,
    levels: usize,
    parameters: usize,
    /// Of all its trainings.
    seconds: f64,
    metrics: Named<Figure>,
    /// How it differs from the first index, which itself has none of these.
    differences: Option<Named<Difference>>,
    runs: Vec<RunEntry>,
}

/// A metric over all users and seeds.
#[derive(Debug, Serialize)]
struct Figure {
    mean: f64,
    /// Where 95 % of the means lie if users are drawn again.
    interval: [f64; 2],
    /// Standard deviation over seeds, if there are several.
    deviation: Option<f64>,
}

#[derive(Debug, Serialize)]
struct RunEntry {
    seed: u64,
    epochs_run: usize,
    best_epoch: usize,
    validation: Option<f64>,
    metrics: Named<f64>,
}

#[derive(Debug, Serialize)]
struct ProxyEntry {
    name: &'static str,
    /// Which end is thought to be the good one.
    good: Good,
    /// In the order of the indexes.
    values: Vec<Option<f64>>,
    /// Over the indexes, with each metric; null where one has no value, or all the same.
    correlations: Named<Option<RankCorrelation>>,
}

/// From so many indexes on the order of two figures may be the same by more than chance.
const ENOUGH: usize = 4;

impl Report {
    /// Of each index its runs, one a seed, and its proxies.
    pub(super) fn of(
        contenders: &[Contender],
        results: &[Vec<Run>],
        proxies: &[Vec<Option<f64>>],
        comparison: Comparison,
    ) -> Self {
        let scores: Vec<Vec<Scores>> = results
            .iter()
            .map(|runs| runs.iter().map(Run::scores).collect())
            .collect();
        let means: Vec<Scores> = scores.iter().map(|runs| Scores::mean(runs)).collect();
        let mut differences = differences(&means, comparison).into_iter();
        let entries = contenders
            .iter()
            .zip(results)
            .zip(scores.iter().zip(&means));
        let entries = entries.map(|((contender, runs), (scores, mean))| Entry {
            name: contender.name.clone(),
            path: contender.path.clone(),
            digest: contender.index().digest(),
            levels: contender.levels(),
            parameters: runs[0].parameters,
            seconds: runs.iter().map(|run| run.seconds).sum(),
            metrics: figures(scores, mean, comparison),
            differences: differences.next().flatten(),
            runs: runs.iter().zip(scores).map(RunEntry::of).collect(),
        });
        let histories = contenders[0].interactions.histories();
        Self {
            users: contenders[0].users(),
            items: histories.catalogue_len(),
            unknown_items_skipped: histories.unknown_skipped(),
            seeds: results[0].iter().map(|run| run.seed).collect(),
            indexes: entries.collect(),
            proxies: correlated(proxies, &means, comparison),
            correlations_say_something: contenders.len() >= ENOUGH,
        }
    }
}

impl RunEntry {
    fn of((run, scores): (&Run, &Scores)) -> Self {
        Self {
            seed: run.seed,
            epochs_run: run.epochs_run,
            best_epoch: run.best_epoch,
            validation: run.validation,
            metrics: named(scores.means()),
        }
    }
}

/// Values in the order of [`METRICS`], by name.
fn named<T>(values: impl IntoIterator<Item = T>) -> Named<T> {
    let names = METRICS.iter().map(Metric::to_string);
    Named(names.zip(values).collect())
}

fn figures(runs: &[Scores], mean: &Scores, comparison: Comparison) -> Named<Figure> {
    let rows: Vec<Vec<f64>> = runs.iter().map(Scores::means).collect();
    let intervals = comparison.intervals(mean);
    let means = mean.means().into_iter().zip(intervals).enumerate();
    named(means.map(|(metric, (mean, interval))| Figure {
        mean,
        interval,
        deviation: deviation(rows.iter().map(|row| row[metric]).collect()),
    }))
}

/// Standard deviation of a sample of two or more.
fn deviation(values: Vec<f64>) -> Option<f64> {
    let free = values.len().checked_sub(1).filter(|&free| free > 0)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / free as f64).sqrt())
}

/// How each differs from the first, corrected for all that is compared.
fn differences(means: &[Scores], comparison: Comparison) -> Vec<Option<Named<Difference>>> {
    let others = means[1..]
        .iter()
        .map(|scores| comparison.of(scores, &means[0]));
    let mut others: Vec<Vec<Difference>> = others.collect();
    let p: Vec<f64> = others
        .iter()
        .flatten()
        .map(|difference| difference.p)
        .collect();
    for (difference, p_holm) in others.iter_mut().flatten().zip(holm(&p)) {
        difference.p_holm = p_holm;
    }
    let others = others
        .into_iter()
        .map(|differences| Some(named(differences)));
    [None].into_iter().chain(others).collect()
}

/// The proxies, with how far they order the indexes as the metrics do.
fn correlated(
    proxies: &[Vec<Option<f64>>],
    means: &[Scores],
    comparison: Comparison,
) -> Vec<ProxyEntry> {
    let metrics: Vec<Vec<f64>> = means.iter().map(Scores::means).collect();
    let entries = PROXIES.iter().enumerate().map(|(at, proxy)| {
        let values: Vec<Option<f64>> = proxies.iter().map(|values| values[at]).collect();
        let all: Option<Vec<f64>> = values.iter().copied().collect();
        let with = |metric: usize| {
            let metric: Vec<f64> = metrics.iter().map(|means| means[metric]).collect();
            comparison.rank_correlation(all.as_ref()?, &metric)
        };
        ProxyEntry {
            name: proxy.name,
            good: proxy.good,
            correlations: named((0..METRICS.len()).map(with)),
            values,
        }
    });
    entries
        .filter(|entry| entry.values.iter().any(Option::is_some))
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        write!(
            f,
            "{} users, {} items, full ranking; mean over {}: {}",
            self.users,
            self.items,
            match seeds.len() {
                1 => "one seed",
                _ => "seeds",
            },
            seeds.join(", ")
        )?;
        match self.unknown_items_skipped {
            0 => {}
            skipped => write!(f, "\n{skipped} events of unknown items left out")?,
        }
        let names = self.indexes.iter().map(|entry| entry.name.chars().count());
        let width = names.max().unwrap_or(0).max("index".len());
        self.metric_lines(f, width)?;
        self.difference_lines(f, width)?;
        self.proxy_lines(f)
    }
}

impl Report {
    fn metric_lines(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        write!(f, "\n\n{:width$}", "index")?;
        for metric in METRICS {
            write!(
                f,
                "  {:>7}  {:16}  {:>8}",
                metric.to_string(),
                "95 % interval",
                "by seed"
            )?;
        }
        for entry in &self.indexes {
            write!(f, "\n{:width$}", entry.name)?;
            for (_, figure) in &entry.metrics.0 {
                let [low, high] = figure.interval;
                let deviation = figure
                    .deviation
                    .map(|deviation| format!("+-{deviation:.4}"));
                let deviation = deviation.unwrap_or_default();
                write!(
                    f,
                    "  {:>7.4}  {low:.4} to {high:.4}  {deviation:>8}",
                    figure.mean
                )?;
            }
        }
        Ok(())
    }

    fn difference_lines(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        write!(f, "\n\nagainst {}", self.indexes[0].name)?;
        for entry in &self.indexes {
            for (metric, difference) in entry.differences.iter().flat_map(|all| &all.0) {
                let Difference {
                    difference,
                    interval: [low, high],
                    p_holm,
                    ..
                } = difference;
                write!(
                    f,
                    "\n{:width$}  {metric:7}  {difference:>+7.4}  [{low:>+7.4}, {high:>+7.4}]  \
                     p {p_holm:.4} (Holm)",
                    entry.name
                )?;
            }
        }
        Ok(())
    }

    fn proxy_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n\n{:23}  good", "without training")?;
        let widths = self
            .indexes
            .iter()
            .map(|entry| entry.name.chars().count().max(7));
        let widths: Vec<usize> = widths.collect();
        for (entry, width) in self.indexes.iter().zip(&widths) {
            write!(f, "  {:>width$}", entry.name)?;
        }
        if self.correlations_say_something {
            for metric in METRICS {
                write!(f, "  {:>16}", format!("rank with {metric}"))?;
            }
        }
        for proxy in &self.proxies {
            let good = match proxy.good {
                Good::High => "high",
                Good::Low => "low",
            };
            write!(f, "\n{:23}  {good:4}", proxy.name)?;
            for (value, width) in proxy.values.iter().zip(&widths) {
                let value = value.map_or("-".to_owned(), |value| format!("{value:.4}"));
                write!(f, "  {value:>width$}")?;
            }
            if self.correlations_say_something {
                for (_, correlation) in &proxy.correlations.0 {
                    let told =
                        correlation.map(|told| format!("{:+.2} (p {:.2})", told.rho, told.p));
                    write!(f, "  {:>16}", told.unwrap_or("-".to_owned()))?;
                }
            }
        }
        let indexes = self.indexes.len();
        match self.correlations_say_something {
            true => write!(
                f,
                "\nrank: Spearman's correlation with what was learnt, over {indexes} indexes; a low \
                 p tells of more than chance"
            ),
            false => write!(
                f,
                "\nwhether these order indexes as recommenders do cannot be told by {indexes} \
                 indexes; compare {ENOUGH} or more"
            ),
        }
    }
}
