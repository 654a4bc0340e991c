//! Detection on the running log: rules and settings, the follower that looks for what they describe, alerts, replays.
//!
//! Invariant: what changes what is detected is an entry of `sceau.audit` before it counts.

mod alert;
mod alerts;
mod analysis;
mod changes;
mod desk;
mod edit;
mod finding;
mod follower;
mod rebuild;
mod replay;
mod rules;
mod settings;
mod snapshot;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use sceau_detect::{DetectError, Level, OpenBurst, RuleSet, Stats};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{config::DetectionConfig, error::ServerError, log::Log};
pub(crate) use alert::{Alert, AlertState};
pub(crate) use analysis::{Analysis, AnalysisView, analyses, run as analyse};
pub(crate) use desk::{AlertChange, Desk, noisy};
use follower::{Command, Follower};
pub(crate) use replay::{Asked, ReplayView, Replays, Rules};
pub use replay::{ReplayParams, replay_log};
pub use rules::{Files as DetectionFiles, read as read_rules};
pub(crate) use settings::{COLLECTION, Excepted, General, Mode, Set};

/// How often the directory of rules is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long an answer of the follower is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// All levels.
const LEVELS: [Level; 5] = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];
/// Commands that wait for the follower.
const COMMANDS: usize = 16;

/// What follower and API share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub desk: Desk,
    next: AtomicU64,
    /// The first entry that is not in the windows as they were kept last.
    kept: AtomicU64,
    running: AtomicBool,
    /// Entries that were deleted before they were looked at.
    skipped: AtomicU64,
    /// As the follower last told them.
    stats: Mutex<Stats>,
}

impl Shared {
    fn runs(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    fn skipped(&self, entries: u64) {
        self.skipped.fetch_add(entries, Ordering::Relaxed);
    }

    fn looked(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    fn tells(&self, stats: Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    fn keeps(&self, index: u64) {
        self.kept.store(index, Ordering::Relaxed);
    }
}

/// What counts now.
#[derive(Clone)]
pub(crate) struct Current {
    pub rules: Arc<RuleSet>,
    pub set: Arc<Set>,
}

/// Detection on a log.
pub(crate) struct Detection {
    log: Log,
    pub shared: Arc<Shared>,
    pub replays: Replays,
    current: RwLock<Current>,
    directory: Option<PathBuf>,
    /// Held while settings or rules change.
    editing: tokio::sync::Mutex<()>,
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Detection {
    /// Begins to follow the log.
    ///
    /// # Errors
    /// The settings, the rules' directory or the detector's state can't be read.
    pub async fn start(log: &Log, config: &DetectionConfig) -> Result<Arc<Self>, ServerError> {
        let store = &**log.reader().store();
        let set = Set::load(store, log.keys()).await?;
        let desk = Desk::load(store, log.keys()).await?;
        // Looked at before they are read: a change in between is seen.
        let seen = config.rules.as_deref().map(|directory| rules::look(directory).unwrap_or_default());
        let (set, rules) = match build(config.rules.clone(), set.clone()).await {
            Err(error) if config.rules.is_some() => {
                tracing::error!(%error, "the directory of rules can't be read: only the shipped rules count until it can");
                build(None, set).await?
            }
            built => built?,
        };
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            desk,
            next: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            running: AtomicBool::new(true),
            skipped: AtomicU64::new(0),
            stats: Mutex::default(),
        });
        let (rules, set) = (Arc::new(rules), Arc::new(set));
        let detection = Arc::new(Self {
            log: log.clone(),
            shared: shared.clone(),
            replays: Replays::default(),
            current: RwLock::new(Current { rules: rules.clone(), set: set.clone() }),
            directory: config.rules.clone(),
            editing: tokio::sync::Mutex::new(()),
            commands,
            stop,
            tasks: Mutex::default(),
        });
        detection.seal_rules(&rules, "system").await?;
        let mut follower = Follower::new(log, shared.clone(), rules, set, receiver);
        follower.resume().await?;
        let following = tokio::spawn(follow(follower, shared, stopped.clone()));
        let mut tasks = vec![following];
        if let Some(seen) = seen {
            tasks.push(tokio::spawn(watch_directory(Arc::downgrade(&detection), seen, stopped)));
        }
        *detection.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(detection)
    }

    /// Finishes what was begun, and keeps the windows.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.replays.cancel_all();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // It tells of its own end.
            drop(task.await);
        }
    }

    /// Rules and settings as they count now.
    pub fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where further rules are.
    pub fn directory(&self) -> Option<PathBuf> {
        self.directory.clone()
    }

    /// The log that is followed.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Reads the rules again.
    ///
    /// # Errors
    /// The directory can't be read; the rules stay what they were.
    pub async fn reload(self: &Arc<Self>, user: &str) -> Result<(), ServerError> {
        let (this, user) = (self.clone(), user.to_owned());
        let loading = tokio::spawn(async move {
            let _editing = this.editing.lock().await;
            let (set, rules) = build(this.directory.clone(), (*this.current().set).clone()).await?;
            this.adopt(rules, set, &user).await;
            Ok(())
        });
        loading.await.map_err(|error| ServerError::Internal(format!("loading rules: {error}")))?
    }

    /// Rules and settings count from now on. That the rules' hash can't be sealed just now changes nothing about that: the next
    /// change or start seals it.
    async fn adopt(&self, rules: RuleSet, set: Set, user: &str) {
        let (rules, set) = (Arc::new(rules), Arc::new(set));
        if let Err(error) = self.seal_rules(&rules, user).await {
            tracing::error!(%error, "which rules count could not be sealed");
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Current { rules: rules.clone(), set: set.clone() };
        // If the follower has ended, nobody needs them.
        let _ = self.commands.send(Command::Rules(rules, set)).await;
    }

    /// Seals which rules count, if they are others than those that were sealed last.
    async fn seal_rules(&self, rules: &RuleSet, user: &str) -> Result<(), ServerError> {
        let note = json!({
            "hash": rules.hash(),
            "rules": rules.rules().len(),
            "refused": rules.refusals().len(),
        });
        let store = &**self.log.reader().store();
        let before = store.get(COLLECTION, settings::RULES, 0).await?;
        if before.is_some_and(|before| before.value == note) {
            return Ok(());
        }
        self.log.record_state_change(COLLECTION, settings::RULES, Some(note), user).await.map(|_| ())
    }

    /// Changes an alert.
    pub async fn change_alert(&self, id: &str, change: AlertChange, user: &str) -> Result<Alert, ServerError> {
        let (shared, log, id, user) = (self.shared.clone(), self.log.clone(), id.to_owned(), user.to_owned());
        let changing = tokio::spawn(async move { shared.desk.change(&log, &id, change, &user).await });
        changing.await.map_err(|error| ServerError::Internal(format!("an alert: {error}")))?
    }

    /// What has been counted so far of the bursts of an alert that are going on.
    pub async fn open_bursts(&self, alert: &Alert) -> BTreeMap<String, OpenBurst> {
        let ids: Vec<String> = alert.going_on.keys().cloned().collect();
        if ids.is_empty() {
            return BTreeMap::new();
        }
        self.ask(|reply| Command::Open(ids, reply)).await.unwrap_or_default()
    }

    /// Asks the follower; `None` if it has no time for an answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        // Questions that nobody waits for any more must not keep other rules from it.
        if self.commands.capacity() <= COMMANDS / 2 {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// The next entry that the detector looks at, and the log's size as it knows it.
    pub fn position(&self) -> (u64, u64) {
        (self.shared.next.load(Ordering::Relaxed), self.log.head().borrow().size.0)
    }

    /// The first entry that a start after a crash reads again.
    pub fn kept(&self) -> u64 {
        self.shared.kept.load(Ordering::Relaxed)
    }

    /// Whether it is at work.
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// What the windows hold, and what was evicted, as it was a second ago; while the follower looks at many entries, or waits
    /// for the store, before those.
    pub fn stats(&self) -> Stats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For `/metrics`.
    pub fn gauges(&self) -> Vec<(&'static str, f64)> {
        let (next, size) = self.position();
        let stats = self.stats();
        let current = self.current();
        let mut gauges = Vec::new();
        let counts = self.shared.desk.counts();
        for level in LEVELS {
            let level = finding::word(level);
            self.log.metrics().alerts_open(level, counts.open.get(level).copied().unwrap_or(0));
        }
        gauges.push(("alerts_dropped", counts.dropped as f64));
        gauges.extend([
            ("detector_running", f64::from(u8::from(self.is_running()))),
            ("detector_lag_entries", size.saturating_sub(next) as f64),
            ("detector_groups", stats.groups as f64),
            ("detector_bytes", stats.bytes as f64),
            ("detector_evicted", stats.rules.values().map(|rule| rule.evicted).sum::<u64>() as f64),
            ("detector_late", stats.late as f64),
            ("rules", current.rules.rules().len() as f64),
            ("rules_refused", current.rules.refusals().len() as f64),
            ("detector_skipped", self.shared.skipped.load(Ordering::Relaxed) as f64),
        ]);
        gauges
    }
}

/// Makes all alerts again from what is sealed, also where nothing is detected now. Gives how many there are.
pub(crate) async fn rebuild_alerts(log: &Log, detection: Option<&Detection>) -> Result<u64, ServerError> {
    let (log, shared) = (log.clone(), detection.map(|detection| detection.shared.clone()));
    // Carried through even if whoever asked goes away.
    let rebuilding = tokio::spawn(async move {
        let nobodys = Desk::default();
        let desk = shared.as_ref().map_or(&nobodys, |shared| &shared.desk);
        let head = || *log.head().borrow();
        desk.rebuild(&**log.reader().store(), log.keys(), head, |changes| snapshot::write(&log, changes)).await
    });
    rebuilding.await.map_err(|error| ServerError::Internal(format!("making alerts again: {error}")))?
}

/// Runs the follower; if it ends by itself, the log goes on without it, and says so.
async fn follow(follower: Follower, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    match std::panic::AssertUnwindSafe(follower.run(stopped)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(ServerError::Closing | ServerError::Poisoned(..))) => {
            tracing::warn!("the detector ended with the log; the next start goes on where it was");
        }
        Ok(Err(error)) => tracing::error!(%error, "detection ended: nothing is detected until the server is restarted"),
        // The panic's own message says where.
        Err(_) => tracing::error!("detection ended unexpectedly: nothing is detected until the server is restarted"),
    }
    shared.running.store(false, Ordering::Relaxed);
}

/// Loads the rules again when their files change.
async fn watch_directory(
    detection: std::sync::Weak<Detection>,
    mut seen: rules::Fingerprint,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = crate::serve::stopped(&mut stopped) => return,
        }
        let Some(detection) = detection.upgrade() else { return };
        let Some(directory) = detection.directory.clone() else { return };
        let Ok(found) = tokio::task::spawn_blocking(move || rules::look(&directory)).await else { continue };
        match found {
            Ok(found) if seen != found => match detection.reload("system").await {
                Ok(()) => {
                    tracing::info!("the rules were read again");
                    seen = found;
                }
                Err(error) => {
                    tracing::error!(%error, "the rules changed but can't be read; the former ones count on");
                }
            },
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the directory of rules can't be read; the former ones count on"),
        }
    }
}

/// Loads the rules under these settings.
async fn build(directory: Option<PathBuf>, set: Set) -> Result<(Set, RuleSet), ServerError> {
    let work = move || {
        let files = rules::read(directory.as_deref())?;
        let rules = RuleSet::load(&files.rules, &files.mappings, &set.settings()).map_err(refused)?;
        Ok((set, rules))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(format!("loading rules: {error}")))?
}

fn refused(error: DetectError) -> ServerError {
    ServerError::Body(error.to_string())
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, ServerError> {
    serde_json::to_value(value).map_err(|error| ServerError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests;
