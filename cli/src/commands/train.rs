use std::fmt;
use std::fs;
use std::io::Write;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ndarray::{Array2, Axis};
use rq_vae::{
    BEAMS, CollaborativeVectors, Encoder, EpochReport, Preset, RqVaeConfig, RqVaeParams, Trainer,
    TrainingItems,
};
use semantic_id::{Collisions, ItemKeys, LevelStatistics, Manifest};
use semid_tasks::EventFormat;
use serde::Serialize;
use serde_json::json;
use tch::Device;

use crate::artefact::{EmbeddingFile, beside, peak_rss, write_model};
use crate::console::Console;
use crate::interactions::{Interactions, RANK, WINDOW};
use crate::output::{OutputFile, OutputFolder};
use crate::training::{checkpoint_every, device, with_settings};
use crate::{progress, usage_error};

/// Weight of the alignment with histories, where there are some and it is not set.
const ALIGNMENT: f64 = 0.3;

/// Train a model that turns embeddings into semantic IDs
///
/// Writes the folder MODEL: model.safetensors, config.json, manifest.json and, one line an
/// epoch, epochs.jsonl. While it runs, MODEL.checkpoint holds its state: a training that was
/// killed goes on with --resume and ends in the same model as one that was not.
///
/// Of a large catalogue a random sample is read, 524,288 rows (--set sample=N): the embeddings
/// may be larger than memory.
///
/// With --interactions, IDs learn from users' histories too: a contrastive loss draws quantized
/// items to what their company tells of them (LETTER, arXiv 2405.07314; `alignment` sets its
/// weight, `diversity` that of LETTER's other loss). `semid fuse` before training usually gains
/// more.
#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The embeddings: .npy, .safetensors or .parquet
    embeddings: PathBuf,
    /// The model folder to write
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// Settings to start from: `default`; `lc-rec`, the published recipe, for comparison;
    /// `rk-means`, residual k-means without networks
    #[arg(long, default_value = "default")]
    preset: PresetName,
    /// Levels of a semantic ID
    #[arg(long, value_name = "L")]
    levels: Option<usize>,
    /// Codes a level
    #[arg(long, value_name = "K")]
    codes: Option<usize>,
    /// Give each of several sources codes of its own: dimensions and levels of each, as
    /// 384:3,512:1 for EMB of `semid fuse --side-by-side` (rk-means only)
    #[arg(long, value_name = "D:L,D:L", value_delimiter = ',', value_parser = block)]
    blocks: Vec<(usize, usize)>,
    /// Passes over the catalogue, at most
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Seed of all draws
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What users did, to learn from: JSONL, Parquet, CSV, LC-Rec *.inter.json, RecBole .inter,
    /// Amazon reviews or MovieLens. Of each user the last two events are not looked at; events of
    /// unknown items are left out and counted
    #[arg(long, value_name = "INTERACTIONS")]
    interactions: Option<PathBuf>,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long, requires = "interactions")]
    format: Option<EventFormat>,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// Any other setting by its name in the manifest, as --set batch_size=512
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Where to train: cpu, or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of libtorch. More can be slower: they wait by spinning. The model depends on
    /// their number, not on --threads
    #[arg(long, value_name = "N", default_value = "1")]
    torch_threads: NonZeroU16,
    /// Go on from MODEL.checkpoint, if it is there
    #[arg(long)]
    resume: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetName {
    Default,
    LcRec,
    RkMeans,
}

/// What `train` reports; times in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    items: usize,
    /// Rows that training saw, and that the figures are of.
    sampled: usize,
    dim: usize,
    levels: usize,
    codes: usize,
    epochs_run: usize,
    seconds: f64,
    peak_rss: Option<u64>,
    raw_collision_rate: f64,
    items_in_collisions: f64,
    reconstruction_mse: f64,
    held_out_mse: Option<f64>,
    levels_stats: Vec<LevelStatistics>,
    /// Null without --interactions.
    unknown_items_skipped: Option<u64>,
}

impl Train {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        let config = self.config()?;
        let device = device(&self.device)?;
        if config.epochs == 0 && device != Device::Cpu {
            let device = &self.device;
            return Err(usage_error(format!(
                "--device {device}: residual k-means runs on the CPU only"
            )));
        }
        let output = OutputFolder::create(&self.out)?;
        let file = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        let (rows, embeddings) = file
            .embeddings
            .sample(config.sample, config.seed)
            .with_context(|| self.embeddings.display().to_string())?;
        let histories = self.histories(&config, &file.keys)?;
        let vectors = histories
            .as_ref()
            .map(|(_, vectors)| vectors.view().select(Axis(0), &rows));
        tch::set_num_threads(self.torch_threads.get().into());

        let trained = match config.epochs {
            0 => self.cluster(&config, &embeddings, console)?,
            _ => {
                let items = TrainingItems {
                    embeddings: embeddings.view(),
                    vectors: vectors.as_ref().map(|vectors| vectors.view()),
                };
                self.train(&config, items, device, console)?
            }
        };
        let (paths, _) = trained.encoder.encode(embeddings.view(), BEAMS)?;
        let collisions = Collisions::of(&paths);
        let report = Report {
            out: self.out.clone(),
            items: file.embeddings.len(),
            sampled: embeddings.nrows(),
            dim: embeddings.ncols(),
            levels: config.levels,
            codes: config.codes,
            epochs_run: trained.epochs.len(),
            seconds: start.elapsed().as_secs_f64(),
            peak_rss: peak_rss(),
            raw_collision_rate: collisions.rate,
            items_in_collisions: collisions.items,
            reconstruction_mse: trained.encoder.mse(embeddings.view(), &paths)?,
            held_out_mse: trained
                .epochs
                .iter()
                .filter_map(|e| e.held_out_mse)
                .reduce(f64::min),
            levels_stats: LevelStatistics::of(&paths, trained.encoder.quantizer().space()),
            unknown_items_skipped: histories
                .as_ref()
                .map(|(interactions, _)| interactions.histories().unknown_skipped()),
        };
        let mut manifest = self.manifest(&config, &report)?;
        file.enter(&mut manifest);
        if let Some((interactions, _)) = &histories {
            interactions.enter(&mut manifest);
        }
        write_folder(output, &trained, manifest)?;
        self.remove_checkpoint();
        console.report(&report)
    }

    fn config(&self) -> anyhow::Result<RqVaeConfig> {
        let preset = match self.preset {
            PresetName::Default => Preset::Default,
            PresetName::LcRec => Preset::LcRec,
            PresetName::RkMeans => Preset::RkMeans,
        };
        let mut params = with_settings(RqVaeParams::preset(preset), &self.settings)?;
        if !self.blocks.is_empty() {
            let levels = self.blocks.iter().map(|&(_, levels)| levels);
            params.levels = levels.fold(0, usize::saturating_add);
            params.blocks = self.blocks.clone();
        }
        params.levels = self.levels.unwrap_or(params.levels);
        params.codes = self.codes.unwrap_or(params.codes);
        params.epochs = self.epochs.unwrap_or(params.epochs);
        params.seed = self.seed.unwrap_or(params.seed);
        let set = |name: &str| {
            self.settings
                .iter()
                .any(|s| s.split('=').next() == Some(name))
        };
        match self.interactions {
            Some(_) if params.epochs == 0 => {
                return Err(usage_error(
                    "--interactions: residual k-means has no losses to learn from them; join them \
                     with the embeddings first (`semid fuse`), or train networks",
                ));
            }
            Some(_) if !set("alignment") => params.alignment = ALIGNMENT,
            None if params.alignment > 0.0 => {
                return Err(usage_error(
                    "--set alignment: there is nothing to align with; give --interactions",
                ));
            }
            _ => {}
        }
        params.check().map_err(usage_error)
    }

    /// What users did, and the collaborative vectors of all items.
    fn histories(
        &self,
        config: &RqVaeConfig,
        items: &ItemKeys,
    ) -> anyhow::Result<Option<(Interactions, CollaborativeVectors)>> {
        let Some(path) = &self.interactions else {
            return Ok(None);
        };
        let interactions = Interactions::open(path, self.format, items)?;
        let training = interactions.training();
        let vectors =
            CollaborativeVectors::learn(&training, items.len(), WINDOW, RANK, config.seed)
                .with_context(|| path.display().to_string())?;
        Ok(Some((interactions, vectors)))
    }

    fn cluster(
        &self,
        config: &RqVaeConfig,
        embeddings: &Array2<f32>,
        console: &Console,
    ) -> anyhow::Result<Trained> {
        let bar = progress::bar(console, "k-means levels", config.levels);
        let encoder = Encoder::residual_kmeans(config, embeddings.view(), |_| bar.inc(1))?;
        Ok(Trained {
            encoder,
            epochs: Vec::new(),
        })
    }

    fn train(
        &self,
        config: &RqVaeConfig,
        items: TrainingItems<'_>,
        device: Device,
        console: &Console,
    ) -> anyhow::Result<Trained> {
        let mut trainer = self.trainer(config, items, device, console)?;
        let bar = progress::bar(console, "epochs", config.epochs);
        bar.set_position(trainer.epochs().len() as u64);
        let mut saved = Instant::now();
        while let Some(epoch) = trainer.epoch()? {
            show(&bar, &epoch);
            if saved.elapsed() >= checkpoint_every() {
                self.write_checkpoint(&trainer)?;
                saved = Instant::now();
            }
        }
        bar.finish_and_clear();
        let epochs = trainer.epochs().to_vec();
        Ok(Trained {
            encoder: trainer.finish()?,
            epochs,
        })
    }

    fn trainer(
        &self,
        config: &RqVaeConfig,
        items: TrainingItems<'_>,
        device: Device,
        console: &Console,
    ) -> anyhow::Result<Trainer> {
        let path = self.checkpoint();
        if self.resume && path.exists() {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let trainer = Trainer::resume(config.clone(), items, device, &bytes)
                .with_context(|| path.display().to_string())?;
            console.note(format_args!(
                "resumed after epoch {}",
                trainer.epochs().len()
            ));
            return Ok(trainer);
        }
        let bar = progress::bar(console, "k-means levels", config.levels);
        Ok(Trainer::new(config.clone(), items, device, |_| bar.inc(1))?)
    }

    fn checkpoint(&self) -> PathBuf {
        beside(&self.out, "checkpoint")
    }

    fn write_checkpoint(&self, trainer: &Trainer) -> anyhow::Result<()> {
        let mut file = OutputFile::create(&self.checkpoint())?;
        file.write_all(&trainer.checkpoint())?;
        file.commit()?;
        Ok(())
    }

    /// The model is there: what is left of the way to it is of no more use.
    fn remove_checkpoint(&self) {
        let _ = fs::remove_file(self.checkpoint());
    }

    fn manifest(&self, config: &RqVaeConfig, report: &Report) -> anyhow::Result<Manifest> {
        let configuration = json!({
            "settings": config,
            "device": self.device,
            "torch_threads": self.torch_threads,
        });
        let mut manifest = Manifest::new("train", configuration);
        manifest.seed = Some(config.seed);
        for (what, count) in [
            ("items", report.items),
            ("sampled", report.sampled),
            ("dim", report.dim),
            ("epochs_run", report.epochs_run),
        ] {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        manifest.results = json!({
            "raw_collision_rate": report.raw_collision_rate,
            "reconstruction_mse": report.reconstruction_mse,
            "held_out_mse": report.held_out_mse,
        });
        Ok(manifest)
    }
}

/// `D:L`.
fn block(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once(':')
        .and_then(|(dim, levels)| Some((dim.parse().ok()?, levels.parse().ok()?)));
    numbers.ok_or_else(|| "expected dimensions and levels, as 384:3".to_owned())
}

struct Trained {
    encoder: Encoder,
    epochs: Vec<EpochReport>,
}

fn show(bar: &ProgressBar, epoch: &EpochReport) {
    bar.set_position(epoch.epoch as u64);
    let held_out = epoch.held_out_mse.map(|mse| format!(", held-out {mse:.6}"));
    bar.set_message(format!(
        "epochs: loss {:.3}{}, {:.1} % collide",
        epoch.loss,
        held_out.unwrap_or_default(),
        100.0 * epoch.collisions.rate
    ));
}

fn write_folder(output: OutputFolder, trained: &Trained, manifest: Manifest) -> anyhow::Result<()> {
    let mut epochs = Vec::new();
    for epoch in &trained.epochs {
        serde_json::to_writer(&mut epochs, epoch)?;
        epochs.push(b'\n');
    }
    write_model(
        output,
        &trained.encoder,
        &[("epochs.jsonl", &epochs)],
        manifest,
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} items x {} dimensions to {} levels x {} codes, {} epochs in {:.1} s",
            self.out.display(),
            self.items,
            self.dim,
            self.levels,
            self.codes,
            self.epochs_run,
            self.seconds
        )?;
        if self.sampled < self.items {
            writeln!(f, "trained and measured on {} of them", self.sampled)?;
        }
        write!(f, "reconstruction error {:.6}", self.reconstruction_mse)?;
        if let Some(held_out) = self.held_out_mse {
            write!(f, ", of items kept out of training {held_out:.6}")?;
        }
        write!(
            f,
            "\nbefore assignment {:.2} % of the items collide (rate {:.4}); perplexity",
            100.0 * self.items_in_collisions,
            self.raw_collision_rate
        )?;
        self.levels_stats
            .iter()
            .try_for_each(|level| write!(f, " {:.0}", level.perplexity))?;
        if let Some(skipped) = self.unknown_items_skipped.filter(|&skipped| skipped > 0) {
            write!(f, "\n{skipped} events of unknown items left out")?;
        }
        Ok(())
    }
}
