//! HTTP: which paths there are, who may ask them, and how answers and errors are written.

mod access;
mod accounts;
mod alerts;
mod cookies;
mod describe;
mod detection;
mod docs;
mod events;
mod exported;
mod ingest;
mod integrity;
mod ops;
mod page;
mod params;
pub(crate) mod refused;
mod rest;
mod router;
mod rules;
pub(crate) mod schemas;
mod security;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod tlog;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub(crate) use router::router;

use crate::{
    auth::{self, Accounts, Caller, Presented, bearer},
    config::{Config, DetectionConfig, Limits},
    detect::Detection,
    error::ServerError,
    history,
    jobs::Jobs,
    log::Log,
    metrics::Metrics,
    net::rates::RateLimits,
    problem::Problem,
    publisher::{self, Published},
    reader::Reader,
};

/// The time between two tries to begin detection.
const AGAIN: Duration = Duration::from_secs(10);

/// What handlers work with.
pub(crate) struct App {
    /// The log, once this server has it. A standby answers questions without.
    log: OnceLock<Log>,
    /// Answers questions as long as it has not.
    reader: Reader,
    pub metrics: Arc<Metrics>,
    pub accounts: Accounts,
    pub limits: Limits,
    pub jobs: Jobs,
    detection: OnceLock<Arc<Detection>>,
    wants_detection: AtomicBool,
    pub refused_logins: refused::RefusedLogins,
    pub rates: RateLimits,
    exports: exported::Exports,
    pub queries: Semaphore,
    /// Streams at one moment.
    pub streams: Arc<Semaphore>,
    /// Bytes of bodies that are being received.
    pub bodies: Arc<Semaphore>,
    /// Bytes of large answers that are not sent yet.
    pub answers: Arc<Semaphore>,
    /// The API's description, as JSON.
    pub description: OnceLock<Bytes>,
    /// Whether what would go on for ever must end.
    stopping: watch::Sender<bool>,
}

pub(crate) use crate::net::address::Peer;

pub(crate) type Shared = State<Arc<App>>;

impl App {
    /// For a server that has the log.
    pub fn new(log: Log, accounts: Accounts, config: &Config) -> Self {
        let app = Self::standby(log.reader().clone(), log.shared_metrics(), accounts, config);
        app.take_over(log);
        app
    }

    /// For a server that waits for the log.
    pub fn standby(reader: Reader, metrics: Arc<Metrics>, accounts: Accounts, config: &Config) -> Self {
        let limits = config.limits.clone();
        let (queries, streams) = (Semaphore::new(limits.queries), Arc::new(Semaphore::new(limits.streams)));
        let bytes = |limit: usize| Arc::new(Semaphore::new(limit.min(u32::MAX as usize)));
        let (bodies, answers) = (bytes(limits.bodies), bytes(limits.answers));
        let (log, jobs, detection) = (OnceLock::new(), Jobs::default(), OnceLock::new());
        let wants_detection = AtomicBool::new(false);
        let refused_logins = refused::RefusedLogins::default();
        Self {
            log,
            reader,
            metrics,
            accounts,
            limits,
            jobs,
            detection,
            wants_detection,
            refused_logins,
            rates: RateLimits::new(&config.rates),
            exports: exported::Exports::default(),
            queries,
            streams,
            bodies,
            answers,
            description: OnceLock::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Has the log from now on.
    pub fn take_over(&self, log: Log) {
        // It happens once.
        let _ = self.log.set(log);
    }

    /// Looks after the accounts from now on.
    pub fn keep_accounts(self: &Arc<Self>) {
        let app = Arc::downgrade(self);
        let log = move || app.upgrade().map(|app| app.log.get().cloned());
        tokio::spawn(auth::keep_up(self.accounts.clone(), log));
    }

    /// Writes down what is left to be written about accounts, before the log is closed.
    pub async fn rest_accounts(&self) {
        let Some(log) = self.log.get() else { return };
        self.accounts.seal_delayed(log).await;
        if let Err(error) = self.accounts.tidy(log, log.now()).await {
            tracing::warn!(%error, "when tokens were used last could not be written down");
        }
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

    /// Who asks, by what the request's headers prove.
    pub fn authenticate(&self, headers: &HeaderMap, peer: Peer) -> Option<Caller> {
        let presented = match headers.get(header::AUTHORIZATION) {
            Some(header) => Presented::Bearer(bearer(header.to_str().ok()?)?),
            None => Presented::Cookie(cookies::access(headers, peer.over_tls)?),
        };
        self.accounts.authenticate(presented, peer.address, self.reader().now())
    }

    /// Ends with `shutdown`, and makes streams end then: a connection with one would otherwise stay for ever.
    pub fn ending(
        self: &Arc<Self>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let app = self.clone();
        async move {
            shutdown.await;
            app.stopping.send_replace(true);
        }
    }

    /// Says when to end.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
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

/// Where a request came from; a test's own comes from this machine.
fn client(peer: Option<Extension<Peer>>) -> Peer {
    let here = Peer { address: IpAddr::from([127, 0, 0, 1]), over_tls: false };
    peer.map_or(here, |Extension(peer)| peer)
}

/// What handlers give.
pub(crate) type Answer<T> = Result<T, Failure>;

/// Who asks, which the router has found out.
pub(crate) type WithCaller = Extension<Caller>;
