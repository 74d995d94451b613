//! What is asked for over HTTP.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, MatchedPath, Query, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ask::{Answer, Ask};
use super::catalogue::{Catalogue, Generation};
use super::metrics::{Metrics, OPEN_METRICS};
use super::problem::Problem;
use super::worker::Job;
use crate::console::Console;

/// All that requests share.
pub(super) struct Service {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) metrics: Arc<Metrics>,
    /// To the worker.
    pub(super) queue: SyncSender<Job>,
    /// Questions that may wait in the queue.
    pub(super) waiting: usize,
    /// Results and beams of a question, at most.
    pub(super) most: usize,
    pub(super) max_body: usize,
    pub(super) timeout: Duration,
    pub(super) access_log: bool,
    pub(super) console: Console,
    /// One who has it reloads.
    pub(super) reloading: Arc<Semaphore>,
}

type Shared = State<Arc<Service>>;
type Answered<T> = Result<T, Problem>;

impl Service {
    pub(super) fn router(self) -> Router {
        let body = DefaultBodyLimit::max(self.max_body);
        let service = Arc::new(self);
        Router::new()
            .route("/", get(page))
            .route("/v1/recommend", post(recommend))
            .route("/v1/items", get(items))
            .route("/v1/catalogue/reload", post(reload))
            .route("/health", get(async || Json(json!({ "status": "alive" }))))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .fallback(missing)
            .method_not_allowed_fallback(mistaken)
            .layer(body)
            .layer(from_fn_with_state(Arc::clone(&service), watch))
            .with_state(service)
    }
}

/// Bounds the time of a request, counts it, and logs it where that is wished for.
async fn watch(State(service): Shared, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other".to_owned(), |path| path.as_str().to_owned());
    let asked = (service.access_log).then(|| format!("{} {}", request.method(), request.uri()));
    let response = match timeout(service.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let limit = service.timeout.as_secs_f64();
            let message = format!("got no answer ready in {limit} s; ask for less, or later");
            Problem::busy("request", message).into_response()
        }
    };
    let (status, time) = (response.status().as_u16(), start.elapsed());
    service.metrics.answered(&route, status, time);
    if let Some(asked) = asked {
        let milliseconds = time.as_secs_f64() * 1e3;
        (service.console).log(format_args!("{asked} {status} {milliseconds:.1} ms"));
    }
    response
}

async fn recommend(
    State(service): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Answered<Json<Answer>> {
    let limit = service.max_body;
    let body = body.map_err(|error| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "body", format!("got more than {limit} bytes"))
        }
        status => Problem::new(status, "body", error.body_text()),
    })?;
    let ask = Ask::read(&body, service.most)?;
    drop(body);
    let (reply, answer) = oneshot::channel();
    // Before it can be taken out, so that the queue is never of negative length.
    service.metrics.queue.inc();
    if let Err(error) = service.queue.try_send(Job { ask, reply }) {
        service.metrics.queue.dec();
        return Err(match error {
            TrySendError::Full(_) => Problem::busy("queue", "it is full; ask later"),
            TrySendError::Disconnected(_) => Problem::busy("queue", "the service ends"),
        });
    }
    let answer = answer.await;
    let gone = || Problem::failed("model", "it gave no answer");
    Ok(Json(answer.map_err(|_| gone())??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    q: String,
}

async fn items(
    State(service): Shared,
    search: Result<Query<Search>, QueryRejection>,
) -> Answered<impl IntoResponse> {
    let search = search.map_err(|error| Problem::bad("query string", error.body_text()))?;
    let snapshot = service.catalogue.snapshot();
    let found = work("index", move || snapshot.search(&search.q)).await?;
    Ok(Json(json!({ "items": found })))
}

async fn reload(State(service): Shared) -> Answered<Json<Generation>> {
    let Ok(turn) = Arc::clone(&service.reloading).try_acquire_owned() else {
        let message = "it is being read already; ask later";
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "index",
            message,
        ));
    };
    let generation = work("index", move || {
        let _turn = turn;
        service.reload()
    });
    Ok(Json(generation.await?))
}

impl Service {
    fn reload(&self) -> anyhow::Result<Generation> {
        super::reload(&self.catalogue, &self.metrics, &self.console)
    }
}

/// Does what takes long beside the requests.
async fn work<T: Send + 'static>(
    at: &'static str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Answered<T> {
    let done = spawn_blocking(work).await;
    let done = done.map_err(|error| Problem::failed(at, error))?;
    done.map_err(|error| Problem::failed(at, format!("{error:#}")))
}

async fn ready(State(service): Shared) -> Answered<Json<Generation>> {
    match service.metrics.queue.get() >= service.waiting as i64 {
        true => Err(Problem::busy("queue", "it is full")),
        false => Ok(Json(service.catalogue.snapshot().generation())),
    }
}

async fn metrics(State(service): Shared) -> Answered<impl IntoResponse> {
    let now = service.catalogue.snapshot().generation();
    let text = service.metrics.text(&now);
    let text = text.map_err(|error| Problem::failed("metrics", error))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

/// The page needs nothing but itself and this service.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

async fn page() -> impl IntoResponse {
    let page = Html(include_str!("page.html"));
    ([(CONTENT_SECURITY_POLICY, POLICY)], page)
}

async fn missing(uri: Uri) -> Problem {
    let message = "there is nothing here; see / for a page, POST /v1/recommend for answers";
    Problem::new(StatusCode::NOT_FOUND, uri.path(), message)
}

async fn mistaken(method: Method, uri: Uri) -> Problem {
    let message = format!("got {method}, expected another method");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, uri.path(), message)
}
