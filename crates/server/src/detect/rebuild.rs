//! Alerts made again from what is sealed: findings, and what people did about alerts.
//!
//! Invariant: nothing comes of entries that are not those of the log. Each finding says into which alert it went, so the same
//! alerts come of them; one of which retention deleted the beginning stays as it is, if it is this log's own.

use std::collections::{BTreeMap, BTreeSet};

use sceau_detect::{Finding, Phase};
use sceau_event::{Micros, SourceId};
use sceau_ledger::{Head, LeafHash, Tree, TreeSize, leaf_hash};
use sceau_store::{Document, Expect, Store, StoreError, traits::CommitLimits};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    alert::{Alert, AlertState},
    alerts::{Alerts, Before, tell_thinned},
    desk::{AlertChange, COLLECTION, MAX_ALERTS, write},
    finding::{self, Sealed},
};
use crate::{
    entries,
    error::ServerError,
    guard::{self, StateChange},
    keydir::KeyDir,
    prover,
};

/// Entries read at once.
const STEP: usize = 4_096;
/// The beginning of an envelope is looked at for its source: parsing every entry of a large log would take minutes.
const HEAD: usize = 96;
/// Documents read and written at once, and the most bytes that are.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 << 20;

/// Alerts as far as they are made.
pub(super) struct Rebuilding {
    pub alerts: Alerts,
    /// Those of which the beginning was not read.
    headless: BTreeSet<String>,
    /// The tree of what was read, and the first entry of that.
    tree: Tree,
    first: u64,
    /// When the findings were sealed that were read last: those of one commit have one time of receipt.
    commit: Option<Micros>,
    thinned: usize,
}

/// The parts of an envelope that matter.
#[derive(Deserialize)]
struct Envelope<D> {
    received: Micros,
    source: String,
    data: D,
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
    /// Begins at the oldest entry that is kept.
    pub async fn begin(store: &dyn Store) -> Result<Self, ServerError> {
        let first = store.kept_from().await?.0;
        let tree = prover::restore(store, TreeSize(first)).await?;
        let (alerts, headless) = (Alerts::default(), BTreeSet::new());
        Ok(Self { alerts, headless, tree, first, commit: None, thinned: 0 })
    }

    fn next(&self) -> u64 {
        self.tree.head().size.0
    }

    /// Takes in what was sealed up to `head`, and makes sure that it is what leads there.
    pub async fn advance(&mut self, store: &dyn Store, head: Head) -> Result<(), ServerError> {
        while self.next() < head.size.0 {
            let rows = entries::kept(store, self.next(), head.size.0, STEP).await?;
            self.pass(store, rows.first.0.min(head.size.0)).await?;
            let leaves: Vec<LeafHash> = rows.entries.iter().map(|entry| leaf_hash(entry)).collect();
            self.tree.append(&leaves);
            rows.entries.iter().for_each(|entry| self.take(entry));
        }
        self.commit_ends(None);
        if self.tree.head() == head { Ok(()) } else { Err(self.not_sealed(store, head).await?) }
    }

    /// Goes past entries that retention has deleted meanwhile, by their leaves.
    async fn pass(&mut self, store: &dyn Store, to: u64) -> Result<(), ServerError> {
        while self.next() < to {
            let (bundle, place) = (self.next() / 256, self.next() % 256);
            let width = (to - bundle * 256).min(256);
            let leaves = store.tile(0, bundle, u16::try_from(width).unwrap_or(256)).await?;
            let leaves: Vec<LeafHash> =
                leaves.into_iter().skip(usize::try_from(place).unwrap_or(0)).map(LeafHash).collect();
            if leaves.is_empty() {
                return Err(StoreError::Absent(format!("a leaf of bundle {bundle}")).into());
            }
            self.tree.append(&leaves);
        }
        Ok(())
    }

    /// Finds out which of the entries is not what was sealed.
    async fn not_sealed(&self, store: &dyn Store, head: Head) -> Result<ServerError, ServerError> {
        let mut next = self.first;
        while head.size.0.saturating_sub(next) >= 256 {
            let rows = entries::kept(store, next, next + 256, 256).await?;
            if rows.first.0 == next {
                let leaves: Vec<LeafHash> = rows.entries.iter().map(|entry| leaf_hash(entry)).collect();
                prover::check_bundle(store, &head, next / 256, &leaves).await?;
            }
            next += 256;
        }
        if next == head.size.0 {
            let text = format!("what was read leads to {}, committed is {head}", self.tree.head());
            return Ok(StoreError::Damaged(text).into());
        }
        let detail = "or one behind it is not what was sealed; run `sceau verify`".to_owned();
        Ok(StoreError::Entry { index: next, detail }.into())
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
        let Sealed { finding, message, alert, .. } = sealed;
        let suppressed = |_: &Finding| sealed.suppressed_by.clone();
        let Some(home) = alert else {
            // Sealed by a version that did not say it: it takes the same step as then.
            self.alerts.take(finding, message, received, suppressed, &mut Before::new());
            return;
        };
        match self.alerts.get(home) {
            Some(alert) if alert.has(finding) => return,
            None if *home != finding.id || finding.phase == Phase::Ended => {
                self.headless.insert(home.clone());
            }
            _ => {}
        }
        self.alerts.put(home, finding, message, received, suppressed, &mut Before::new());
    }

    fn take_change(&mut self, data: ChangeData) {
        let ChangeData { timestamp, user, alert, message, .. } = data;
        let change = AlertChange { state: alert.state, assignee: alert.assignee, comment: message };
        if let Some(mut changed) = self.alerts.get(&alert.id).cloned() {
            changed.change(&change, &user, timestamp);
            self.alerts.insert(changed);
        }
    }

    /// Where a commit of findings ends, there was seen whether there are too many alerts.
    fn commit_ends(&mut self, next: Option<Micros>) {
        if self.commit.is_some() && self.commit != next {
            self.thinned += self.alerts.thin(MAX_ALERTS, &mut Before::new());
        }
        self.commit = next;
    }

    /// Where everything is read: an alert whose beginning is not among what is kept *now* stays as the state has it. One that
    /// the state does not have any more is left with what its later findings say.
    pub async fn end(&mut self, store: &dyn Store, keys: &KeyDir) -> Result<(), ServerError> {
        if store.kept_from().await?.0 > 0 {
            each(store, |document| {
                if self.alerts.get(&document.key).is_none() || self.headless.contains(&document.key) {
                    own(keys, &document).into_iter().for_each(|alert| self.alerts.insert(alert));
                }
            })
            .await?;
        }
        self.thinned += self.alerts.thin(MAX_ALERTS, &mut Before::new());
        tell_thinned(self.thinned);
        Ok(())
    }

    /// What has to be written so that the state holds these alerts and no others.
    pub async fn changes(&self, store: &dyn Store, keys: &KeyDir) -> Result<Vec<StateChange>, ServerError> {
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
        gone.chain(wanted.into_iter().map(|(id, alert)| write(id, Some(alert)))).collect()
    }
}

/// Changes in parts that fit into a commit.
pub(super) fn parts(changes: Vec<StateChange>, limits: CommitLimits) -> Vec<Vec<StateChange>> {
    let (mut parts, mut bytes) = (Vec::<Vec<StateChange>>::new(), 0usize);
    let (page, most) = (limits.entries.min(PAGE), limits.bytes.min(PAGE_BYTES));
    for change in changes {
        let size = change.value.as_ref().map_or(0, |value| value.to_string().len()) + change.key.len();
        match parts.last_mut().filter(|part| part.len() < page && bytes.saturating_add(size) <= most) {
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
