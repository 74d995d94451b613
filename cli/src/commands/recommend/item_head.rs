//! Training of an item head, after that of its model.

use std::fmt;
use std::time::Instant;

use semid_recommender::{
    EpochReport, Evaluation, HeadParams, HeadTrainer, Headed, ItemHead, Recommender,
};
use serde::Serialize;

use super::course::Data;
use crate::console::Console;
use crate::progress;

/// What came of it; times in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    parameters: usize,
    epochs_run: usize,
    best_epoch: usize,
    /// NDCG@10 of the users that the model was asked about.
    validation: f64,
    seconds: f64,
}

/// The bytes of the head's file, and how it went.
pub(super) fn train(
    recommender: &Recommender,
    data: Data<'_>,
    validation: &Evaluation<'_>,
    seed: u64,
    console: &Console,
) -> anyhow::Result<(Vec<u8>, Report)> {
    let start = Instant::now();
    let Data {
        histories,
        split,
        trie,
    } = data;
    let (model, reader) = (recommender.model(), recommender.reader());
    let params = HeadParams {
        seed,
        ..HeadParams::default()
    };
    let bar = progress::bar(console, "epochs of the item head", params.epochs);
    let config = params.check()?;
    let mut trainer = HeadTrainer::new(model, reader, trie, histories, split, config)?;
    let mut judge = |head: &ItemHead| validation.ndcg(&Headed::new(model, reader, trie, head)?, 10);
    let mut best: Option<EpochReport> = None;
    let mut epochs_run = 0;
    while let Some(epoch) = trainer.epoch(&mut judge)? {
        bar.inc(1);
        epochs_run += 1;
        if best
            .as_ref()
            .is_none_or(|best| best.validation < epoch.validation)
        {
            best = Some(epoch);
        }
    }
    bar.finish_and_clear();
    let head = trainer.finish();
    let report = Report {
        parameters: head.parameters(),
        epochs_run,
        best_epoch: best.as_ref().map_or(0, |epoch| epoch.epoch),
        validation: best.and_then(|epoch| epoch.validation).unwrap_or_default(),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((head.to_bytes(), report))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "item head: {} parameters, {} epochs in {:.0} s, best after epoch {}: NDCG@10 {:.4}",
            self.parameters, self.epochs_run, self.seconds, self.best_epoch, self.validation
        )
    }
}
