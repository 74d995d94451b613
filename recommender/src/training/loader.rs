use std::sync::mpsc::{SyncSender, sync_channel};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use semid_tasks::Draw;

use super::TrainingConfig;
use crate::packing::Batch;
use crate::{Example, Examples, Result};

/// Batches made ahead of the one that is computed.
const AHEAD: usize = 4;

/// Examples that are made at a time, on all threads of the pool.
const BLOCK: usize = 1024;

/// Makes the batches of an epoch on a thread of its own and gives them to `take`, in an order
/// that seed and epoch alone decide.
pub(super) fn each_batch(
    examples: &dyn Examples,
    config: &TrainingConfig,
    epoch: u64,
    mut take: impl FnMut(Batch) -> Result<()>,
) -> Result<()> {
    let (send, batches) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || load(examples, config, epoch, &send));
        batches.into_iter().try_for_each(|batch| take(batch?))
    })
}

/// Sends all batches, or as many as are received.
fn load(
    examples: &dyn Examples,
    config: &TrainingConfig,
    epoch: u64,
    send: &SyncSender<Result<Batch>>,
) {
    let mut order: Vec<usize> = (0..examples.count()).collect();
    order.shuffle(&mut Draw::new(config.seed, "order of examples", epoch));
    let fresh = || Batch::new(config.batch_tokens / config.row_tokens, config.row_tokens);
    let mut batch = fresh();
    for numbers in order.chunks(BLOCK) {
        let made = numbers
            .par_iter()
            .map(|&number| examples.example(epoch, number));
        let made: Result<Vec<Example>> = made.collect();
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let _ = send.send(Err(error));
                return;
            }
        };
        for example in &made {
            if batch.push(example) {
                continue;
            }
            if send
                .send(Ok(std::mem::replace(&mut batch, fresh())))
                .is_err()
            {
                return; // the taker has failed, and says why
            }
            batch.push(example);
        }
    }
    if !batch.is_empty() {
        let _ = send.send(Ok(batch));
    }
}
