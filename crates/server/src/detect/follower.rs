//! The detector as a follower of the log: it reads committed entries in order, and what it finds is sealed.
//!
//! Invariant: findings are sealed in the same commit that moves the position past the entries they come from, so none is
//! lost or doubled whenever the server dies. The windows are kept less often; what lies between them and the position is
//! read again without sealing anything.

mod look;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sceau_detect::{Detector, Finding, Limits, OpenBurst, Phase, RuleSet};
use sceau_event::Micros;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    finding::{self, Sealed},
    settings::Set,
    snapshot::{self, Place, position},
};
use crate::{error::ServerError, guard::StateChange, log::Log, sequencer::AppendOptions, serve::stopped};

/// How often the windows are kept, and how many bytes of them may be written a second.
const KEEP: Duration = Duration::from_secs(30);
const KEEP_RATE: usize = 1 << 20;
/// The most findings of one commit, and the bytes that one is reckoned with, its alert included.
const MOST: usize = 500;
const FINDING_BYTES: usize = 8 << 10;
/// How long after an error it begins again.
const RESTART: Duration = Duration::from_secs(5);
/// How often it is told what the windows hold.
const TELL: Duration = Duration::from_secs(1);
/// The time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// What the follower is told.
pub(super) enum Command {
    /// Other rules or settings count from now on.
    Rules(Arc<RuleSet>, Arc<Set>),
    /// What has been counted so far of bursts that are open, by their findings' ids.
    Open(Vec<String>, oneshot::Sender<BTreeMap<String, OpenBurst>>),
}

/// The follower at work.
pub(super) struct Follower {
    log: Log,
    shared: Arc<Shared>,
    /// `None` only while it is on another thread.
    detector: Option<Detector>,
    rules: Arc<RuleSet>,
    set: Arc<Set>,
    place: Place,
    /// The first entry that was not looked at.
    next: u64,
    commands: mpsc::Receiver<Command>,
    /// The windows hold entries whose findings are not sealed.
    ahead: bool,
    /// What is found without a further entry: bursts of rules that are no more.
    pending: Vec<Finding>,
    /// When the windows were kept last, before which entry, and after what time it is due again.
    kept: (Instant, u64, Duration),
    /// When it was told last what the windows hold, and before which entry.
    told: (Instant, u64),
}

/// Why it ends before it is told to.
enum End {
    Stopped,
    Failed(ServerError),
}

impl From<ServerError> for End {
    fn from(error: ServerError) -> Self {
        Self::Failed(error)
    }
}

impl Follower {
    /// One that has not begun.
    pub fn new(
        log: &Log,
        shared: Arc<Shared>,
        rules: Arc<RuleSet>,
        set: Arc<Set>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let (place, kept, log) = (Place::default(), (Instant::now(), 0, KEEP), log.clone());
        let (pending, told) = (Vec::new(), (Instant::now(), 0));
        Self { log, shared, detector: None, rules, set, place, next: 0, commands, ahead: false, pending, kept, told }
    }

    /// Goes on where the state says that it was.
    pub async fn resume(&mut self) -> Result<(), ServerError> {
        let lateness = self.set.settings().lateness;
        let mut detector = Detector::new(self.rules.clone(), Limits::default(), lateness);
        let store = self.log.reader().store();
        let mut place = Place::load(&**store, self.log.keys()).await?;
        let kept_from = store.kept_from().await?.0;
        let size = self.log.head().borrow().size.0;
        let mut next = kept_from;
        let mut lost = Vec::new();
        match place.windows.take() {
            Some((index, _)) if index > size => {
                tracing::error!(index, size, "the detector's windows are of a longer log; they are not used");
            }
            Some((index, windows)) => match detector.restore(&windows) {
                Ok(restored) => (next, lost) = (index.max(kept_from), restored.lost),
                Err(error) => {
                    tracing::warn!(%error, "the detector's windows can't be used; they are made again from the log");
                }
            },
            None => {}
        }
        place.sealed = place.sealed.min(size);
        if next < place.sealed {
            let same = place.rules == self.rules.hash();
            tracing::info!(
                from = next,
                to = place.sealed,
                same,
                "the detector reads again what its windows had not kept"
            );
            if !same {
                // What other rules would have found there was not sealed; what was is known by its id.
                place.sealed = next;
            }
        }
        self.shared.looked(next);
        self.shared.keeps(next);
        self.kept = (Instant::now(), next, KEEP);
        (self.detector, self.place, self.next) = (Some(detector), place, next);
        (self.ahead, self.pending) = (false, lost);
        self.tell();
        Ok(())
    }

    /// Works until it is told to stop; keeps the windows then. After an error it begins anew where the state says.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ServerError> {
        loop {
            let error = match self.work(&mut stop).await {
                End::Stopped => return self.keep().await,
                End::Failed(error @ (ServerError::Closing | ServerError::Poisoned(..))) => return Err(error),
                End::Failed(error) => error,
            };
            tracing::error!(%error, "detection stopped; it begins again where it was");
            self.shared.runs(false);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(RESTART) => {}
                    () = stopped(&mut stop) => return Ok(()),
                }
                match self.resume().await {
                    Ok(()) => break,
                    Err(error) => tracing::error!(%error, "detection can't begin again yet"),
                }
            }
            self.shared.runs(true);
        }
    }

    /// Tells what the windows hold: whoever wants to know it can't wait until the follower has time.
    fn tell(&mut self) {
        if let Some(detector) = &self.detector {
            self.shared.tells(detector.stats());
            self.told = (Instant::now(), self.next);
        }
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) -> End {
        let mut head = self.log.head();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command, stop).await;
            }
            let size = head.borrow_and_update().size.0;
            if *stop.borrow() {
                return End::Stopped;
            }
            if self.next < size || !self.pending.is_empty() {
                match self.step(size, stop).await {
                    Ok(()) => {}
                    Err(End::Failed(error)) if error.is_away() => {
                        tracing::warn!(%error, "the detector waits for the store");
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(end) => return end,
                }
            }
            let telling = self.told.0 + TELL;
            if self.next != self.told.1 && Instant::now() >= telling {
                self.tell();
            }
            let due = self.kept.0 + self.kept.2;
            if self.next > self.kept.1 && Instant::now() >= due {
                // What can't be kept now is kept the next time: nothing depends on it but the time of a start.
                if let Err(error) = self.keep().await {
                    tracing::warn!(%error, "the detector's windows could not be kept");
                    self.kept.0 = Instant::now();
                }
            }
            if self.next < size {
                continue;
            }
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return End::Stopped },
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command, stop).await,
                    None => return End::Stopped,
                },
                () = stopped(stop) => return End::Stopped,
                () = sleep_until(due), if self.next > self.kept.1 => {}
                () = sleep_until(telling), if self.next != self.told.1 => {}
            }
        }
    }

    /// Answers, or goes over to other rules. The windows are kept at once, so that a start after a crash shows no entry to
    /// rules that did not count when it came.
    async fn obey(&mut self, command: Command, stop: &watch::Receiver<bool>) {
        let Some(detector) = &mut self.detector else { return };
        let (rules, set) = match command {
            Command::Rules(rules, set) => (rules, set),
            Command::Open(ids, reply) => {
                let mut open = detector.open_bursts();
                open.retain(|id, _| ids.contains(id));
                // Whoever asked may have gone away.
                let _ = reply.send(open);
                return;
            }
        };
        // What the new rules find in entries of which the former ones' findings are sealed is not: it is now. What was sealed
        // is known by its id.
        self.place.sealed = self.place.sealed.min(self.next);
        detector.replace_rules(rules.clone(), &mut self.pending);
        if set.general.lateness != self.set.general.lateness {
            let windows = detector.snapshot();
            let mut other = Detector::new(rules.clone(), Limits::default(), set.settings().lateness);
            match other.restore(&windows) {
                Ok(restored) => {
                    self.pending.extend(restored.lost);
                    *detector = other;
                }
                Err(error) => tracing::error!(%error, "the windows can't be taken over; the former lateness counts on"),
            }
        }
        (self.rules, self.set, self.kept.1) = (rules, set, u64::MAX);
        self.tell();
        let kept = match self.seal_pending(stop).await {
            Ok(()) => self.keep().await,
            Err(End::Failed(error)) => Err(error),
            // The windows that were kept before have these bursts still.
            Err(End::Stopped) => return,
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "the detector's windows could not be kept under the new rules");
            self.kept.1 = 0;
        }
    }

    /// Seals what is found without a further entry. Only then may windows be kept that know nothing of it any more.
    async fn seal_pending(&mut self, stop: &watch::Receiver<bool>) -> Result<(), End> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sealed = self.next.max(self.place.sealed);
        self.seal(self.pending.clone(), sealed, stop).await?;
        self.pending.clear();
        self.place.sealed = sealed;
        Ok(())
    }

    /// Looks at the next entries and seals what comes of them.
    async fn step(&mut self, size: u64, stop: &watch::Receiver<bool>) -> Result<(), End> {
        self.seal_pending(stop).await?;
        if self.next >= size {
            return Ok(());
        }
        let (first, rows) = self.rows(size).await?;
        if first > self.next {
            // Retention was faster: what is gone is never looked at.
            tracing::warn!(from = self.next, to = first, "entries were deleted before the detector saw them");
            self.shared.skipped(first - self.next);
            self.next = first;
        }
        self.ahead = true;
        let (mut findings, looked) = self.look(rows).await?;
        let next = self.next.saturating_add(looked as u64);
        if next <= self.place.sealed {
            // What these entries gave before a crash is sealed already; but an older version, whose windows can't be used,
            // may have left bursts open that are over.
            findings = self.shared.desk.unended(findings).await;
        }
        if !findings.is_empty() {
            let sealed = next.max(self.place.sealed);
            self.seal(findings, sealed, stop).await?;
            self.place.sealed = sealed;
        }
        self.next = next;
        self.ahead = false;
        self.log.recent().forget(next);
        self.shared.looked(next);
        Ok(())
    }

    /// Seals findings, and with the last of them that everything before `next` was looked at. As many at once as fit into one
    /// commit: those that a crash leaves behind are known by their ids.
    async fn seal(&self, findings: Vec<Finding>, next: u64, stop: &watch::Receiver<bool>) -> Result<(), End> {
        let mut findings = findings;
        let mut told = false;
        while !findings.is_empty() {
            let limits = self.log.reader().store().commit_limits();
            let most = MOST.min(limits.entries / 2).min(limits.bytes / FINDING_BYTES).max(1);
            let rest = findings.split_off(findings.len().min(most));
            let position = rest.is_empty().then(|| position(next));
            loop {
                let commit = |writes, findings, now| self.commit(writes, findings, position.clone(), now);
                let clock = || self.log.now();
                match self.shared.desk.take(findings.clone(), clock, &self.set.exceptions, commit).await {
                    Ok(()) => break,
                    Err(error) if !can_pass(&error) => return Err(error.into()),
                    Err(error) if !told => {
                        tracing::warn!(%error, "findings can't be sealed now; the detector tries again");
                        told = true;
                    }
                    Err(_) => {}
                }
                if *stop.borrow() {
                    // They are found again: the position has not moved.
                    return Err(End::Stopped);
                }
                tokio::time::sleep(PAUSE).await;
            }
            findings = rest;
        }
        Ok(())
    }

    async fn commit(
        &self,
        mut writes: Vec<StateChange>,
        findings: Vec<Sealed>,
        position: Option<StateChange>,
        now: Micros,
    ) -> Result<(), ServerError> {
        let batch = finding::batch(&self.log, &findings, now)?;
        writes.extend(position);
        self.log.append(batch, AppendOptions { writes, wait: true, ..AppendOptions::default() }).await?;
        for Sealed { finding, .. } in &findings {
            let phase = if finding.phase == Phase::Fired { "fired" } else { "ended" };
            self.log.metrics().finding(finding::word(finding.level), phase);
        }
        Ok(())
    }

    /// Keeps the windows.
    async fn keep(&mut self) -> Result<(), ServerError> {
        if self.next == self.kept.1 || self.ahead || !self.pending.is_empty() {
            return Ok(());
        }
        let Some(detector) = self.detector.take() else { return Ok(()) };
        // That may be many megabytes.
        let packing = tokio::task::spawn_blocking(move || {
            let windows = detector.snapshot();
            (detector, windows.len(), snapshot::pack(&windows))
        });
        let packed = packing.await.map_err(|error| ServerError::Internal(format!("keeping windows: {error}")))?;
        let (detector, bytes, packed) = packed;
        self.detector = Some(detector);
        self.place.save(&self.log, self.next, self.rules.hash(), &packed?).await?;
        let seconds = u64::try_from(bytes / KEEP_RATE).unwrap_or(u64::MAX);
        self.kept = (Instant::now(), self.next, KEEP.max(Duration::from_secs(seconds.min(3_600))));
        self.place.sealed = self.place.sealed.max(self.next);
        self.shared.keeps(self.next);
        Ok(())
    }
}

/// Whether trying again later can help.
fn can_pass(error: &ServerError) -> bool {
    error.is_away()
        || matches!(
            error,
            ServerError::Overloaded | ServerError::Full | ServerError::TooOld | ServerError::PartlyKept { .. }
        )
}
