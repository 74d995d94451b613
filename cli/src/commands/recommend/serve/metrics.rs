//! What Prometheus is told.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::catalogue::Generation;

/// The media type of [`Metrics::text`].
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts of all that happens.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    /// Questions that were answered together.
    pub(super) batches: Histogram,
    /// Questions that wait.
    pub(super) queue: Gauge,
    reloads: Family<Reloaded, Counter>,
    generation: Gauge,
    items: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reloaded {
    ok: bool,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Family::default();
        // 1 ms to 16 s.
        let seconds = Family::new_with_constructor(
            (|| Histogram::new(exponential_buckets(0.001, 2.0, 15))) as fn() -> Histogram,
        );
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        let reloads = Family::default();
        let (queue, generation, items) = (Gauge::default(), Gauge::default(), Gauge::default());

        let mut registry = Registry::with_prefix("semid");
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("batch_size", "Questions answered together", batches.clone());
        registry.register("queue_length", "Questions that wait", queue.clone());
        registry.register("reloads", "Times the index was read again", reloads.clone());
        registry.register(
            "catalogue_generation",
            "Generation of the index that is served",
            generation.clone(),
        );
        registry.register("catalogue_items", "Items that are offered", items.clone());
        Self {
            registry,
            requests,
            seconds,
            batches,
            queue,
            reloads,
            generation,
            items,
        }
    }

    pub(super) fn answered(&self, route: &str, status: u16, time: Duration) {
        let route = route.to_owned();
        let answered = Answered {
            route: route.clone(),
            status,
        };
        self.requests.get_or_create(&answered).inc();
        let seconds = self.seconds.get_or_create(&Route { route });
        seconds.observe(time.as_secs_f64());
    }

    pub(super) fn reloaded(&self, ok: bool) {
        self.reloads.get_or_create(&Reloaded { ok }).inc();
    }

    /// All of it, in the text format of OpenMetrics.
    pub(super) fn text(&self, now: &Generation) -> Result<String, fmt::Error> {
        self.generation.set(now.generation as i64);
        self.items.set(now.items as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
