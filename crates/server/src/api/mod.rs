//! HTTP: which paths there are, who may ask them, and how answers and errors are written.

mod alerts;
mod detection;
mod events;
mod ingest;
mod integrity;
mod ops;
mod page;
mod params;
pub(crate) mod refused;
mod rest;
#[cfg(test)]
mod tests;
mod tlog;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody as _},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    auth::{Tokens, bearer},
    config::{DetectionConfig, Limits},
    detect::Detection,
    error::ServerError,
    history,
    jobs::Jobs,
    log::Log,
    metrics::Metrics,
    problem::Problem,
    publisher::{self, Published},
    reader::Reader,
};

/// What needs no token: no data is in it.
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/", "/page.js", "/page.css"];

/// The most bytes of a body that is no body of events.
const MAX_SMALL_BODY: usize = 256 << 10;

/// The time between two tries to begin detection.
const AGAIN: Duration = Duration::from_secs(10);

/// Answers of up to so many bytes are not counted; they are bounded by the number of connections.
const SMALL_ANSWER: u64 = 256 << 10;

/// What handlers work with.
pub(crate) struct App {
    /// The log, once this server has it. A standby answers questions without.
    log: OnceLock<Log>,
    /// Answers questions as long as it has not.
    reader: Reader,
    pub metrics: Arc<Metrics>,
    pub tokens: Tokens,
    pub limits: Limits,
    pub jobs: Jobs,
    detection: OnceLock<Arc<Detection>>,
    wants_detection: AtomicBool,
    pub refused_logins: refused::RefusedLogins,
    pub queries: Semaphore,
    /// Bytes of bodies that are being received.
    pub bodies: Arc<Semaphore>,
    /// Bytes of large answers that are not sent yet.
    pub answers: Arc<Semaphore>,
}

/// Whose token came with the request.
#[derive(Clone, Debug)]
pub(crate) struct Actor(pub String);

/// The address that the request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

pub(crate) type Shared = State<Arc<App>>;

impl App {
    /// For a server that has the log.
    pub fn new(log: Log, tokens: Tokens, limits: Limits) -> Self {
        let app = Self::standby(log.reader().clone(), log.shared_metrics(), tokens, limits);
        app.take_over(log);
        app
    }

    /// For a server that waits for the log.
    pub fn standby(reader: Reader, metrics: Arc<Metrics>, tokens: Tokens, limits: Limits) -> Self {
        let queries = Semaphore::new(limits.queries);
        let bytes = |limit: usize| Arc::new(Semaphore::new(limit.min(u32::MAX as usize)));
        let (bodies, answers) = (bytes(limits.bodies), bytes(limits.answers));
        let (log, jobs, detection) = (OnceLock::new(), Jobs::default(), OnceLock::new());
        let wants_detection = AtomicBool::new(false);
        let refused_logins = refused::RefusedLogins::default();
        Self {
            log,
            reader,
            metrics,
            tokens,
            limits,
            jobs,
            detection,
            wants_detection,
            refused_logins,
            queries,
            bodies,
            answers,
        }
    }

    /// Has the log from now on.
    pub fn take_over(&self, log: Log) {
        // It happens once.
        let _ = self.log.set(log);
    }

    /// Begins to look for what rules describe, if that is wanted. If it can't, the log is served all the same, and it is tried
    /// again.
    pub async fn detect(self: &Arc<Self>, config: &DetectionConfig) {
        let Some(log) = self.log.get().filter(|_| config.enabled) else { return };
        self.wants_detection.store(true, Ordering::Relaxed);
        tokio::spawn(refused::run(Arc::downgrade(self)));
        if self.begin_detection(log, config).await {
            return;
        }
        let (app, log, config) = (Arc::downgrade(self), log.clone(), config.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                let Some(app) = app.upgrade().filter(|app| app.wants_detection()) else { return };
                if app.begin_detection(&log, &config).await {
                    return;
                }
            }
        });
    }

    async fn begin_detection(&self, log: &Log, config: &DetectionConfig) -> bool {
        match Detection::start(log, config).await {
            Ok(detection) => {
                let _ = self.detection.set(detection);
                true
            }
            Err(error) => {
                tracing::error!(%error, "detection could not begin; it is tried again");
                false
            }
        }
    }

    /// Says beforehand whether detection will begin, so that nobody makes alerts again between having the log and that.
    pub fn expects_detection(&self, wanted: bool) {
        self.wants_detection.store(wanted, Ordering::Relaxed);
    }

    /// Whether rules should be looked for.
    pub fn wants_detection(&self) -> bool {
        self.wants_detection.load(Ordering::Relaxed)
    }

    /// What rules describe, and what was found.
    ///
    /// # Errors
    /// [`ServerError::Standby`], [`ServerError::NoDetection`].
    pub fn detection(&self) -> Result<&Arc<Detection>, ServerError> {
        self.log()?;
        self.detection.get().ok_or(ServerError::NoDetection)
    }

    /// Ends detection in good order, before the log is closed.
    pub async fn stop_detection(&self) {
        self.wants_detection.store(false, Ordering::Relaxed);
        if let Some(detection) = self.detection.get() {
            detection.stop().await;
        }
    }

    /// The log.
    ///
    /// # Errors
    /// [`ServerError::Standby`]: another server has it.
    pub fn log(&self) -> Result<&Log, ServerError> {
        self.log.get().ok_or(ServerError::Standby)
    }

    /// Answers questions, whoever has the log.
    pub fn reader(&self) -> &Reader {
        self.log.get().map_or(&self.reader, Log::reader)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn published(&self) -> Result<Option<Published>, ServerError> {
        if let Some(log) = self.log.get() {
            return Ok(log.publisher().published());
        }
        let store = &**self.reader.store();
        publisher::newest(store, history::read(store).await?.log()).await
    }

    /// A place among the queries at one moment.
    pub fn query(&self) -> Result<Running<'_>, ServerError> {
        let permit = self.queries.try_acquire().map_err(|_| ServerError::Busy)?;
        Ok(Running { _permit: permit, app: self, started: Instant::now() })
    }
}

/// A query at work.
pub(crate) struct Running<'a> {
    _permit: SemaphorePermit<'a>,
    app: &'a App,
    started: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.app.metrics.queried(self.started.elapsed());
    }
}

/// Every path.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::html))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/api/v1/events", post(ingest::post).get(events::search))
        .route("/api/v1/events/histogram", get(events::histogram))
        .route("/api/v1/events/top", get(events::top))
        .route("/api/v1/events/count", get(events::count))
        .route("/api/v1/events/{index}", get(events::event))
        .route("/api/v1/events/{index}/proof", get(events::proof))
        .route("/api/v1/entries", get(events::entries))
        .route("/api/v1/imports/{id}", get(events::import))
        .route("/api/v1/integrity", get(integrity::integrity))
        .route("/api/v1/integrity/verify", post(integrity::start).get(integrity::last))
        .route("/api/v1/integrity/verify/{id}", get(integrity::one))
        .route("/api/v1/integrity/rebuild", post(integrity::rebuild))
        .route("/api/v1/keys/rotate", post(integrity::rotate))
        .merge(detecting())
        .route("/log/checkpoint", get(tlog::checkpoint))
        .route("/log/tile/{*path}", get(tlog::tile))
        .fallback(async || Failure(ServerError::NotFound("This path".to_owned())))
        .method_not_allowed_fallback(async || Failure(ServerError::Method))
        .layer(DefaultBodyLimit::max(MAX_SMALL_BODY))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// The paths of detection.
fn detecting() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/{id}", get(alerts::one).patch(alerts::change))
        .route("/api/v1/rules", get(detection::rules))
        .route("/api/v1/rules/reload", post(detection::reload))
        .route("/api/v1/rules/settings", get(detection::settings).put(detection::set_settings))
        .route("/api/v1/rules/exceptions", get(detection::exceptions).post(detection::add_exception))
        .route("/api/v1/rules/exceptions/preview", post(detection::preview))
        .route("/api/v1/rules/exceptions/{id}", delete(detection::remove_exception))
        .route("/api/v1/rules/replay", post(detection::replay))
        .route("/api/v1/rules/replay/{id}", get(detection::replayed).delete(detection::cancel_replay))
        .route("/api/v1/rules/overrides/{id}", put(detection::set_override))
        .route("/api/v1/analyses", get(detection::list_analyses))
        .route("/api/v1/analyses/{id}", get(detection::analysis))
}

/// Lets in whoever has a token, and counts.
async fn guard(State(app): Shared, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let (body, left) = rest::Returning::around(std::mem::take(request.body_mut()));
    *request.body_mut() = body;
    // Such a client sends nothing before it is told to go on, and a refusal is what it waits for.
    let expects = request.headers().contains_key(header::EXPECT);
    let response = if OPEN.contains(&request.uri().path()) {
        next.run(request).await
    } else {
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match header.and_then(bearer).and_then(|token| app.tokens.check(token)) {
            Some(actor) => {
                request.extensions_mut().insert(Actor(actor));
                next.run(request).await
            }
            None => {
                if let Some(Peer(peer)) = request.extensions().get().filter(|_| app.wants_detection()) {
                    app.refused_logins.note(peer.ip());
                }
                drop(request);
                Failure(ServerError::Unauthorized).into_response()
            }
        }
    };
    let response = with_room(&app, with_problem(response)).await;
    let metrics = &app.metrics;
    metrics.http(method.as_str(), response.status().as_u16());
    if let Some(Refused(code)) = response.extensions().get() {
        metrics.request_refused(code);
        if !expects && *code != "body_timeout" {
            // A client that is too slow even now is cut off.
            drop(tokio::time::timeout(app.limits.header_time, rest::drain(left, app.limits.body)).await);
        }
    }
    with_security(response)
}

/// Gives a refusal of the framework, which knows nothing of problem details, the form of ours.
fn with_problem(response: Response) -> Response {
    if !response.status().is_client_error() || response.extensions().get::<Refused>().is_some() {
        return response;
    }
    let error = if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ServerError::BodyTooLarge { limit: MAX_SMALL_BODY, inflated: false }
    } else {
        ServerError::Body("path or body are malformed".to_owned())
    };
    Failure(error).into_response()
}

/// Counts a large answer until it is sent: whoever asks for many and reads none must not fill the memory.
async fn with_room(app: &App, response: Response) -> Response {
    let Some(size) = response.body().size_hint().exact().filter(|size| *size > SMALL_ANSWER) else { return response };
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(app.limits.answers);
    let room = app.answers.clone().try_acquire_many_owned(u32::try_from(room).unwrap_or(u32::MAX));
    let Ok(room) = room else { return Failure(ServerError::Busy).into_response() };
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        // The connection lets the body go as soon as it has its bytes, so these have to hold the place.
        Ok(bytes) => Response::from_parts(parts, Body::from(Bytes::from_owner(Held { bytes, _room: room }))),
        Err(error) => Failure(ServerError::Internal(format!("an answer: {error}"))).into_response(),
    }
}

/// The bytes of an answer with their place among those that wait.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn with_security(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Failure(ServerError::Internal("a handler panicked; the panic's own message says where".to_owned())).into_response()
}

/// The code of the problem in a response, for counting.
#[derive(Clone, Copy, Debug)]
struct Refused(&'static str);

/// An error on its way out.
pub(crate) struct Failure(pub ServerError);

impl<E: Into<ServerError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self.0);
        if problem.internal {
            tracing::error!(error = %self.0, code = problem.code, "a request failed");
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sceau\""));
        }
        response.extensions_mut().insert(Refused(problem.code));
        response
    }
}

/// What handlers give.
pub(crate) type Answer<T> = Result<T, Failure>;

/// The token's owner, which [`guard`] has put there.
pub(crate) type WithActor = Extension<Actor>;
