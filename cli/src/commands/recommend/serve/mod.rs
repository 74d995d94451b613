//! A recommender as an HTTP service.
//!
//! ```text
//! connections -- http --(queue)--> worker, which owns the model
//!                  |                  |
//!                  +--- catalogue ----+   snapshots of the index, swapped while both run
//! ```
//!
//! The worker is the main thread, where the model was opened; HTTP is on one of its own.

mod ask;
mod catalogue;
mod connections;
mod http;
mod metrics;
mod problem;
mod worker;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};

use self::catalogue::{Catalogue, Generation};
use self::http::Service;
use self::metrics::Metrics;
use self::worker::Worker;
use super::folder::Source;
use crate::console::Console;
use crate::output;

/// Recommend items over HTTP
///
/// POST /v1/recommend takes {"history": [KEY, ...]}, the oldest item first, and gives {"items":
/// [{"key", "title", "id", "score"}, ...], "exact", "gap", "unknown", "dropped", "generation"}, as
/// `semid recommend query` does. More may be asked for: "k" items (10) from "beams" prefixes a
/// level (50), none of "deny", only those of "allow", those of the history too with "with_seen":
/// true; "paths": true tells each item's way through the tree. Keys that the index lacks are left
/// out and listed, or refused with "unknown": "refuse". Who gets no answer gets {"error":
/// {"status", "where", "message"}}: 400 for a bad question, 413 for one that is too long, 503 with
/// Retry-After when too many wait or time is up.
///
/// Questions that wait at the same time are answered together.
///
/// POST /v1/catalogue/reload, or SIGHUP, reads the index again, as the generations that `semid
/// add` and `semid remove` make are put in its place. It is served if it is whole and the model
/// knows it or its parent: from its training, or as one that was served before. Else the old one
/// stays, and the answer, or the log, says why. MODEL/titles.json is read along, for new items. Each
/// request is answered from one generation, and the answer names it.
///
/// GET / is a page to try it all. GET /v1/items?q=TEXT finds items by title and key. GET /health
/// says that the process lives, GET /ready that there is room in the queue; GET /metrics is for
/// Prometheus.
///
/// SIGTERM and Ctrl-C end the service when the requests that run are answered; a second one ends it
/// at once. Whoever reaches the address can ask and reload: put a proxy in front of it that knows
/// who may.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    source: Source,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    /// Questions answered together, at most
    #[arg(long, value_name = "N", default_value = "32")]
    batch: NonZeroUsize,
    /// Wait so long for more questions before any is answered. With 0, a batch is what has come
    /// while the one before was answered
    #[arg(long, value_name = "MS", default_value = "0")]
    batch_wait_ms: u64,
    /// Questions that may wait; more are refused with 503
    #[arg(long, value_name = "N", default_value = "256")]
    queue: NonZeroUsize,
    /// Results and beams that a question may ask for, at most
    #[arg(long, value_name = "N", default_value = "500")]
    max_beams: NonZeroUsize,
    /// Bytes of a question, at most
    #[arg(long, value_name = "BYTES", default_value = "1048576")]
    max_body: NonZeroUsize,
    /// Connections at a time; more wait to be accepted
    #[arg(long, value_name = "N", default_value = "1024")]
    connections: NonZeroUsize,
    /// Seconds for a request, from its head to its answer, and for the last ones when the service
    /// ends
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    timeout: NonZeroUsize,
    /// Write a line a request to stderr
    #[arg(long)]
    access_log: bool,
}

/// What is printed when the service can be asked.
#[derive(Debug, Serialize)]
struct Started {
    address: SocketAddr,
    model: PathBuf,
    #[serde(flatten)]
    serving: Generation,
}

impl Serve {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let recommender = self.source.recommender()?;
        let settings = recommender.reader().settings().clone();
        let catalogue = Arc::new(Catalogue::open(self.source.clone(), settings)?);
        let metrics = Arc::new(Metrics::new());
        let (queue, jobs) = sync_channel(self.queue.get());
        let timeout = Duration::from_secs(self.timeout.get() as u64);
        let service = Service {
            catalogue: Arc::clone(&catalogue),
            metrics: Arc::clone(&metrics),
            queue,
            waiting: self.queue.get(),
            most: self.max_beams.get(),
            max_body: self.max_body.get(),
            timeout,
            access_log: self.access_log,
            console: console.clone(),
            reloading: Arc::new(Semaphore::new(1)),
        };
        let worker = Worker {
            recommender,
            catalogue: Arc::clone(&catalogue),
            metrics: Arc::clone(&metrics),
            jobs,
            batch: self.batch.get(),
            patience: Duration::from_millis(self.batch_wait_ms),
        };

        let cannot = || format!("cannot listen on {}", self.addr);
        let listener = TcpListener::bind(self.addr).with_context(cannot)?;
        listener.set_nonblocking(true).with_context(cannot)?;
        let started = Started {
            address: listener.local_addr().with_context(cannot)?,
            model: self.source.model.clone(),
            serving: catalogue.snapshot().generation(),
        };
        let (interrupt, interrupted) = oneshot::channel();
        output::on_interrupt(move || _ = interrupt.send(()));
        reload_on_hangup(catalogue, metrics, console.clone())?;

        let most = self.connections.get();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let http = thread::spawn(move || {
            let router = service.router();
            let served = connections::serve(listener, router, most, interrupted, timeout);
            let served = runtime.block_on(served);
            // With it goes what holds the queue open, and the worker ends.
            runtime.shutdown_background();
            served
        });
        console.report(&started)?;
        worker.run();
        let served = http
            .join()
            .map_err(|_| anyhow!("the HTTP thread panicked"))?;
        served.context("the service broke off")
    }
}

/// Reads the index again at each SIGHUP.
fn reload_on_hangup(
    catalogue: Arc<Catalogue>,
    metrics: Arc<Metrics>,
    console: Console,
) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGHUP]).context("cannot handle SIGHUP")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            // The log has what there is to say.
            let _ = reload(&catalogue, &metrics, &console);
        }
    });
    Ok(())
}

/// Reads the index again, and tells how that went.
fn reload(
    catalogue: &Catalogue,
    metrics: &Metrics,
    console: &Console,
) -> anyhow::Result<Generation> {
    let reloaded = catalogue.reload();
    metrics.reloaded(reloaded.is_ok());
    match &reloaded {
        Ok(now) => console.log(format_args!("serving {now}")),
        Err(error) => console.log(format_args!("still serving the old index: {error:#}")),
    }
    reloaded
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, {} items", self.generation, self.items)
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, model, serving) = (self.address, self.model.display(), &self.serving);
        write!(f, "http://{address} serves {model}: {serving}")
    }
}
