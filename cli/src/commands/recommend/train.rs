use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use semantic_id::{Digest, Manifest};
use semid_tasks::{EventFormat, Split};
use serde::Serialize;
use serde_json::json;
use trie_decode::ItemTrie;

use super::course::{Checkpoint, Course, Data, Trained};
use super::scratch::Scratch;
use super::tune::Tune;
use super::{folder, item_head};
use crate::artefact::{beside, name, open_index, peak_rss};
use crate::console::Console;
use crate::interactions::Interactions;
use crate::output::OutputFolder;

/// Train a recommender on users' histories, from scratch or from a language model
///
/// From scratch, a small transformer of the Llama family learns to continue histories of semantic
/// IDs. With --corpus and --init, a language model of that family is tuned: its tokenizer gets a
/// token for each code, and it learns the answers of the corpus' rows; later it is asked the
/// question of the recipe's task `sequential`.
///
/// Each user's last event is kept for the test and the one before it for validation; after each
/// epoch the model is asked about validation, and that with the best NDCG@10 is written.
///
/// Writes the folder MODEL: model.safetensors and config.json, which Hugging Face's transformers
/// load; recommender.json; of a language model tokenizer.json and tokenizer_config.json; with
/// --item-head item_head.safetensors; index.safetensors, a copy of INDEX; titles.json;
/// epochs.jsonl, a line an epoch; manifest.json. While it runs, MODEL.checkpoint holds its state:
/// a training that was killed goes on with --resume and ends in the same model as one that was not.
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
    #[command(flatten)]
    tune: Option<Tune>,
    #[command(flatten)]
    scratch: Scratch,
    #[command(flatten)]
    course: Course,
    /// Train an item head too, for `eval --decoder head`: it scores all items at once, without a
    /// search
    #[arg(long, conflicts_with = "corpus")]
    item_head: bool,
    /// Seed of all draws
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Go on from MODEL.checkpoint, if it is there
    #[arg(long)]
    resume: bool,
}

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
        self.course.device()?;
        let output = OutputFolder::create(&self.out)?;
        let titles = self.items.as_deref().map(folder::titles).transpose()?;
        let trie = ItemTrie::new(open_index(&self.index, false)?);
        let index = trie.index().expect("the trie was made of an index");
        let interactions = Interactions::open(&self.interactions, self.format, &index.keys()?)?;
        let histories = interactions.histories();
        let data = Data {
            histories,
            split: &Split::leave_one_out(histories),
            trie: &trie,
        };
        let checkpoint = Checkpoint {
            path: beside(&self.out, "checkpoint"),
            resume: self.resume,
        };
        let (course, seed) = (&self.course, self.seed);
        let trained = match &self.tune {
            None => (self.scratch).train(course, seed, data, &checkpoint, console)?,
            Some(tune) => {
                let events = interactions.digest();
                tune.train(course, seed, data, events, &checkpoint, console)?
            }
        };

        let head = self.item_head.then(|| {
            let users = self.course.validation(data);
            let seed = trained.config.seed;
            item_head::train(&trained.recommender, data, &users, seed, console)
        });
        let (item_head, head_report) = head.transpose()?.unzip();

        let best = trained.best();
        let seconds = start.elapsed().as_secs_f64();
        let report = Report {
            out: self.out.clone(),
            users: histories.len(),
            events: histories.events(),
            items: index.items(),
            unknown_items_skipped: histories.unknown_skipped(),
            parameters: trained.recommender.model().parameters(),
            epochs_run: trained.epochs.len(),
            best_epoch: best.map_or(0, |epoch| epoch.epoch),
            validation: best.and_then(|epoch| epoch.validation).unwrap_or_default(),
            validation_users: trained.validation_users,
            item_head: head_report,
            seconds,
            seconds_an_epoch: seconds / trained.epochs.len().max(1) as f64,
            peak_rss: peak_rss(),
        };
        let mut manifest = self.manifest(&trained, &report);
        manifest.inputs.clone_from(&trained.inputs);
        manifest
            .inputs
            .insert(name(&self.index), Digest::of(index.bytes()));
        interactions.enter(&mut manifest);
        folder::write(
            output,
            &trained.recommender,
            index.bytes(),
            &titles.unwrap_or_else(BTreeMap::new),
            &trained.lines()?,
            item_head.as_deref(),
            manifest,
        )?;
        checkpoint.remove();
        console.report(&report)
    }

    fn manifest(&self, trained: &Trained, report: &Report) -> Manifest {
        let configuration = json!({
            "settings": trained.config,
            "model": match &self.tune {
                None => json!(self.scratch),
                Some(tune) => json!(tune),
            },
            "course": self.course,
            "item_head": self.item_head,
        });
        let mut manifest = Manifest::new("recommend train", configuration);
        manifest.seed = Some(trained.config.seed);
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
