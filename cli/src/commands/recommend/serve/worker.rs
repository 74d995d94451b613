//! The one thread that asks the model, for all who wait at the same time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use semid_recommender::{Ask as Query, Recommender};
use tokio::sync::oneshot;
use trie_decode::Outcome;

use super::ask::{Answer, Ask, Resolved};
use super::catalogue::{Catalogue, Snapshot};
use super::metrics::Metrics;
use super::problem::Problem;

/// A question that waits, and where its answer goes. Who no longer waits has dropped the other
/// end, and costs nothing more.
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) reply: oneshot::Sender<Result<Answer, Problem>>,
}

type Waiting = (Resolved, oneshot::Sender<Result<Answer, Problem>>);

/// Owns the model, as libtorch is best asked from one thread.
pub(super) struct Worker {
    pub(super) recommender: Recommender,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) jobs: Receiver<Job>,
    /// Questions that are answered together, at most.
    pub(super) batch: usize,
    /// How long to wait for more of them.
    pub(super) patience: Duration,
}

impl Worker {
    /// Answers until nobody can ask any more.
    pub(super) fn run(&self) {
        while let Some(batch) = self.batch() {
            self.answer(batch);
        }
    }

    /// The first question and those that wait behind it.
    fn batch(&self) -> Option<Vec<Job>> {
        let mut batch = vec![self.next(None)?];
        let until = Instant::now() + self.patience;
        while batch.len() < self.batch
            && let Some(job) = self.next(Some(until))
        {
            batch.push(job);
        }
        Some(batch)
    }

    /// The next question whose answer somebody waits for.
    fn next(&self, until: Option<Instant>) -> Option<Job> {
        loop {
            let job = match until {
                None => self.jobs.recv().ok()?,
                Some(until) => {
                    let rest = until.saturating_duration_since(Instant::now());
                    self.jobs.recv_timeout(rest).ok()?
                }
            };
            self.metrics.queue.dec();
            if !job.reply.is_closed() {
                return Some(job);
            }
        }
    }

    /// Answers a batch from one snapshot.
    ///
    /// Those who ask for as many results from as many beams are searched for together. Others
    /// are not: a wider search that is cut down may find other items, and prove less, so that an
    /// answer would depend on who else has asked.
    fn answer(&self, batch: Vec<Job>) {
        let snapshot = self.catalogue.snapshot();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(batch.len());
        for Job { ask, reply } in batch {
            match ask.resolve(&snapshot, self.recommender.reader()) {
                Ok(resolved) => waiting.push((resolved, reply)),
                Err(problem) => tell(reply, Err(problem)),
            }
        }
        while let Some((first, _)) = waiting.first() {
            let params = first.params.clone();
            let (alike, others) = (waiting.into_iter()).partition(|(ask, _)| ask.params == params);
            waiting = others;
            self.search(&snapshot, alike);
        }
    }

    /// Answers some who ask alike; if that fails each alone, as it may be the fault of one.
    fn search(&self, snapshot: &Snapshot, mut alike: Vec<Waiting>) {
        alike.retain(|(_, reply)| !reply.is_closed());
        if alike.is_empty() {
            return;
        }
        self.metrics.batches.observe(alike.len() as f64);
        match self.outcomes(snapshot, &alike) {
            Ok(outcomes) => {
                for ((resolved, reply), outcome) in alike.into_iter().zip(outcomes) {
                    let reader = self.recommender.reader();
                    tell(reply, resolved.answer(snapshot, reader, outcome));
                }
            }
            Err(_) if alike.len() > 1 => {
                for one in alike {
                    self.search(snapshot, vec![one]);
                }
            }
            Err(error) => {
                let problem = Problem::failed("model", format!("{error:#}"));
                alike
                    .into_iter()
                    .for_each(|(_, reply)| tell(reply, Err(problem.clone())));
            }
        }
    }

    fn outcomes(&self, snapshot: &Snapshot, alike: &[Waiting]) -> anyhow::Result<Vec<Outcome>> {
        let queries = alike.iter().map(|(ask, _)| Query {
            history: &ask.history,
            filter: Some(&ask.filter),
        });
        let queries: Vec<Query<'_>> = queries.collect();
        let params = alike[0].0.params.clone();
        // libtorch's errors, such as a device whose memory is used up, come as panics.
        let search = || (self.recommender).recommend(&snapshot.trie, &queries, params);
        match catch_unwind(AssertUnwindSafe(search)) {
            Ok(outcomes) => Ok(outcomes?),
            Err(panic) => Err(anyhow!("{}", message(&*panic))),
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("the model panicked")
}

/// Gives an answer to one who may have gone.
fn tell(reply: oneshot::Sender<Result<Answer, Problem>>, answer: Result<Answer, Problem>) {
    let _ = reply.send(answer);
}
