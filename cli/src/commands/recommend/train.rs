use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use semantic_id::{Digest, Manifest};
use semid_recommender::{
    EpochReport, Evaluation, Generative, HistoryExamples, Llama, LlamaConfig, Reader, Recommender,
    Settings, Trainer, TrainingConfig, TrainingParams,
};
use semid_tasks::metrics::{Metric, Scores};
use semid_tasks::{EventFormat, Part, Split};
use serde::Serialize;
use serde_json::json;
use trie_decode::ItemTrie;

use super::{folder, item_head};
use crate::artefact::{beside, name, open_index, peak_rss};
use crate::console::Console;
use crate::interactions::Interactions;
use crate::output::{OutputFile, OutputFolder};
use crate::progress;
use crate::training::{checkpoint_every, device, with_settings};

/// Train a recommender from scratch on users' histories
///
/// A small transformer of the Llama family learns to continue histories of semantic IDs. Each
/// user's last event is kept for the test and the one before it for validation; after each epoch
/// the model is asked about validation, and that with the best NDCG@10 is written.
///
/// Writes the folder MODEL: model.safetensors and config.json, which Hugging Face's transformers
/// load; recommender.json; index.safetensors, a copy of INDEX; titles.json; epochs.jsonl, a line
/// an epoch; manifest.json; with --item-head, item_head.safetensors. While it runs, MODEL.checkpoint holds its state: a training that was
/// killed goes on with --resume and ends in the same model as one that was not.
#[derive(Debug, Args)]
pub(crate) struct Train {
    /// Who did what, in any format that `semid tasks` reads. Events of unknown items are left out
    /// and counted
    #[arg(long, value_name = "INTER")]
    interactions: PathBuf,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long)]
    format: Option<EventFormat>,
    /// The index of the items
    #[arg(long, value_name = "INDEX")]
    index: PathBuf,
    /// The items, for their titles
    #[arg(long, value_name = "ITEMS")]
    items: Option<PathBuf>,
    /// The model folder to write
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// Items of a history that the model reads, its last ones
    #[arg(long, value_name = "N", default_value = "20")]
    history: NonZeroUsize,
    /// Width of the transformer, a multiple of 32
    #[arg(long, value_name = "D", default_value = "128")]
    width: NonZeroUsize,
    /// Layers of the transformer
    #[arg(long, value_name = "N", default_value = "2")]
    layers: NonZeroUsize,
    /// Passes over the histories, at most
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Seed of all draws
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Any other setting by its name in the manifest, as --set dropout=0.3
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Train an item head too, for `eval --decoder head`: it scores all items at once, without a
    /// search
    #[arg(long)]
    item_head: bool,
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
    /// Go on from MODEL.checkpoint, if it is there
    #[arg(long)]
    resume: bool,
}

/// Beams of the search that validation is asked by.
const VALIDATION_BEAMS: usize = 20;

/// What `recommend train` reports; times in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    users: usize,
    events: usize,
    items: usize,
    unknown_items_skipped: u64,
    parameters: usize,
    epochs_run: usize,
    best_epoch: usize,
    /// NDCG@10 of `validation_users`.
    validation: f64,
    validation_users: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_head: Option<item_head::Report>,
    seconds: f64,
    seconds_an_epoch: f64,
    peak_rss: Option<u64>,
}

impl Train {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        let device = device(&self.device)?;
        let output = OutputFolder::create(&self.out)?;
        let titles = self.items.as_deref().map(folder::titles).transpose()?;
        let trie = ItemTrie::new(open_index(&self.index, false)?);
        let index = trie.index().expect("the trie was made of an index");
        let interactions = Interactions::open(&self.interactions, self.format, &index.keys()?)?;
        let histories = interactions.histories();
        let split = Split::leave_one_out(histories);
        tch::set_num_threads(self.torch_threads.get().into());

        let reader = Reader::new(Settings {
            index: index.digest(),
            codes: index.space().sizes().to_vec(),
            items: self.history.get(),
        })?;
        let config = self.config(index.levels())?;
        let shape = self.shape(&reader);
        let model = Llama::new(shape, device, config.seed as i64)?;
        let vocabulary = reader.vocabulary();
        let examples =
            HistoryExamples::new(histories, &split, &trie, vocabulary, self.history.get())?;
        let mut trainer = self.trainer(model, &config, &examples, console)?;
        let validation = Evaluation::new(histories, &split, Part::Valid, false);
        let validation = validation.sampled(self.validation_users.get());
        let mut judge = |model: &Llama| {
            let ranker = Generative {
                model,
                reader: &reader,
                trie: &trie,
                beams: VALIDATION_BEAMS,
            };
            let lists = validation.lists(&ranker, 10, |_| ())?;
            let scores = Scores::of(vec![Metric::Ndcg(10)], &validation.paired(&lists));
            Ok((scores.users() > 0).then(|| scores.means()[0]))
        };

        let bar = progress::bar(console, "epochs", config.epochs);
        bar.set_position(trainer.epochs().len() as u64);
        let mut saved = Instant::now();
        while let Some(epoch) = trainer.epoch(&mut judge)? {
            show(&bar, &epoch);
            if saved.elapsed() >= checkpoint_every() {
                self.write_checkpoint(&trainer)?;
                saved = Instant::now();
            }
        }
        bar.finish_and_clear();
        let epochs = trainer.epochs().to_vec();
        let recommender = Recommender::new(trainer.finish(), reader)?;
        let trained = self.item_head.then(|| {
            let seed = config.seed;
            item_head::train(
                &recommender,
                &trie,
                histories,
                &split,
                &validation,
                seed,
                console,
            )
        });
        let (item_head, head_report) = trained.transpose()?.unzip();
        let best = epochs.iter().max_by(|a, b| {
            let value = |epoch: &EpochReport| epoch.validation.unwrap_or_default();
            value(a).total_cmp(&value(b)).then(b.epoch.cmp(&a.epoch))
        });
        let seconds = start.elapsed().as_secs_f64();
        let report = Report {
            out: self.out.clone(),
            users: histories.len(),
            events: histories.events(),
            items: index.items(),
            unknown_items_skipped: histories.unknown_skipped(),
            parameters: recommender.model().parameters(),
            epochs_run: epochs.len(),
            best_epoch: best.map_or(0, |epoch| epoch.epoch),
            validation: best.and_then(|epoch| epoch.validation).unwrap_or_default(),
            validation_users: validation.users().len(),
            item_head: head_report,
            seconds,
            seconds_an_epoch: seconds / epochs.len().max(1) as f64,
            peak_rss: peak_rss(),
        };
        let mut manifest = self.manifest(&config, &report);
        manifest
            .inputs
            .insert(name(&self.index), Digest::of(index.bytes()));
        interactions.enter(&mut manifest);
        folder::write(
            output,
            &recommender,
            index.bytes(),
            &titles.unwrap_or_else(BTreeMap::new),
            &lines(&epochs)?,
            item_head.as_deref(),
            manifest,
        )?;
        // The model is there: what is left of the way to it is of no more use.
        let _ = fs::remove_file(self.checkpoint());
        console.report(&report)
    }

    /// Rows that hold the longest history, unless set otherwise.
    fn config(&self, levels: usize) -> anyhow::Result<TrainingConfig> {
        let mut params = TrainingParams::default();
        params.row_tokens = 1 + self.history.get() * levels;
        params.batch_tokens = params.batch_tokens.max(params.row_tokens);
        let mut params = with_settings(params, &self.settings)?;
        params.epochs = self.epochs.unwrap_or(params.epochs);
        params.seed = self.seed.unwrap_or(params.seed);
        params.check().map_err(crate::usage_error)
    }

    fn shape(&self, reader: &Reader) -> LlamaConfig {
        let levels = reader.settings().codes.len();
        let context = 1 + (self.history.get() + 1) * levels;
        let mut shape = LlamaConfig::small(reader.vocabulary().len(), self.width.get(), context);
        shape.num_hidden_layers = self.layers.get();
        shape
    }

    fn trainer<'e>(
        &self,
        model: Llama,
        config: &TrainingConfig,
        examples: &'e HistoryExamples<'_, crate::map::Bytes>,
        console: &Console,
    ) -> anyhow::Result<Trainer<'e>> {
        let path = self.checkpoint();
        if !self.resume || !path.exists() {
            return Ok(Trainer::new(model, config.clone(), examples)?);
        }
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let trainer = Trainer::resume(model, config.clone(), examples, &bytes)
            .with_context(|| path.display().to_string())?;
        console.note(format_args!(
            "resumed after epoch {}",
            trainer.epochs().len()
        ));
        Ok(trainer)
    }

    fn checkpoint(&self) -> PathBuf {
        beside(&self.out, "checkpoint")
    }

    fn write_checkpoint(&self, trainer: &Trainer<'_>) -> anyhow::Result<()> {
        let mut file = OutputFile::create(&self.checkpoint())?;
        file.write_all(&trainer.checkpoint())?;
        file.commit()?;
        Ok(())
    }

    fn manifest(&self, config: &TrainingConfig, report: &Report) -> Manifest {
        let configuration = json!({
            "settings": config,
            "history": self.history,
            "width": self.width,
            "layers": self.layers,
            "validation_users": self.validation_users,
            "item_head": self.item_head,
            "device": self.device,
            "torch_threads": self.torch_threads,
        });
        let mut manifest = Manifest::new("recommend train", configuration);
        manifest.seed = Some(config.seed);
        let counts = [
            ("users", report.users),
            ("events", report.events),
            ("items", report.items),
        ];
        let counts = counts.map(|(what, count)| (what.to_owned(), count as u64));
        manifest.counts = counts.into();
        manifest.results = json!({
            "best_epoch": report.best_epoch,
            "validation": report.validation,
            "item_head": report.item_head,
        });
        manifest
    }
}

fn lines(epochs: &[EpochReport]) -> anyhow::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for epoch in epochs {
        serde_json::to_writer(&mut lines, epoch)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn show(bar: &ProgressBar, epoch: &EpochReport) {
    bar.set_position(epoch.epoch as u64);
    let validation = epoch
        .validation
        .map(|value| format!(", validation NDCG@10 {value:.4}"));
    bar.set_message(format!(
        "epochs: loss {:.3}{}",
        epoch.loss,
        validation.unwrap_or_default()
    ));
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} parameters learnt from {} events of {} users with {} items, {} epochs in \
             {:.0} s\nbest after epoch {}: NDCG@10 {:.4} on validation ({} users)",
            self.out.display(),
            self.parameters,
            self.events,
            self.users,
            self.items,
            self.epochs_run,
            self.seconds,
            self.best_epoch,
            self.validation,
            self.validation_users
        )?;
        if let Some(head) = &self.item_head {
            write!(f, "\n{head}")?;
        }
        match self.unknown_items_skipped {
            0 => Ok(()),
            skipped => write!(f, "\n{skipped} events of unknown items left out"),
        }
    }
}
