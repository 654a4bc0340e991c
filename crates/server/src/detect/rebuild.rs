//! Alerts made again from what is sealed: findings, and what people did about alerts.
//!
//! Invariant: it takes the same steps as when these entries were written, so the same alerts come of it. Alerts that were opened
//! before the oldest entry that retention has left stay as they are: what they came from is gone.

use std::collections::{BTreeMap, BTreeSet};

use sceau_detect::Finding;
use sceau_event::{Micros, SourceId};
use sceau_store::{Document, Expect, Store};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    alert::{Alert, AlertState},
    desk::{AlertChange, Alerts, Before, COLLECTION, MAX_ALERTS, write},
    finding::{self, Sealed},
};
use crate::{
    entries,
    error::ServerError,
    guard::{self, StateChange},
    keydir::KeyDir,
};

/// Entries read at once.
const STEP: usize = 8_192;
/// The beginning of an envelope is looked at for its source: parsing every entry of a large log would take minutes.
const HEAD: usize = 96;
/// Documents read and written at once.
const PAGE: usize = 500;

/// Alerts as far as they are made.
#[derive(Debug, Default)]
pub(super) struct Rebuilding {
    pub alerts: Alerts,
    /// Those of which the beginning is gone.
    old: BTreeSet<String>,
    /// The next entry.
    next: u64,
    /// When the findings were sealed that were read last: those of one commit have one time of receipt.
    commit: Option<Micros>,
}

/// The parts of an envelope that matter.
#[derive(Deserialize)]
struct Envelope<D> {
    received: Micros,
    source: String,
    data: D,
}

#[derive(Deserialize)]
struct Received {
    received: Micros,
}

/// A change of an alert, as its entry tells it.
#[derive(Deserialize)]
struct ChangeData {
    timestamp: Micros,
    action: String,
    user: String,
    alert: ChangedAlert,
    message: Option<String>,
}

#[derive(Deserialize)]
struct ChangedAlert {
    id: String,
    state: Option<AlertState>,
    assignee: Option<String>,
}

impl Rebuilding {
    /// Begins with the alerts that are older than the log's oldest entry.
    pub async fn begin(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let mut rebuilding = Self { next: store.kept_from().await?.0, ..Self::default() };
        let size = store.head().await?.size.0;
        if rebuilding.next == 0 {
            return Ok(rebuilding);
        }
        let first = entries::kept(store, rebuilding.next, size, 1).await?;
        rebuilding.next = first.first.0;
        let oldest = first.entries.first().and_then(|entry| serde_json::from_slice::<Received>(entry).ok());
        let Some(Received { received: oldest }) = oldest else { return Ok(rebuilding) };
        each(store, |document| {
            let Some(alert) = own(keys, &document).filter(|alert| alert.opened < oldest) else { return };
            rebuilding.old.insert(alert.id.clone());
            rebuilding.alerts.insert(alert);
        })
        .await?;
        Ok(rebuilding)
    }

    /// Takes in what was sealed before `end`.
    pub async fn advance(&mut self, store: &dyn Store, end: u64) -> Result<(), ServerError> {
        while self.next < end {
            let rows = entries::kept(store, self.next, end, STEP).await?;
            self.next = entries::behind(&rows);
            rows.entries.iter().for_each(|entry| self.take(entry));
        }
        self.commit_ends(None);
        Ok(())
    }

    fn take(&mut self, entry: &[u8]) {
        if may_be_of(entry, &SourceId::finding()) {
            if let Some(envelope) = read::<serde_json::Value>(entry, &SourceId::finding())
                && let Some(sealed) = finding::read(&envelope.data)
            {
                self.commit_ends(Some(envelope.received));
                self.take_finding(&sealed, envelope.received);
            }
            return;
        }
        self.commit_ends(None);
        if may_be_of(entry, &SourceId::audit())
            && let Some(envelope) = read::<ChangeData>(entry, &SourceId::audit())
            && envelope.data.action == "alert_change"
        {
            self.take_change(envelope.data);
        }
    }

    fn take_finding(&mut self, sealed: &Sealed, received: Micros) {
        let home = self.alerts.home(&sealed.finding);
        if home.is_none_or(|id| !self.old.contains(&id)) {
            let suppressed = |_: &Finding| sealed.suppressed_by.clone();
            self.alerts.take(&sealed.finding, &sealed.message, received, suppressed, &mut Before::new());
        }
    }

    fn take_change(&mut self, data: ChangeData) {
        let ChangeData { timestamp, user, alert, message, .. } = data;
        if self.old.contains(&alert.id) {
            return;
        }
        let change = AlertChange { state: alert.state, assignee: alert.assignee, comment: message };
        if let Some(mut changed) = self.alerts.get(&alert.id).cloned() {
            changed.change(&change, &user, timestamp);
            self.alerts.insert(changed);
        }
    }

    /// Where a commit of findings ends, there was seen whether there are too many alerts.
    fn commit_ends(&mut self, next: Option<Micros>) {
        if self.commit.is_some() && self.commit != next {
            self.alerts.thin(MAX_ALERTS, &mut Before::new());
        }
        self.commit = next;
    }

    /// What has to be written so that the state holds these alerts and no others, in parts.
    pub async fn changes(&self, store: &dyn Store, keys: &KeyDir) -> Result<Vec<Vec<StateChange>>, ServerError> {
        let mut wanted: BTreeMap<&str, &Alert> = self.alerts.all().map(|alert| (alert.id.as_str(), alert)).collect();
        let mut gone = Vec::new();
        each(store, |document| match wanted.get(document.key.as_str()) {
            Some(alert) if own(keys, &document).is_some_and(|kept| kept == **alert) => {
                wanted.remove(document.key.as_str());
            }
            Some(_) => {}
            None => gone.push(document.key),
        })
        .await?;
        let gone = gone.into_iter().map(|key| {
            let collection = COLLECTION.to_owned();
            Ok(StateChange { collection, key, value: None, expect: Expect::Any, expires: None })
        });
        let all: Result<Vec<_>, ServerError> =
            gone.chain(wanted.into_iter().map(|(id, alert)| write(id, Some(alert)))).collect();
        Ok(parts(all?, store.commit_limits().bytes))
    }
}

/// Changes in parts that fit into a commit.
fn parts(changes: Vec<StateChange>, most: usize) -> Vec<Vec<StateChange>> {
    let (mut parts, mut bytes) = (Vec::<Vec<StateChange>>::new(), 0usize);
    for change in changes {
        let size = change.value.as_ref().map_or(0, |value| value.to_string().len()) + change.key.len();
        match parts.last_mut().filter(|part| part.len() < PAGE && bytes.saturating_add(size) <= most.min(4 << 20)) {
            Some(part) => {
                bytes += size;
                part.push(change);
            }
            None => {
                bytes = size;
                parts.push(vec![change]);
            }
        }
    }
    parts
}

/// All documents of the collection.
async fn each(store: &dyn Store, mut take: impl FnMut(Document)) -> Result<(), ServerError> {
    let mut after = String::new();
    loop {
        let page = store.list(COLLECTION, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.key);
        page.into_iter().for_each(&mut take);
    }
}

/// The alert in a document, if it is this log's own.
pub(super) fn own(keys: &KeyDir, document: &Document) -> Option<Alert> {
    guard::check(keys, COLLECTION, document).ok()?;
    let read = Alert::deserialize(&document.value);
    read.inspect_err(|error| tracing::error!(%error, alert = document.key, "an alert can't be read and is left out"))
        .ok()
}

/// Whether the beginning of an entry says so, in the envelope or behind it.
fn may_be_of(entry: &[u8], source: &SourceId) -> bool {
    let wanted = format!("\"source\":\"{}\"", source.as_str());
    entry.get(..HEAD).unwrap_or(entry).windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes())
}

fn read<D: DeserializeOwned>(entry: &[u8], source: &SourceId) -> Option<Envelope<D>> {
    let envelope: Envelope<D> = serde_json::from_slice(entry).ok()?;
    (envelope.source == source.as_str()).then_some(envelope)
}
