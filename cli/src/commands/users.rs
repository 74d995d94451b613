use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use ndarray::Axis;
use rq_vae::user_vectors;
use semantic_id::Manifest;
use semid_tasks::EventFormat;
use serde::Serialize;
use serde_json::json;

use crate::artefact::EmbeddingFile;
use crate::console::Console;
use crate::embedding_output::EmbeddingOutput;
use crate::interactions::Interactions;

/// Put users into the space of their items, to give users semantic IDs too
///
/// A user is the mean of the embeddings of the items in its training events (all but the last
/// two), recent ones weighted more. `semid train` and `semid index` make an index over users of
/// the result, which a recipe of `semid tasks` takes as inputs.users. Users without training events
/// are counted and left out.
///
/// Writes EMB, a .npy of f32 [users, dim], and beside it EMB.keys.json, the users' keys, and
/// EMB.manifest.json.
#[derive(Debug, Args)]
pub(crate) struct Users {
    /// The items' embeddings, as fused by `semid fuse`: .npy, .safetensors or .parquet
    embeddings: PathBuf,
    /// What users did: JSONL, Parquet, CSV, LC-Rec *.inter.json, RecBole .inter, Amazon reviews
    /// or MovieLens. Events of unknown items are left out and counted
    #[arg(long, value_name = "INTERACTIONS")]
    interactions: PathBuf,
    /// The .npy file to write
    #[arg(long, value_name = "EMB")]
    out: PathBuf,
    /// The items that were embedded, for their keys [default: EMB.keys.json, else row numbers]
    #[arg(long, value_name = "ITEMS")]
    keys: Option<PathBuf>,
    /// Places in a history after which an event weighs half; `inf` weighs all alike
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    half_life: f64,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long)]
    format: Option<EventFormat>,
}

/// What `users` reports; times in seconds.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    users: usize,
    dim: usize,
    users_without_training: usize,
    training_events: usize,
    unknown_items_skipped: u64,
    seconds: f64,
}

impl Users {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        let output = EmbeddingOutput::create(&self.out)?;
        let file = EmbeddingFile::open(&self.embeddings, self.keys.as_deref())?;
        let interactions = Interactions::open(&self.interactions, self.format, &file.keys)?;
        let items = file.embeddings.all();
        let items = items.with_context(|| self.embeddings.display().to_string())?;

        let training = interactions.training();
        let known: Vec<usize> = (0..training.len())
            .filter(|&user| !training[user].is_empty())
            .collect();
        ensure!(
            !known.is_empty(),
            "{}: none of its {} users has 3 events or more; of each user the last two are kept \
             for validation and test",
            self.interactions.display(),
            training.len()
        );
        let vectors = user_vectors(items.view(), &training, self.half_life)?;
        let vectors = vectors.select(Axis(0), &known);
        let histories = interactions.histories();
        let report = Report {
            out: self.out.clone(),
            users: known.len(),
            dim: vectors.ncols(),
            users_without_training: training.len() - known.len(),
            training_events: training.iter().map(|events| events.len()).sum(),
            unknown_items_skipped: histories.unknown_skipped(),
            seconds: start.elapsed().as_secs_f64(),
        };
        let configuration = json!({
            "half_life": self.half_life,
            "format": self.format.map(|format| format.to_string()),
        });
        let mut manifest = Manifest::new("users", configuration);
        file.enter(&mut manifest);
        interactions.enter(&mut manifest);
        let users: Vec<_> = histories.users().collect();
        let keys = known.iter().map(|&user| histories.key(users[user]));
        output.write(vectors.view(), keys, &[], manifest)?;
        console.report(&report)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} users x {} dimensions from {} training events, in {:.1} s\n\
             {} users without training events and {} events of unknown items left out",
            self.out.display(),
            self.users,
            self.dim,
            self.training_events,
            self.seconds,
            self.users_without_training,
            self.unknown_items_skipped
        )
    }
}
