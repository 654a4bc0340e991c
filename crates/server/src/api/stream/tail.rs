//! What a stream does between two pieces: it looks at what was committed, and waits.

use std::{fmt::Write as _, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use sceau_event::{Micros, Record};
use sceau_ledger::{Head, Index};
use sceau_store::{Batch, BatchBuilder, RecordRows, StoreError, query::Query};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    detect::{Alert, Detection},
    error::ServerError,
    log::Log,
    problem::Problem,
    sequencer::Streaming,
    serve::stopped,
    views::EventView,
};

/// The bytes of a piece, beyond which it ends with the event that it has.
const PIECE: usize = 64 << 10;
/// Entries that are looked at before others get their turn.
const STEP: usize = 1_024;
/// Entries that are read from the store at once.
const READ: usize = 256;
/// Batches of more bytes are looked at on another thread.
const INLINE: usize = 256 << 10;
/// Entries that a client may be behind before it is told that it is too slow.
const MAX_LAG: u64 = 20_000;
/// Entries that a client may have missed and still gets when it comes back.
const MAX_MISSED: u64 = 100_000;
/// Alerts that come again when a client comes back.
pub(super) const MAX_ALERTS: usize = 500;
/// How often something is sent, so that nobody takes the connection for dead.
const BEAT: Duration = Duration::from_secs(15);
/// How long the store is waited for between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// What a stream begins with: milliseconds after which a client that was cut off comes back.
const GREETING: &str = "retry: 2000\n\n";

/// Alerts that a stream follows.
pub(in crate::api) struct Alerts {
    pub detection: Arc<Detection>,
    pub revision: watch::Receiver<u64>,
    /// The number of the last change that was looked at.
    pub seen: u64,
    /// Alerts to be told first, the last changed first.
    pub waiting: Vec<Alert>,
}

/// When a stream ends.
pub(in crate::api) struct Until {
    /// When the server stops.
    pub stopping: watch::Receiver<bool>,
    /// When its caller may no longer ask…
    pub allowed: Box<dyn Fn() -> bool + Send + Sync>,
    /// …which is looked at so often.
    pub look: Duration,
    /// At once.
    pub over: bool,
}

/// One client's place in the log.
pub(in crate::api) struct Tail {
    log: Log,
    head: watch::Receiver<Head>,
    /// What is looked for; nothing if only alerts are.
    query: Option<Arc<Query>>,
    /// The first entry that was not looked at.
    next: u64,
    /// Up to here it may be further behind than later.
    missed: u64,
    alerts: Option<Alerts>,
    until: Until,
    looked: Instant,
    beat: Instant,
    /// What is to be sent.
    out: String,
    _recent: Streaming,
}

impl Tail {
    pub fn new(log: Log, query: Option<Query>, next: u64, alerts: Option<Alerts>, until: Until) -> Self {
        let (head, recent, now) = (log.head(), log.recent().stream(), Instant::now());
        let missed = head.borrow().size.0;
        Self {
            log,
            head,
            query: query.map(Arc::new),
            next,
            missed,
            alerts,
            until,
            looked: now,
            beat: now,
            out: GREETING.to_owned(),
            _recent: recent,
        }
    }

    /// The next piece, as soon as there is one; `None` at the end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over() {
                return None;
            }
            let size = self.head.borrow_and_update().size.0;
            let more = match self.fill(size).await {
                Ok(more) => more,
                Err(error) if error.is_away() => {
                    tokio::time::sleep(PAUSE).await;
                    false
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream ended");
                    tell(&mut self.out, "problem", None, &Problem::from(&error));
                    self.until.over = true;
                    return Some(self.take());
                }
            };
            if self.out.is_empty() && self.beat.elapsed() >= BEAT {
                self.heartbeat();
            }
            if !self.out.is_empty() {
                return Some(self.take());
            }
            if more {
                tokio::task::yield_now().await;
            } else if !self.wait().await {
                return None;
            }
        }
    }

    fn is_over(&mut self) -> bool {
        if self.looked.elapsed() >= self.until.look {
            self.looked = Instant::now();
            self.until.over |= !(self.until.allowed)();
        }
        self.until.over || *self.until.stopping.borrow()
    }

    fn take(&mut self) -> Bytes {
        self.beat = Instant::now();
        Bytes::from(std::mem::take(&mut self.out))
    }

    /// A comment, and the id of the last entry that was looked at, so that whoever comes back begins there.
    fn heartbeat(&mut self) {
        self.out.push_str(":\n");
        if let Some(last) = self.next.checked_sub(1).filter(|_| self.query.is_some()) {
            // Writing to a text can't fail.
            let _ = writeln!(self.out, "id: {last}");
        }
        self.out.push('\n');
    }

    /// Waits until there may be something to do; `false` if there never will be.
    async fn wait(&mut self) -> bool {
        let Self { head, alerts, until, looked, beat, .. } = self;
        let revision = async {
            match alerts {
                Some(alerts) => alerts.revision.changed().await.is_ok(),
                None => pending().await,
            }
        };
        tokio::select! {
            changed = head.changed() => changed.is_ok(),
            changed = revision => changed,
            () = stopped(&mut until.stopping) => false,
            () = sleep_until((*looked + until.look).min(*beat + BEAT)) => true,
        }
    }

    /// Looks at what is new, as far as a piece has room; `true` if there is more.
    async fn fill(&mut self, size: u64) -> Result<bool, ServerError> {
        self.fill_alerts().await;
        let Some(query) = self.query.clone() else {
            self.next = size;
            return Ok(false);
        };
        let allowed = if self.next < self.missed { MAX_MISSED } else { MAX_LAG };
        if size.saturating_sub(self.next) > allowed {
            self.skip(size.saturating_sub(STEP as u64));
        }
        if self.next >= size || self.out.len() >= PIECE {
            return Ok(self.next < size);
        }
        let (first, batch) = match self.rows(size).await {
            Ok(rows) => rows,
            Err(ServerError::Store(StoreError::Expired { .. })) => {
                let kept_from = self.log.reader().store().kept_from().await?.0;
                self.skip(kept_from.max(self.next + 1));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let mut out = std::mem::take(&mut self.out);
        let large = batch.weight() > INLINE;
        let work = move || render(&batch, first, &query, &mut out).map(|next| (out, next));
        (self.out, self.next) = if large {
            let worked = tokio::task::spawn_blocking(work).await;
            worked.map_err(|error| ServerError::Internal(format!("a stream: {error}")))??
        } else {
            work()?
        };
        Ok(self.next < size)
    }

    /// Some entries from `next` on with their records: those in memory, else those of the store.
    async fn rows(&self, size: u64) -> Result<(u64, Batch), ServerError> {
        if let Some((first, batch)) = self.log.recent().holding(self.next) {
            let offset = usize::try_from(self.next - first).unwrap_or(usize::MAX);
            return Ok((self.next, batch.slice(offset, STEP)));
        }
        let limit = usize::try_from(size - self.next).unwrap_or(READ).min(READ);
        let rows = self.log.reader().store().entries(Index(self.next), limit).await?;
        if rows.entries.is_empty() {
            return Err(StoreError::Entry { index: self.next, detail: "is missing".to_owned() }.into());
        }
        let (deriver, first) = (self.log.reader().deriver().clone(), self.next);
        let derive = move || {
            let mut builder = BatchBuilder::new(deriver);
            for (entry, index) in rows.entries.iter().zip(first..) {
                let damaged = |error: sceau_event::EntryError| StoreError::Entry { index, detail: error.to_string() };
                builder.push_entry(entry).map_err(damaged)?;
            }
            builder.finish().map_err(|error| ServerError::Internal(error.to_string()))
        };
        let batch = tokio::task::spawn_blocking(derive).await;
        Ok((first, batch.map_err(|error| ServerError::Internal(format!("a stream: {error}")))??))
    }

    fn skip(&mut self, to: u64) {
        let (from, count) = (self.next, to.saturating_sub(self.next));
        let last = to.checked_sub(1);
        tell(&mut self.out, "skipped", last, &json!({"from": from, "to": to, "count": count}));
        self.next = to;
    }

    async fn fill_alerts(&mut self) {
        let Some(alerts) = &mut self.alerts else { return };
        if alerts.waiting.is_empty() && *alerts.revision.borrow_and_update() != alerts.seen {
            let changes = alerts.detection.shared.desk.changes(alerts.seen).await;
            alerts.seen = changes.revision;
            if changes.missed {
                tell(&mut self.out, "skipped", None, &json!({"alerts": true}));
            }
            alerts.waiting = changes.alerts;
            alerts.waiting.reverse();
        }
        while self.out.len() < PIECE
            && let Some(alert) = alerts.waiting.pop()
        {
            tell(&mut self.out, "alert", None, &alert);
        }
    }
}

/// Writes an event.
fn tell(out: &mut String, kind: &str, id: Option<u64>, data: &impl Serialize) {
    // What is told is made of texts and numbers, which is always JSON.
    let Ok(data) = serde_json::to_string(data) else { return };
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let _ = write!(out, "event: {kind}\n{id}data: {data}\n\n");
}

/// Writes the events of a batch that a query accepts, until the piece is full; gives the first index that was not looked at.
fn render(batch: &Batch, first: u64, query: &Query, out: &mut String) -> Result<u64, ServerError> {
    let found = batch.matching(query)?;
    let rows = RecordRows::new(batch.records())?;
    let mut record = Record::new(Micros(0), "".into());
    for row in found {
        let index = first.saturating_add(row as u64);
        if rows.read(row, &mut record) {
            tell(out, "event", Some(index), &EventView::known(&record, index, batch.entries().value(row))?);
        }
        if out.len() >= PIECE {
            return Ok(index.saturating_add(1));
        }
    }
    Ok(first.saturating_add(batch.len() as u64))
}
