//! Putting a log together.

use std::sync::Arc;

use sceau_event::Deriver;
use sceau_store::Store;
use tokio::sync::{Mutex, RwLock, Semaphore, watch};

use super::{
    Inner, Log,
    start::{TakenUp, take_up},
};
use crate::{
    config::{Config, Retention},
    disk::{self, Disk},
    error::ServerError,
    keydir::KeyDir,
    lease::Keeper,
    metrics::Metrics,
    place,
    publisher::{self, Publisher},
    reader::{Reader, load_deriver},
    retention,
    sequencer::{Health, Parts, Recent, Sequencer, supervise},
};

/// What a log is put together from.
pub(crate) struct Open {
    pub store: Arc<dyn Store>,
    pub deriver: Arc<Deriver>,
    pub keys: Arc<KeyDir>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

impl Log {
    /// Opens a complete log for reading and writing.
    ///
    /// # Errors
    /// Keys and store don't belong together, the store was rolled back, one of them can't be used, or another server has
    /// the log.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        place::check_settings(config)?;
        let keys = KeyDir::open(&config.key_dir, config.place.directory())?;
        let deriver = load_deriver(config)?;
        let store = config.place.open_with(deriver.clone(), config.store_options()).await?;
        Self::assemble(config, store, deriver, keys).await
    }

    /// Puts an open store and its keys together.
    pub(crate) async fn assemble(
        config: &Config,
        store: Arc<dyn Store>,
        deriver: Arc<Deriver>,
        keys: KeyDir,
    ) -> Result<Self, ServerError> {
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
        let keeper = Keeper::take_or_wait(&store, &health, &keys).await?;
        let open = Open { store, deriver, keys: Arc::new(keys), health, metrics };
        Self::under(config, open, Arc::new(keeper)).await
    }

    /// Goes on with the log under a lease that is held; gives it up again if that fails.
    pub(crate) async fn under(config: &Config, open: Open, lease: Arc<Keeper>) -> Result<Self, ServerError> {
        let log = Self::held(config, open, &lease).await;
        if log.is_err() {
            lease.release().await;
        }
        log
    }

    async fn held(config: &Config, open: Open, lease: &Arc<Keeper>) -> Result<Self, ServerError> {
        let Open { store, deriver, keys, health, metrics } = open;
        let lease = lease.clone();
        let limits = config.limits.clone();
        let TakenUp { tree, bundle, epochs, clock, history } = take_up(config, &store, &deriver, &keys).await?;
        let head = tree.head();
        let gate = Arc::new(Mutex::new(()));
        let (head_sender, committed) = watch::channel(head);
        let signing = publisher::Parts {
            store: store.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            gate: gate.clone(),
            head: committed,
            lease: lease.clone(),
        };
        let disk = Arc::new(Disk::of(config, metrics.clone()));
        let publisher = Arc::new(Publisher::new(signing, epochs, history.log()).await?);
        publisher.publish().await?;
        // What was received before a stop must not share an epoch with what comes after it: the time between is unknown.
        publisher.close_epoch().await?;
        let recent = Arc::new(Recent::new(config.detection.enabled));
        let parts = Parts {
            recent: Some(recent.clone()),
            store: store.clone(),
            deriver: deriver.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            limits: limits.clone(),
            gate: gate.clone(),
            publisher: publisher.clone(),
            lease: lease.clone(),
        };
        let sequencer = Sequencer::start(parts, tree, bundle, head_sender);
        let (stop, stopped) = watch::channel(false);
        let publishing = supervise("publisher", health.clone(), publisher.clone().run(stopped));
        let publishing = Mutex::new(Some(tokio::spawn(publishing)));
        let reader = Reader::new(store, deriver, clock.clone(), limits.query_time).guarded(keys.clone());
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let workers = Arc::new(Semaphore::new(processors));
        let inner = Inner {
            reader,
            keys,
            clock,
            health,
            metrics,
            limits,
            sequencer,
            publisher,
            gate,
            workers,
            lease,
            stop,
            publishing,
            disk,
            recent,
            upkeep: RwLock::new(()),
            tending: Mutex::new(Vec::new()),
        };
        let log = Self(Arc::new(inner));
        log.tend(config.retention.clone()).await;
        Ok(log)
    }

    /// Starts what looks after the log beside its work.
    async fn tend(&self, retention: Retention) {
        let inner = &self.0;
        let mut tending = inner.tending.lock().await;
        let guard = disk::run(inner.disk.clone(), inner.stop.subscribe());
        tending.push(tokio::spawn(supervise("disk guard", inner.health.clone(), guard)));
        if retention.is_on() {
            let log = Arc::downgrade(inner);
            let keeper = retention::run(move || log.upgrade().map(Self), retention, inner.stop.subscribe());
            tending.push(tokio::spawn(supervise("retention", inner.health.clone(), keeper)));
        }
    }
}
