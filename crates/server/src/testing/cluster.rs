//! Several servers on one store: a lease whose clock the tests hold, and what each of the servers sees.

use std::{
    os::unix::fs::DirBuilderExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sceau_event::Deriver;
use sceau_store::{
    Store, StoreError,
    embedded::Embedded,
    traits::{Acquired, CommitLimits, Holder, Lease},
};

use super::{Failing, Fixture};
use crate::{
    Config, Log,
    error::ServerError,
    keydir::KeyDir,
    standby::Standby,
    verify::{Cancel, VerifyOptions, VerifyReport, Way, verify_store},
};

/// A log on a store that several servers reach.
pub struct Cluster {
    pub fixture: Fixture,
    pub desk: Arc<Desk>,
    inner: Arc<dyn Store>,
    deriver: Arc<Deriver>,
}

impl Cluster {
    pub async fn new() -> Self {
        let fixture = Fixture::new().await;
        let deriver = Arc::new(Deriver::builtin());
        let store = Embedded::open(fixture.data(), deriver.clone(), fixture.config.store_options()).await.unwrap();
        Self { fixture, desk: Arc::default(), inner: Arc::new(store), deriver }
    }

    /// The settings of a further server, with its key directory, and the key that an auditor pins.
    pub fn join(&self, name: &str) -> (Config, String) {
        let first = &self.fixture.config;
        let key_dir = first.key_dir.with_file_name(name);
        std::fs::DirBuilder::new().mode(0o700).create(&key_dir).unwrap();
        for file in ["origin", "log.key", "mac.key", "accounts.key", "format"] {
            std::fs::copy(first.key_dir.join(file), key_dir.join(file)).unwrap();
        }
        let joined = crate::join(&key_dir).unwrap();
        assert_eq!(crate::join(&key_dir).unwrap(), joined, "again");
        (Config { key_dir, standby: true, ..first.clone() }, joined.first_epoch_key)
    }

    /// The store as one server sees it.
    pub fn store(&self) -> Arc<Failing> {
        Arc::new(Failing::shared(self.inner.clone(), &self.desk))
    }

    fn keys(config: &Config) -> KeyDir {
        KeyDir::open(&config.key_dir, config.place.directory()).unwrap()
    }

    /// Starts a server as one that has the log.
    pub async fn log(&self, config: &Config, store: &Arc<Failing>) -> Result<Log, ServerError> {
        Log::assemble(config, store.clone(), self.deriver.clone(), Self::keys(config)).await
    }

    /// Starts one as a standby.
    pub fn standby(&self, config: &Config, store: &Arc<Failing>) -> Standby {
        Standby::over(config, store.clone(), self.deriver.clone(), Self::keys(config)).unwrap()
    }

    /// Verifies everything with the keys of one of the servers, while nobody writes.
    pub async fn verified(&self, config: &Config, pins: &[&str]) -> VerifyReport {
        let pins = pins.iter().map(|pin| (*pin).to_owned()).collect();
        let options = VerifyOptions { pins, ..VerifyOptions::default() };
        let (keys, cancel) = (Self::keys(config), Cancel::new());
        let way = Way::whole(&|_, _| (), &cancel);
        verify_store(&self.inner, &self.deriver, Some(&keys), (options, false), way).await.unwrap()
    }
}

/// Who has the lease on a store that several servers reach.
#[derive(Default)]
pub struct Desk(Mutex<Held>);

#[derive(Default)]
struct Held {
    owner: Option<String>,
    /// By a clock that the tests move.
    until: Duration,
    now: Duration,
    fence: u64,
    /// How often somebody has asked for it.
    asked: u32,
}

impl Desk {
    /// Lets so much time pass for the lease.
    pub fn pass(&self, time: Duration) {
        self.0.lock().unwrap().now += time;
    }

    /// How often somebody has asked for the lease.
    pub fn asked(&self) -> u32 {
        self.0.lock().unwrap().asked
    }
}

impl Failing {
    /// What a further server sees of a store.
    pub fn shared(inner: Arc<dyn Store>, desk: &Arc<Desk>) -> Self {
        Self { desk: Some((desk.clone(), AtomicU64::new(0))), ..Self::within(inner, CommitLimits::NONE) }
    }

    /// Whether another server has taken the log over since.
    pub(super) fn is_fenced_out(&self) -> bool {
        let fence = |(desk, ours): &(Arc<Desk>, AtomicU64)| desk.0.lock().unwrap().fence != ours.load(Ordering::SeqCst);
        self.desk.as_ref().is_some_and(fence)
    }

    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        self.here()?;
        if self.is_fenced_out() { Err(StoreError::Stopped("another server has the log".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Lease for Failing {
    async fn acquire(&self, owner: &str, time: Duration) -> Result<Acquired, StoreError> {
        self.here()?;
        let (desk, ours) = self.desk.as_ref().unwrap();
        let mut held = desk.0.lock().unwrap();
        held.asked += 1;
        if let Some(by) = held.owner.as_ref().filter(|by| held.now < held.until && *by != owner) {
            return Ok(Acquired::Held(Holder { owner: by.clone(), left: held.until - held.now }));
        }
        held.owner = Some(owner.to_owned());
        held.until = held.now + time;
        held.fence += 1;
        ours.store(held.fence, Ordering::SeqCst);
        Ok(Acquired::Ours)
    }

    async fn renew(&self, time: Duration) -> Result<bool, StoreError> {
        self.here()?;
        let (desk, ours) = self.desk.as_ref().unwrap();
        let mut held = desk.0.lock().unwrap();
        let is_ours = held.fence == ours.load(Ordering::SeqCst);
        if is_ours {
            held.until = held.now + time;
        }
        Ok(is_ours)
    }

    async fn release(&self) -> Result<(), StoreError> {
        self.here()?;
        let (desk, ours) = self.desk.as_ref().unwrap();
        let mut held = desk.0.lock().unwrap();
        if held.fence == ours.load(Ordering::SeqCst) {
            held.owner = None;
        }
        Ok(())
    }
}
