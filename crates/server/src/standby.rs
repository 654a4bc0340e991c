//! A server that waits: it answers questions about a log that another server has, follows it, and takes it over when that
//! one is gone.
//!
//! Following means that the key directory notes what this server has seen and found to have this log's MACs: so a take-over
//! has little left to check, and a database that is set back is refused.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use sceau_event::{Deriver, Micros};
use sceau_ledger::{Head, TreeSize};
use sceau_store::{Store, StoreError};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    api::{self, App},
    auth::Accounts,
    clock::Clock,
    config::Config,
    error::ServerError,
    history, init,
    keydir::KeyDir,
    lease::{Keeper, Owner, Taken},
    log::{Log, Open, check_noted, restore_bundle},
    metrics::Metrics,
    net::{accept::Front, tls::Tls, watch::watch},
    place, prover,
    reader::{Reader, load_deriver},
    schedule,
    sequencer::Health,
    serve::Ready,
};

/// What was made for a further server of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// The log's name.
    pub origin: String,
    /// The key with which its chain of seals begins once it has the log: what an auditor pins besides the others.
    pub first_epoch_key: String,
}

/// Completes a key directory for a further server of a log, into which its owner has copied `origin`, `log.key`, `mac.key`,
/// `accounts.key` and `format` from the key directory of the server that has the log.
///
/// # Errors
/// One of these is missing, or the epoch key was copied too.
pub fn join(key_dir: &Path) -> Result<Joined, ServerError> {
    let keys = KeyDir::join(key_dir)?;
    let first_epoch_key = keys.epoch_slots()?.first().map(|slot| slot.key().public().to_string()).unwrap_or_default();
    Ok(Joined { origin: keys.origin().to_owned(), first_epoch_key })
}

/// Where there is nothing to wait for.
const NO_DIRECTORY: &str = "--standby needs a database that several servers reach, given by --store mongodb://…: a data \
                            directory belongs to one server";
/// How often it asks for the lease.
const ASK: Duration = Duration::from_secs(1);
/// How often it follows the log.
const FOLLOW: Duration = Duration::from_secs(3);
/// How long a question to the store may take, so that none keeps the next one from being asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many bundles are followed at once.
const STEP: u64 = 256;
/// How long it leaves the lease to others after a take-over that failed.
const LEAVE: Duration = Duration::from_secs(5);

/// Waits for a log and serves it until `shutdown` is done.
pub(crate) async fn serve(
    config: &Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
    on_ready: impl FnOnce(Ready) + Send,
) -> Result<(), ServerError> {
    let standby = Standby::open(config).await?;
    while standby.follow().await? {}
    let front = Front::listen(config).await?;
    let (addr, tls) = (front.addr, front.tls.clone());
    let app = standby.app().await?;
    let (stop, stopped) = watch::channel(false);
    let waiting = tokio::spawn({
        let (standby, app, stopped) = (standby.clone(), app.clone(), stopped);
        async move { standby.wait(&app, stopped).await }
    });
    let origin = standby.keys.origin().to_owned();
    tracing::info!(%addr, %origin, "serving as a standby");
    let fingerprint = tls.as_ref().map(Tls::fingerprint);
    on_ready(Ready { addr, tls: fingerprint, standby: true, origin, bootstrap_token: None, setup: None, init: None });
    let watching = tokio::spawn(watch(tls, app.metrics.clone()));
    let schedule = config.schedule.clone().map(|wanted| tokio::spawn(schedule::run(app.clone(), wanted)));
    front.accept(api::router(app.clone()), app.ending(shutdown)).await;
    watching.abort();
    stop.send_replace(true);
    // A take-over is finished, so that there is a log to be closed in good order.
    let ended = waiting.await.map_err(|error| ServerError::Internal(format!("waiting for the log: {error}")));
    schedule.inspect(|task| task.abort());
    app.jobs.cancel();
    app.stop_detection().await;
    app.rest_accounts().await;
    let closed = match app.log() {
        Ok(log) => log.close().await,
        Err(_) => Ok(standby.store.close().await?),
    };
    ended.and(closed)
}

/// What it works with.
#[derive(Clone)]
pub(crate) struct Standby {
    config: Config,
    store: Arc<dyn Store>,
    deriver: Arc<Deriver>,
    keys: Arc<KeyDir>,
    metrics: Arc<Metrics>,
    owner: Arc<Owner>,
}

impl Standby {
    async fn open(config: &Config) -> Result<Self, ServerError> {
        place::check_settings(config)?;
        if config.place.directory().is_some() {
            return Err(ServerError::Config(NO_DIRECTORY.to_owned()));
        }
        if KeyDir::lacks_epoch_key(&config.key_dir) {
            return Err(ServerError::Config(format!(
                "{} has no epoch key yet: run `sceau keys standby --key-dir DIR` once, which makes one and prints what an \
                 auditor pins",
                config.key_dir.display()
            )));
        }
        let keys = KeyDir::open(&config.key_dir, config.place.directory())?;
        let deriver = load_deriver(config)?;
        let store = config.place.open_with(deriver.clone(), config.store_options()).await?;
        Self::over(config, store, deriver, keys)
    }

    /// Waits for the log in an open store.
    ///
    /// # Errors
    /// No other server can have it, or another process uses the key directory.
    pub fn over(
        config: &Config,
        store: Arc<dyn Store>,
        deriver: Arc<Deriver>,
        keys: KeyDir,
    ) -> Result<Self, ServerError> {
        if store.writing().is_none() {
            return Err(ServerError::Config(NO_DIRECTORY.to_owned()));
        }
        let owner = Arc::new(Owner::of(&keys)?);
        let (keys, metrics) = (Arc::new(keys), Arc::new(Metrics::new()));
        Ok(Self { config: config.clone(), store, deriver, keys, metrics, owner })
    }

    /// What answers requests.
    pub async fn app(&self) -> Result<Arc<App>, ServerError> {
        let clock = Arc::new(Clock::new(Micros(0)));
        let reader = Reader::new(self.store.clone(), self.deriver.clone(), clock, self.config.limits.query_time);
        let (accounts, _) = Accounts::load(&*self.store, &self.keys, &self.config.accounts, reader.now()).await?;
        let reader = reader.guarded(self.keys.clone());
        let app = Arc::new(App::standby(reader, self.metrics.clone(), accounts, &self.config));
        app.keep_accounts();
        Ok(app)
    }

    /// Follows the log and asks for it, until it is had or `stop` says so.
    pub async fn wait(&self, app: &Arc<App>, mut stop: watch::Receiver<bool>) {
        let (mut followed, mut told) = (Instant::now(), Told::default());
        let mut pause = ASK;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            pause = ASK;
            if followed.elapsed() >= FOLLOW {
                followed = Instant::now();
                told.fault(self.refresh(app).await, "the log can't be followed");
            }
            match self.try_once(app).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    // The one that can go on with it must have time to.
                    pause = if error.is_away() { ASK } else { LEAVE };
                    told.fault(Err(error), "the log could not be taken over");
                }
            }
        }
    }

    /// Takes the log over if nobody has it.
    pub(crate) async fn try_once(&self, app: &Arc<App>) -> Result<bool, ServerError> {
        let health = Arc::new(Health::default());
        let asked = timeout(PATIENCE, Keeper::take(&self.store, &health, &self.owner)).await;
        let late = |_| StoreError::Unavailable("no answer in time".to_owned());
        let Taken::Ours(keeper) = asked.map_err(late)?? else { return Ok(false) };
        tracing::warn!("nobody holds the log any more; this server takes it over");
        let open = Open {
            store: self.store.clone(),
            deriver: self.deriver.clone(),
            keys: self.keys.clone(),
            health,
            metrics: self.metrics.clone(),
        };
        let log = Log::under(&self.config, open, Arc::new(keeper)).await?;
        app.accounts.follow(&*self.store, &self.keys, log.now()).await?;
        app.accounts.take_over(&log)?;
        app.expects_detection(self.config.detection.enabled);
        app.take_over(log);
        app.detect(&self.config.detection).await;
        tracing::warn!("this server has the log now, and takes entries in");
        Ok(true)
    }

    async fn refresh(&self, app: &Arc<App>) -> Result<(), ServerError> {
        let late = |_| StoreError::Unavailable("no answer in time".to_owned());
        let now = app.reader().now();
        timeout(PATIENCE, app.accounts.follow(&*self.store, &self.keys, now)).await.map_err(late)??;
        // What is left for the next time is followed then, or by the take-over itself.
        timeout(PATIENCE, async {
            while self.follow().await? {}
            Ok(())
        })
        .await
        .map_err(late)?
    }

    /// Notes some of what the other server has committed since, as far as whole bundles go and their MACs are this log's;
    /// gives whether there is more.
    ///
    /// # Errors
    /// The keys are not the log's present ones, the log was set back or altered, or it can't be read.
    pub(crate) async fn follow(&self) -> Result<bool, ServerError> {
        let store = &*self.store;
        init::check_belongs(&self.keys, &history::read(store).await?)?;
        let head = store.head().await?;
        let noted = check_noted(&self.config, store, &self.keys, head).await?;
        let bundles = head.size.0 / 256;
        let seen = noted.map_or(0, |noted| noted.size.0 / 256);
        let next = bundles.min(seen.saturating_add(STEP));
        if next <= seen {
            return Ok(false);
        }
        let there = TreeSize(next * 256);
        restore_bundle(store, &self.keys, Head { size: there, ..head }).await?;
        self.keys.note_head(&prover::restore(store, there).await?.head())?;
        Ok(next < bundles)
    }
}

/// What was logged already: the same trouble is told once, until it is over.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    fn fault(&mut self, result: Result<(), ServerError>, what: &str) {
        match result {
            Ok(()) => self.0 = None,
            Err(error) => {
                let text = format!("{what}: {error}");
                if self.0.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                    self.0 = Some(text);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "standby_tests.rs"]
mod tests;
