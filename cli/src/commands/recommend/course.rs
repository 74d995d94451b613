//! A training from its first epoch to its last, whatever is trained.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use semantic_id::Digest;
use semid_recommender::{
    EpochReport, Evaluation, Example, Examples, Generative, Llama, Reader, Recommender, Trainer,
    TrainingConfig, TrainingParams,
};
use semid_tasks::{Histories, Part, Split};
use serde::Serialize;
use tch::Device;
use trie_decode::ItemTrie;

use crate::console::Console;
use crate::map::Bytes;
use crate::output::OutputFile;
use crate::progress;
use crate::training::{checkpoint_every, device, with_settings};

/// How long to train, and where.
#[derive(Debug, Clone, Args, Serialize)]
pub(super) struct Course {
    /// Passes over the histories, or over the corpus, at most
    #[arg(long, value_name = "N")]
    #[serde(skip)]
    epochs: Option<usize>,
    /// Any other setting by its name in the manifest, as --set dropout=0.3
    #[arg(long = "set", value_name = "NAME=VALUE")]
    #[serde(skip)]
    settings: Vec<String>,
    /// Users who are asked about after each epoch
    #[arg(long, value_name = "N", default_value = "2000")]
    validation_users: NonZeroUsize,
    /// Where to train: cpu, or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of libtorch. More can be slower: they wait by spinning. The model depends on
    /// their number, not on --threads
    #[arg(long, value_name = "N", default_value = "1")]
    torch_threads: NonZeroU16,
}

/// What is learnt from.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) histories: &'a Histories,
    pub(super) split: &'a Split,
    pub(super) trie: &'a ItemTrie<Bytes>,
}

/// What a training begins with.
pub(super) struct Start<'a> {
    pub(super) model: Llama,
    pub(super) reader: &'a Reader,
    pub(super) config: TrainingConfig,
}

/// Where a training is kept from one sitting to the next.
pub(super) struct Checkpoint {
    pub(super) path: PathBuf,
    /// Whether to go on from there.
    pub(super) resume: bool,
}

/// What a training has made.
pub(super) struct Trained {
    pub(super) recommender: Recommender,
    pub(super) config: TrainingConfig,
    pub(super) epochs: Vec<EpochReport>,
    pub(super) validation_users: usize,
    /// Hash of each file that it was made of beside index and interactions, by name.
    pub(super) inputs: BTreeMap<String, Digest>,
}

/// Beams of the search that validation is asked by.
const VALIDATION_BEAMS: usize = 20;

impl Course {
    /// The device, with libtorch's threads set.
    pub(super) fn device(&self) -> anyhow::Result<Device> {
        let device = device(&self.device)?;
        tch::set_num_threads(self.torch_threads.get().into());
        Ok(device)
    }

    /// Settings that are not typed are those of `params`.
    pub(super) fn config(
        &self,
        params: TrainingParams,
        seed: Option<u64>,
    ) -> anyhow::Result<TrainingConfig> {
        let mut params = with_settings(params, &self.settings)?;
        params.epochs = self.epochs.unwrap_or(params.epochs);
        params.seed = seed.unwrap_or(params.seed);
        params.check().map_err(crate::usage_error)
    }

    /// The users who are asked about.
    pub(super) fn validation<'a>(&self, data: Data<'a>) -> Evaluation<'a> {
        let validation = Evaluation::new(data.histories, data.split, Part::Valid, false);
        validation.sampled(self.validation_users.get())
    }

    /// Trains a model on examples, and keeps the epoch after which it was best on validation.
    pub(super) fn run(
        &self,
        start: Start<'_>,
        examples: &dyn Examples,
        data: Data<'_>,
        checkpoint: &Checkpoint,
        console: &Console,
    ) -> anyhow::Result<Done> {
        let Start {
            model,
            reader,
            config,
        } = start;
        let validation = self.validation(data);
        let mut judge = |model: &Llama| {
            let ranker = Generative {
                model,
                reader,
                trie: data.trie,
                beams: VALIDATION_BEAMS,
            };
            validation.ndcg(&ranker, 10)
        };

        let bar = progress::bar(console, "examples", config.epochs * examples.count());
        let watched = Watched {
            examples,
            bar: &bar,
        };
        let mut trainer = checkpoint.trainer(model, &config, &watched, console)?;
        bar.set_position((trainer.epochs().len() * examples.count()) as u64);
        let mut saved = Instant::now();
        while let Some(epoch) = trainer.epoch(&mut judge)? {
            show(&bar, &epoch);
            if saved.elapsed() >= checkpoint_every() {
                checkpoint.write(&trainer)?;
                saved = Instant::now();
            }
        }
        bar.finish_and_clear();
        let epochs = trainer.epochs().to_vec();
        Ok(Done {
            model: trainer.finish(),
            config,
            epochs,
            validation_users: validation.users().len(),
        })
    }
}

/// The end of a training.
pub(super) struct Done {
    model: Llama,
    config: TrainingConfig,
    epochs: Vec<EpochReport>,
    validation_users: usize,
}

impl Done {
    /// The model and how it reads.
    pub(super) fn with(self, reader: Reader) -> anyhow::Result<Trained> {
        Ok(Trained {
            recommender: Recommender::new(self.model, reader)?,
            config: self.config,
            epochs: self.epochs,
            validation_users: self.validation_users,
            inputs: BTreeMap::new(),
        })
    }
}

impl Checkpoint {
    fn trainer<'e>(
        &self,
        model: Llama,
        config: &TrainingConfig,
        examples: &'e dyn Examples,
        console: &Console,
    ) -> anyhow::Result<Trainer<'e>> {
        let path = &self.path;
        if !self.resume || !path.exists() {
            return Ok(Trainer::new(model, config.clone(), examples)?);
        }
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let trainer = Trainer::resume(model, config.clone(), examples, &bytes)
            .with_context(|| path.display().to_string())?;
        console.note(format_args!(
            "resumed after epoch {}",
            trainer.epochs().len()
        ));
        Ok(trainer)
    }

    fn write(&self, trainer: &Trainer<'_>) -> anyhow::Result<()> {
        let mut file = OutputFile::create(&self.path)?;
        file.write_all(&trainer.checkpoint())?;
        file.commit()?;
        Ok(())
    }

    /// Called when the model is there: what is left of the way to it is of no more use.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Trained {
    /// The epoch whose model was kept.
    pub(super) fn best(&self) -> Option<&EpochReport> {
        self.epochs.iter().max_by(|a, b| {
            let value = |epoch: &EpochReport| epoch.validation.unwrap_or_default();
            value(a).total_cmp(&value(b)).then(b.epoch.cmp(&a.epoch))
        })
    }

    /// The epochs, a line of JSON each.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for epoch in &self.epochs {
            serde_json::to_writer(&mut lines, epoch)?;
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

/// Examples that move a bar when they are made, shortly before they are learnt.
struct Watched<'a> {
    examples: &'a dyn Examples,
    bar: &'a ProgressBar,
}

impl Examples for Watched<'_> {
    fn count(&self) -> usize {
        self.examples.count()
    }

    fn example(&self, epoch: u64, number: usize) -> semid_recommender::Result<Example> {
        self.bar.inc(1);
        self.examples.example(epoch, number)
    }

    fn digest(&self) -> String {
        self.examples.digest()
    }
}

fn show(bar: &ProgressBar, epoch: &EpochReport) {
    let validation = epoch
        .validation
        .map(|value| format!(", validation NDCG@10 {value:.4}"));
    bar.set_message(format!(
        "examples, after epoch {}: loss {:.3}{}",
        epoch.epoch,
        epoch.loss,
        validation.unwrap_or_default()
    ));
}
