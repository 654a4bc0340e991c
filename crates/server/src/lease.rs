//! The lease on a store that several servers can reach: only its holder takes entries in, signs and seals.
//!
//! Invariant: by the holder's own clock it has run out before it can have run out for anybody else. Times are those of
//! the monotonic clock, from before the question to the answer: an answer that took long is worth less. A holder that was
//! stopped for a while, or whose clock does not go, is kept from writing by the store itself ([`sceau_store::traits::Lease`]).

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{fs::FlockOperation, io::Errno};
use sceau_store::{
    Store, StoreError,
    traits::{Acquired, Holder},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    error::ServerError,
    hex,
    keydir::{KeyDir, random},
    sequencer::{Cause, Health},
};

/// How long it lasts.
const TIME: Duration = Duration::from_secs(10);
/// How often it is prolonged.
const EVERY: Duration = Duration::from_secs(3);
/// How soon again, after an attempt that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// So much before its end it counts as run out: clocks don't all go at the same pace.
const MARGIN: Duration = Duration::from_secs(1);

/// A lease that is held.
pub(crate) struct Keeper {
    inner: Arc<Inner>,
    /// Who has it; `None` where there is no lease.
    owner: Mutex<Option<Arc<Owner>>>,
    /// Prolongs it.
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    store: Arc<dyn Store>,
    health: Arc<Health>,
    /// When it runs out for us; `None` where there is no lease, since the store has one writer anyway.
    until: Option<watch::Sender<Instant>>,
}

/// What came of an attempt to take a lease.
pub(crate) enum Taken {
    /// It is ours.
    Ours(Keeper),
    /// Somebody else's.
    Held(Holder),
}

/// Who asks for a lease: one process at a time uses a key directory, so the server of that directory is the same one after
/// a restart, and need not wait for its own lease.
pub(crate) struct Owner {
    name: String,
    /// Locked as long as it is open; a command has none.
    _lock: Option<File>,
}

/// The file in the key directory that is locked.
const LOCK: &str = "lock";

impl Owner {
    /// The server of a key directory.
    ///
    /// # Errors
    /// Another process uses the directory, or it can't be written.
    pub fn of(keys: &KeyDir) -> Result<Self, ServerError> {
        let path = keys.path().join(LOCK);
        let failed = ServerError::io(format!("locking {}", path.display()));
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = match open {
            Ok(lock) => lock,
            Err(error) => return Err(failed(error)),
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let reason = "another process uses it: each server needs a key directory of its own".to_owned();
                return Err(ServerError::KeyDir { path: keys.path().to_owned(), reason });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let whole = keys.path().canonicalize().unwrap_or_else(|_| keys.path().to_owned());
        let found = lock.metadata().map_err(ServerError::io(format!("looking at {}", path.display())))?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        // Machines with one name and one path are told apart by the file.
        let name = format!("{} {} {:x}.{:x}", host.trim(), whole.display(), found.dev(), found.ino());
        Ok(Self { name, _lock: Some(lock) })
    }

    /// A command that writes, and is another owner each time.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn command(what: &str) -> Result<Self, ServerError> {
        let name = format!("`{what}` (process {}, {})", std::process::id(), hex(random::<4>()?.as_slice()));
        Ok(Self { name, _lock: None })
    }
}

/// Runs what a command writes under the lease, which it gives up at the end. `owner` is asked for where there is a lease.
///
/// # Errors
/// A server has the log, the store can't be reached, or the work fails.
pub(crate) async fn during<T>(
    store: &Arc<dyn Store>,
    owner: impl FnOnce() -> Result<Owner, ServerError>,
    work: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    if store.writing().is_none() {
        return work.await;
    }
    let taken = Keeper::wait(store, &Arc::default(), &Arc::new(owner()?)).await?;
    let keeper = taken.map_err(|holder| {
        ServerError::Config(format!("{} writes to this log: stop it first, or wait for its end", holder.owner))
    })?;
    let done = work.await;
    keeper.release().await;
    done
}

impl Keeper {
    /// Takes the lease if it can be had; from then on it is prolonged until it is released. If it is lost, `health` says so.
    ///
    /// # Errors
    /// The store can't be reached.
    pub async fn take(store: &Arc<dyn Store>, health: &Arc<Health>, owner: &Arc<Owner>) -> Result<Taken, ServerError> {
        let Some(lease) = store.writing() else { return Ok(Taken::Ours(Self::without(store, health))) };
        let asked = Instant::now();
        match lease.acquire(&owner.name, TIME).await? {
            Acquired::Held(by) => Ok(Taken::Held(by)),
            Acquired::Ours => {
                let until = Some(watch::channel(end(asked)).0);
                let inner = Arc::new(Inner { store: store.clone(), health: health.clone(), until });
                let keeper = Self { inner, owner: Mutex::new(Some(owner.clone())), task: Mutex::default() };
                let task = tokio::spawn(keeper.inner.clone().run());
                *keeper.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
                Ok(Taken::Ours(keeper))
            }
        }
    }

    /// For a store that has one writer anyway.
    fn without(store: &Arc<dyn Store>, health: &Arc<Health>) -> Self {
        let inner = Arc::new(Inner { store: store.clone(), health: health.clone(), until: None });
        Self { inner, owner: Mutex::default(), task: Mutex::default() }
    }

    /// The same, and waits for one that nobody prolongs any more: it is that of a server that was killed.
    ///
    /// # Errors
    /// Somebody has it and prolongs it, the store can't be reached, or another process uses the key directory.
    pub async fn take_or_wait(
        store: &Arc<dyn Store>,
        health: &Arc<Health>,
        keys: &KeyDir,
    ) -> Result<Self, ServerError> {
        if store.writing().is_none() {
            return Ok(Self::without(store, health));
        }
        let taken = Self::wait(store, health, &Arc::new(Owner::of(keys)?)).await?;
        taken.map_err(|holder| {
            ServerError::Config(format!(
                "another server has this log ({}): stop it, or start this one with --standby, which answers questions \
                 and takes the log over when that one is gone",
                holder.owner
            ))
        })
    }

    /// Takes it, once nobody prolongs it any more. `Err`: somebody does.
    async fn wait(
        store: &Arc<dyn Store>,
        health: &Arc<Health>,
        owner: &Arc<Owner>,
    ) -> Result<Result<Self, Holder>, ServerError> {
        let mut last: Option<Holder> = None;
        loop {
            let holder = match Self::take(store, health, owner).await? {
                Taken::Ours(keeper) => return Ok(Ok(keeper)),
                Taken::Held(holder) => holder,
            };
            if last.as_ref().is_some_and(|last| last.owner != holder.owner || last.left <= holder.left) {
                return Ok(Err(holder));
            }
            if last.is_none() {
                tracing::info!(owner = holder.owner, "another server had the log; waiting whether it still has");
            }
            last = Some(holder);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Makes sure that nobody else can have it now.
    ///
    /// # Errors
    /// It has run out because the store could not be asked to prolong it. That may pass.
    pub fn check(&self) -> Result<(), ServerError> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), ServerError> {
        match &self.inner.until {
            Some(until) if *until.borrow() <= now => {
                Err(StoreError::Unavailable("the lease could not be prolonged in time".to_owned()).into())
            }
            _ => Ok(()),
        }
    }

    /// What it means that somebody else seems to be writing: if the lease is lost, that is why.
    pub async fn explain(&self, cause: Cause) -> Cause {
        let has = self.inner.until.is_some();
        if has && matches!(self.inner.prolong().await, Ok(false)) { Cause::Lease } else { cause }
    }

    /// Gives it up, once nothing more will be written.
    pub async fn release(&self) {
        let _owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        task.abort();
        // What it had sent is answered or given up before the lease is.
        drop(task.await);
        if self.inner.health.cause() == Some(Cause::Lease) {
            return;
        }
        if let Some(lease) = self.inner.store.writing()
            && let Ok(Err(error)) = timeout(PATIENCE, lease.release()).await
        {
            tracing::warn!(%error, "the lease could not be given up; it runs out by itself");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(JoinHandle::abort);
    }
}

/// When a lease that was asked for at a moment runs out for us.
fn end(asked: Instant) -> Instant {
    asked + (TIME - MARGIN)
}

impl Inner {
    /// Prolongs it until it is lost.
    async fn run(self: Arc<Self>) {
        let mut pause = EVERY;
        let mut told = false;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.prolong().await {
                Ok(true) => {
                    told = false;
                    EVERY
                }
                Ok(false) => return,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the lease on the log could not be prolonged; trying again");
                    }
                    AGAIN
                }
            };
        }
    }

    /// Prolongs it once. `false`: it is lost, and the log has been stopped.
    async fn prolong(&self) -> Result<bool, StoreError> {
        let (Some(lease), Some(until)) = (self.store.writing(), &self.until) else { return Ok(true) };
        let asked = Instant::now();
        let late = |_| StoreError::Unavailable("no answer in time".to_owned());
        if timeout(PATIENCE, lease.renew(TIME)).await.map_err(late)?? {
            // Of two attempts the later one counts, whichever is answered first.
            until.send_modify(|until| *until = end(asked).max(*until));
            return Ok(true);
        }
        let reason = "another server took the log over, since this one did not prolong its lease in time; start this one \
                      again with --standby";
        self.health.poison(Cause::Lease, reason);
        Ok(false)
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
