use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use ndarray::Array2;
use rq_vae::{CollaborativeVectors, FusedSpace, Fusion, FusionSource, Trial, WeightSearch};
use semantic_id::{Digest, ItemKeys, Manifest};
use semid_tasks::EventFormat;
use serde::Serialize;
use serde_json::json;

use crate::artefact::{EmbeddingFile, name, peak_rss};
use crate::console::Console;
use crate::embedding_output::EmbeddingOutput;
use crate::interactions::{Interactions, RANK, WINDOW};
use crate::{map, progress, usage_error};

/// Join embeddings with what users' histories tell of the items, and with further embeddings
///
/// Items that users meet in the same company come closer together, so that their IDs share
/// prefixes. Only training events are learnt from: of each user the last event is kept for the
/// test and the one before it for validation. Items with few events are drawn towards what their
/// embeddings make one expect, and cold items, which have none, lie there.
///
/// Writes EMB, a .npy of f32 [items, dim] that `semid train` and `semid index` take like any
/// other, and beside it EMB.keys.json, EMB.manifest.json and EMB.fusion. With --fusion, that file
/// puts new items, of which only embeddings are known, into the same space.
///
/// Without --interactions, the embeddings of several sources are joined: in one space, or
/// --side-by-side, where each source is to have codes of its own (`semid train --blocks`).
#[derive(Debug, Args)]
pub(crate) struct Fuse {
    /// The embeddings: .npy, .safetensors or .parquet
    embeddings: PathBuf,
    /// Further embeddings of the same items, as of their images, and how much they count beside
    /// the first, which counts 1: --with images.npy=0.5 [default weight: 1]
    #[arg(long = "with", value_name = "EMB2[=W]")]
    further: Vec<Further>,
    /// What users did: JSONL, Parquet, CSV, LC-Rec *.inter.json, RecBole .inter, Amazon reviews
    /// or MovieLens. Events of unknown items are left out and counted
    #[arg(long, value_name = "INTERACTIONS", required_unless_present_any = ["fusion", "further"])]
    interactions: Option<PathBuf>,
    /// Fuse new items by what was learnt before: the file EMB.fusion of that time
    #[arg(
        long,
        value_name = "FUSION",
        conflicts_with_all = [
            "interactions", "weight", "window", "rank", "dim", "side_by_side", "seed", "format"
        ]
    )]
    fusion: Option<PathBuf>,
    /// The .npy file to write
    #[arg(long, value_name = "EMB")]
    out: PathBuf,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// How much the histories count, where the embeddings count 1. `auto` tries 0 to 2: at each
    /// weight IDs of 4 x 256 codes are made without the validation events, and the weight is
    /// taken whose IDs tell most about these
    #[arg(
        long,
        value_name = "W",
        default_value = "auto",
        requires = "interactions"
    )]
    weight: Weight,
    /// Items meet if they are at most so many places apart in a history
    #[arg(long, value_name = "N", default_value_t = WINDOW, requires = "interactions")]
    window: usize,
    /// Dimensions that the histories are reduced to
    #[arg(long, value_name = "N", default_value_t = RANK, requires = "interactions")]
    rank: usize,
    /// Dimensions to keep of all [default: as many as EMB has]
    #[arg(long, value_name = "N")]
    dim: Option<usize>,
    /// Keep the dimensions of each source, those of the histories last, instead of those in which
    /// all together vary most
    #[arg(long, conflicts_with = "dim")]
    side_by_side: bool,
    /// Seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long, requires = "interactions")]
    format: Option<EventFormat>,
}

/// `EMB2` or `EMB2=W`.
#[derive(Debug, Clone)]
struct Further {
    path: PathBuf,
    weight: Option<f32>,
}

impl FromStr for Further {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=');
        let (path, weight) = parts.map_or((text, None), |(path, weight)| (path, Some(weight)));
        let parse = |weight: &str| {
            weight
                .parse()
                .map_err(|_| format!("{weight:?} is no number"))
        };
        Ok(Self {
            path: path.into(),
            weight: weight.map(parse).transpose()?,
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Weight {
    Auto,
    Given(f32),
}

impl FromStr for Weight {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text
                .parse()
                .map(Self::Given)
                .map_err(|_| "expected a number or `auto`"),
        }
    }
}

/// What `fuse` reports; times in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    items: usize,
    dim: usize,
    /// Dimension of each source.
    sources: Vec<usize>,
    /// The share of the variance that the dimensions keep.
    explained: f64,
    /// Null without --interactions.
    #[serde(flatten)]
    learnt: Option<Learnt>,
    seconds: f64,
    peak_rss: Option<u64>,
}

/// What was learnt of the histories.
#[derive(Debug, Serialize)]
struct Learnt {
    users: usize,
    /// All events, those kept for validation and test included.
    events: usize,
    training_events: usize,
    unknown_items_skipped: u64,
    /// Distinct pairs of items that meet.
    pairs: usize,
    cold_items: usize,
    /// The share of the information on pairs that the rank explains.
    pairs_explained: f64,
    weight: f32,
    /// The search for the weight; empty where it was given.
    trials: Vec<Trial>,
    seconds_search: f64,
}

/// Embeddings of the same items from all sources.
struct Sources {
    keys: ItemKeys,
    values: Vec<Array2<f32>>,
}

impl Fuse {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        let output = EmbeddingOutput::create(&self.out)?;
        let mut manifest = Manifest::new("fuse", self.configuration());
        let sources = self.sources(&mut manifest)?;
        let (fusion, fused, learnt) = match &self.fusion {
            Some(path) => {
                let bytes = map::open(path)?;
                manifest.inputs.insert(name(path), Digest::of(&bytes));
                let fusion =
                    Fusion::from_bytes(&bytes).with_context(|| path.display().to_string())?;
                let views: Vec<_> = sources.values.iter().map(|values| values.view()).collect();
                let fused = fusion.apply(&views)?;
                (fusion, fused, None)
            }
            None => match &self.interactions {
                Some(path) => self.learn(&sources, path, &mut manifest, console)?,
                None => {
                    let weighted = self.weighted(&sources);
                    let (fusion, fused) = Fusion::of_sources(&weighted, self.space(&sources))?;
                    (fusion, fused, None)
                }
            },
        };
        let report = Report {
            out: self.out.clone(),
            items: fused.nrows(),
            dim: fused.ncols(),
            sources: fusion.sources().to_vec(),
            explained: fusion.explained,
            learnt,
            seconds: start.elapsed().as_secs_f64(),
            peak_rss: peak_rss(),
        };
        let mut further = Vec::new();
        if let Some(learnt) = &report.learnt {
            learnt.enter(&mut manifest);
        }
        if self.fusion.is_none() {
            further.push(("fusion", fusion.to_bytes()));
        }
        output.write(fused.view(), sources.keys.iter(), &further, manifest)?;
        console.report(&report)
    }

    fn configuration(&self) -> serde_json::Value {
        if self.fusion.is_some() {
            return json!({});
        }
        let with: Vec<_> = self
            .further
            .iter()
            .map(|f| (name(&f.path), f.weight()))
            .collect();
        let space = json!({ "with": with, "dim": self.dim, "side_by_side": self.side_by_side });
        if self.interactions.is_none() {
            return space;
        }
        json!({
            "space": space,
            "weight": match self.weight {
                Weight::Auto => json!("auto"),
                Weight::Given(weight) => json!(weight),
            },
            "window": self.window,
            "rank": self.rank,
            "format": self.format.map(|format| format.to_string()),
        })
    }

    fn sources(&self, manifest: &mut Manifest) -> anyhow::Result<Sources> {
        let first = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        first.enter(manifest);
        let values = first.embeddings.all();
        let mut values = vec![values.with_context(|| self.embeddings.display().to_string())?];
        for further in &self.further {
            if self.fusion.is_some() && further.weight.is_some() {
                return Err(usage_error(
                    "--with EMB2=W: the fusion knows its weights; give EMB2",
                ));
            }
            let place = || further.path.display().to_string();
            let file = EmbeddingFile::open(&further.path, self.keys.as_deref())?;
            ensure!(
                file.keys.len() == first.keys.len(),
                "{} has {} rows, but {} has {}",
                place(),
                file.keys.len(),
                self.embeddings.display(),
                first.keys.len()
            );
            let differs = first
                .keys
                .iter()
                .zip(file.keys.iter())
                .find(|(a, b)| a != b);
            if let Some((a, b)) = differs.filter(|_| !first.numbered && !file.numbered) {
                anyhow::bail!(
                    "{} has item {b:?} where {} has {a:?}: rows of all sources must be of the \
                     same items in the same order",
                    place(),
                    self.embeddings.display()
                );
            }
            file.enter(manifest);
            values.push(file.embeddings.all().with_context(place)?);
        }
        Ok(Sources {
            keys: first.keys,
            values,
        })
    }

    fn learn(
        &self,
        sources: &Sources,
        path: &Path,
        manifest: &mut Manifest,
        console: &Console,
    ) -> anyhow::Result<(Fusion, Array2<f32>, Option<Learnt>)> {
        let interactions = Interactions::open(path, self.format, &sources.keys)?;
        interactions.enter(manifest);
        manifest.seed = Some(self.seed);
        let training = interactions.training();
        let items = sources.keys.len();
        let vectors =
            CollaborativeVectors::learn(&training, items, self.window, self.rank, self.seed)
                .with_context(|| path.display().to_string())?;

        let weighted = self.weighted(sources);
        let space = self.space(sources);
        let start = Instant::now();
        let (weight, trials) = match self.weight {
            Weight::Given(weight) => (weight, Vec::new()),
            Weight::Auto => best(self.trials(&weighted, &interactions, space, console)?),
        };
        let seconds_search = start.elapsed().as_secs_f64();
        let (fusion, fused) = Fusion::learn(&weighted, &vectors, weight, space)?;
        let histories = interactions.histories();
        let learnt = Learnt {
            users: histories.len(),
            events: histories.events(),
            training_events: training.iter().map(|events| events.len()).sum(),
            unknown_items_skipped: histories.unknown_skipped(),
            pairs: vectors.pairs,
            cold_items: vectors.cold(),
            pairs_explained: vectors.explained,
            weight,
            trials,
            seconds_search,
        };
        Ok((fusion, fused, Some(learnt)))
    }

    fn space(&self, sources: &Sources) -> FusedSpace {
        match self.side_by_side {
            true => FusedSpace::SideBySide,
            false => FusedSpace::Principal(self.dim.unwrap_or_else(|| sources.values[0].ncols())),
        }
    }

    /// The sources with their weights, the first with 1.
    fn weighted<'s>(&self, sources: &'s Sources) -> Vec<FusionSource<'s>> {
        let weights = std::iter::once(1.0).chain(self.further.iter().map(Further::weight));
        let source = |(values, weight): (&'s Array2<f32>, f32)| FusionSource {
            embeddings: values.view(),
            weight,
        };
        sources.values.iter().zip(weights).map(source).collect()
    }

    /// The validation gain at each weight of the grid.
    fn trials(
        &self,
        sources: &[FusionSource<'_>],
        interactions: &Interactions,
        space: FusedSpace,
        console: &Console,
    ) -> anyhow::Result<Vec<Trial>> {
        let histories = interactions.before_test();
        let shape = (self.window, self.rank);
        let bar = progress::bar(console, "weights tried", WeightSearch::GRID.len());
        let search = WeightSearch::new(sources, &histories, shape, space, self.seed);
        let trials = search.and_then(|search| {
            let trial = |weight| search.try_weight(weight).inspect(|_| bar.inc(1));
            WeightSearch::GRID.into_iter().map(trial).collect()
        });
        trials.context(
            "--weight auto learns from a user's events but the last three, and is tested on the \
             last but one; where users have fewer, give a --weight",
        )
    }
}

impl Further {
    fn weight(&self) -> f32 {
        self.weight.unwrap_or(1.0)
    }
}

impl Learnt {
    fn enter(&self, manifest: &mut Manifest) {
        for (what, count) in [
            ("users", self.users as u64),
            ("training_events", self.training_events as u64),
            ("unknown_items_skipped", self.unknown_items_skipped),
            ("pairs", self.pairs as u64),
            ("cold_items", self.cold_items as u64),
        ] {
            manifest.counts.insert(what.to_owned(), count);
        }
        manifest.results = json!({ "weight": self.weight, "trials": self.trials });
    }
}

/// The weight with the greatest gain, the least of equals.
fn best(trials: Vec<Trial>) -> (f32, Vec<Trial>) {
    let better = |a: Trial, b: &Trial| if b.bits > a.bits { *b } else { a };
    let best = trials.iter().fold(trials[0], better);
    (best.weight, trials)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(learnt) = &self.learnt {
            writeln!(f, "{learnt}")?;
        }
        write!(
            f,
            "{}: {} items, {:?} to {} dimensions, which keep {:.1} % of the variance, in {:.1} s",
            self.out.display(),
            self.items,
            self.sources,
            self.dim,
            100.0 * self.explained,
            self.seconds
        )
    }
}

impl fmt::Display for Learnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} users, {} training events ({} events of unknown items left out)",
            self.users, self.training_events, self.unknown_items_skipped
        )?;
        writeln!(
            f,
            "{} pairs of items meet, {} items are cold; the rank explains {:.1} %",
            self.pairs,
            self.cold_items,
            100.0 * self.pairs_explained
        )?;
        for trial in &self.trials {
            writeln!(
                f,
                "weight {:.2}: validation gain {:.3} bits",
                trial.weight, trial.bits
            )?;
        }
        write!(f, "weight {:.2}", self.weight)
    }
}
