//! All alerts, in memory and in the state: the detector opens them and adds to them, people move them on.
//!
//! Invariant: what is in memory is what the state holds; each change is in one commit with the entries that explain it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use sceau_detect::{Finding, Phase, value_fits};
use sceau_event::{Micros, SourceId};
use sceau_store::{Expect, Store};
use serde_json::json;
use tokio::sync::{Mutex, watch};

use super::{
    alert::{Alert, AlertState, MAX_COMMENT, MAX_COMMENTS},
    finding::{Sealed, message, word},
    rebuild::{Rebuilding, own},
    settings::{Excepted, Mode},
};
use crate::{error::ServerError, guard::StateChange, keydir::KeyDir, log::Log};

/// The collection of the state that holds alerts.
pub(crate) const COLLECTION: &str = "alerts";
/// Changes that are remembered for those who follow.
const MAX_CHANGES: usize = 1_000;
/// The most that are kept; beyond it the oldest go, closed ones first. Their findings stay in the log.
pub(super) const MAX_ALERTS: usize = 50_000;
/// A share of all alerts by one rule that is pointed out, once there are so many.
const NOISY_FROM: u64 = 20;

/// What somebody wants to change about an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertChange {
    pub state: Option<AlertState>,
    /// Who works on it from now on; empty: nobody.
    pub assignee: Option<String>,
    pub comment: Option<String>,
}

/// All alerts.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    alerts: Mutex<Alerts>,
    /// The number of the last change, for those who follow.
    revision: watch::Sender<u64>,
}

/// Changes of alerts since a number.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The number of the last one.
    pub revision: u64,
    /// The alerts that changed, as they are now, each once, in the order of their last change.
    pub alerts: Vec<Alert>,
    /// Whether there were more than are remembered.
    pub missed: bool,
}

/// See [`Desk`].
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts {
    by_id: BTreeMap<String, Alert>,
    /// Those that findings still join, by rule and group.
    open: HashMap<(String, String), String>,
    /// The alert that a finding is in, of those that alerts name.
    by_finding: HashMap<String, String>,
    /// Alerts that had to go.
    dropped: u64,
    /// The number of the last change, and the alerts of the last ones.
    revision: u64,
    changed: VecDeque<String>,
}

/// Alerts as they were before a change that may not become durable.
pub(super) type Before = BTreeMap<String, Option<Alert>>;

fn place(alert: &Alert) -> (String, String) {
    place_of(&alert.rule, alert.group.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn place_of<'a>(rule: &str, group: impl Iterator<Item = (&'a str, &'a str)>) -> (String, String) {
    let mut pairs: Vec<_> = group.collect();
    pairs.sort_unstable();
    (rule.to_owned(), json!(pairs).to_string())
}

impl Alerts {
    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.by_id.values()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Alert> {
        self.by_id.get(id)
    }

    /// Puts one in, in the place of the one of its id.
    pub fn insert(&mut self, alert: Alert) {
        for finding in alert.findings.iter().chain(alert.going_on.keys()) {
            self.by_finding.insert(finding.clone(), alert.id.clone());
        }
        let place = place(&alert);
        if alert.state.is_open() {
            self.open.insert(place, alert.id.clone());
        } else if self.open.get(&place) == Some(&alert.id) {
            self.open.remove(&place);
        }
        self.by_id.insert(alert.id.clone(), alert);
    }

    fn remove(&mut self, id: &str) {
        if let Some(alert) = self.by_id.remove(id) {
            let place = place(&alert);
            if self.open.get(&place).is_some_and(|open| open == id) {
                self.open.remove(&place);
            }
            for finding in alert.findings.iter().chain(alert.going_on.keys()) {
                self.by_finding.remove(finding);
            }
        }
    }

    /// Remembers that alerts have changed.
    fn note<'a>(&mut self, ids: impl Iterator<Item = &'a String>) {
        for id in ids {
            self.revision += 1;
            self.changed.push_back(id.clone());
        }
        let over = self.changed.len().saturating_sub(MAX_CHANGES);
        self.changed.drain(..over);
    }

    fn changes(&self, since: u64) -> Changes {
        let behind = self.revision.saturating_sub(since);
        let kept = usize::try_from(behind).unwrap_or(usize::MAX).min(self.changed.len());
        let mut seen = HashSet::new();
        let newest = self.changed.iter().rev().take(kept).filter(|id| seen.insert(id.as_str()));
        let mut alerts: Vec<Alert> = newest.filter_map(|id| self.by_id.get(id).cloned()).collect();
        alerts.reverse();
        Changes { revision: self.revision, alerts, missed: kept as u64 != behind }
    }

    fn restore(&mut self, before: Before) {
        for (id, alert) in before {
            self.remove(&id);
            alert.into_iter().for_each(|alert| self.insert(alert));
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts { dropped: self.dropped, ..Counts::default() };
        for alert in self.by_id.values() {
            *counts.rules.entry(alert.rule.clone()).or_default() += 1;
            if alert.state.is_open() {
                *counts.open.entry(word(alert.level)).or_default() += 1;
            }
        }
        counts
    }

    /// The alert that a finding belongs to, if there is one: it stays with that of its beginning, even if that was closed
    /// meanwhile.
    pub fn home(&self, finding: &Finding) -> Option<String> {
        let group = finding.group.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let open = || self.open.get(&place_of(&finding.rule, group));
        self.by_finding.get(&finding.id).or_else(open).cloned()
    }

    /// Takes a finding in, of which `text` is the message; `false` if it is there already. One that opens an alert is asked
    /// whether it is suppressed.
    pub fn take(
        &mut self,
        finding: &Finding,
        text: &str,
        now: Micros,
        suppressed: impl FnOnce(&Finding) -> Option<String>,
        before: &mut Before,
    ) -> bool {
        if finding.phase == Phase::Ended && !self.by_finding.contains_key(&finding.id) {
            // Its alert had to go, or it is told again: there is nothing that it could bring up to date.
            return false;
        }
        if let Some(alert) = self.home(finding).and_then(|id| self.by_id.get_mut(&id)) {
            if alert.has(finding) {
                return false;
            }
            before.entry(alert.id.clone()).or_insert_with(|| Some(alert.clone()));
            alert.join(finding, text.to_owned(), now);
            self.by_finding.insert(finding.id.clone(), alert.id.clone());
            return true;
        }
        let alert = Alert::open(finding, text.to_owned(), now, suppressed(finding));
        let replaced = self.by_id.get(&alert.id).cloned();
        before.entry(alert.id.clone()).or_insert(replaced);
        self.insert(alert);
        true
    }

    /// Makes room: closed alerts go first, then those of the lowest level, then the oldest.
    pub fn thin(&mut self, most: usize, before: &mut Before) {
        let Some(over) = self.by_id.len().checked_sub(most).filter(|over| *over > 0) else { return };
        let rank =
            |alert: &&Alert| (alert.state.is_open(), alert.state.is_open().then_some(alert.level), alert.updated);
        let mut least: Vec<&Alert> = self.by_id.values().collect();
        least.sort_unstable_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.id.cmp(&b.id)));
        let gone: Vec<String> = least.into_iter().take(over).map(|alert| alert.id.clone()).collect();
        self.dropped = self.dropped.saturating_add(gone.len() as u64);
        tracing::warn!(
            alerts = gone.len(),
            "there are too many alerts, and these had to go; their findings stay in the log"
        );
        for id in gone {
            let alert = self.by_id.get(&id).cloned();
            before.entry(id.clone()).or_insert(alert);
            self.remove(&id);
        }
    }
}

/// The document of an alert.
pub(super) fn write(id: &str, alert: Option<&Alert>) -> Result<StateChange, ServerError> {
    let value = alert.map(serde_json::to_value).transpose();
    let value = value.map_err(|error| ServerError::Internal(format!("an alert: {error}")))?;
    Ok(StateChange { collection: COLLECTION.into(), key: id.into(), value, expect: Expect::Any, expires: None })
}

/// Whether an exception keeps the alert of a finding from being opened.
pub(super) fn suppresses(excepted: &Excepted, finding: &Finding, now: Micros) -> bool {
    excepted.mode == Mode::Suppress
        && excepted.rule.as_ref().is_none_or(|rule| *rule == finding.rule)
        && excepted.until.is_none_or(|until| now < until)
        && excepted
            .fields
            .iter()
            .all(|(name, wanted)| finding.group.iter().any(|(group, value)| group == name && value_fits(wanted, value)))
}

impl Desk {
    /// Reads all alerts. One that is not this log's own is left out and logged: the log has its findings.
    pub async fn load(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let (mut alerts, mut after) = (Alerts::default(), String::new());
        loop {
            let page = store.list(COLLECTION, &after, 500).await?;
            let Some(last) = page.last() else { return Ok(Self { alerts: Mutex::new(alerts), ..Self::default() }) };
            after.clone_from(&last.key);
            for document in page {
                own(keys, &document).into_iter().for_each(|alert| alerts.insert(alert));
            }
        }
    }

    /// Works out what findings change, and hands it to `commit`, which makes it durable or not: the alerts to write, the
    /// findings that were not sealed before, and the time. Nobody else changes an alert meanwhile. Must be carried through.
    pub(super) async fn take<F>(
        &self,
        findings: Vec<Finding>,
        clock: impl FnOnce() -> Micros,
        suppressions: &BTreeMap<String, Excepted>,
        commit: impl FnOnce(Vec<StateChange>, Vec<Sealed>, Micros) -> F,
    ) -> Result<(), ServerError>
    where
        F: Future<Output = Result<(), ServerError>>,
    {
        let mut alerts = self.alerts.lock().await;
        // Whoever had them may have had them for long.
        let now = clock();
        let mut before = Before::new();
        let mut fresh = Vec::with_capacity(findings.len());
        for finding in findings {
            let (message, mut suppressed_by) = (message(&finding), None);
            let suppressed = |finding: &Finding| {
                let found = suppressions.iter().find(|(_, excepted)| suppresses(excepted, finding, now));
                suppressed_by = found.map(|(id, _)| id.clone());
                suppressed_by.clone()
            };
            if alerts.take(&finding, &message, now, suppressed, &mut before) {
                fresh.push(Sealed { finding, message, suppressed_by });
            }
        }
        alerts.thin(MAX_ALERTS, &mut before);
        let writes: Result<Vec<_>, _> = before.keys().map(|id| write(id, alerts.by_id.get(id))).collect();
        let done = match writes {
            Ok(writes) => commit(writes, fresh, now).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            alerts.restore(before);
        } else {
            alerts.note(before.keys());
            self.revision.send_replace(alerts.revision);
        }
        done
    }

    /// Changes an alert; the change is sealed as an entry of `sceau.audit` in the same commit. Must be carried through.
    pub async fn change(&self, log: &Log, id: &str, change: AlertChange, user: &str) -> Result<Alert, ServerError> {
        check(&change)?;
        let mut alerts = self.alerts.lock().await;
        let mut alert = alerts.by_id.get(id).cloned().ok_or_else(|| ServerError::NotFound(format!("alert {id}")))?;
        if change.comment.is_some() && alert.comments.len() >= MAX_COMMENTS {
            return Err(ServerError::parameter("comment", format!("an alert has at most {MAX_COMMENTS} comments")));
        }
        let now = log.now();
        alert.change(&change, user, now);
        let event = json!({
            "timestamp": now.to_string(),
            "action": "alert_change",
            "user": user,
            "alert": {"id": id, "rule": alert.rule, "state": change.state, "assignee": change.assignee},
            "message": change.comment,
        });
        log.note_with(SourceId::audit(), &event, vec![write(id, Some(&alert))?]).await?;
        alerts.insert(alert.clone());
        alerts.note(std::iter::once(&alert.id));
        self.revision.send_replace(alerts.revision);
        Ok(alert)
    }

    /// Makes all alerts again from what is sealed; `write` makes changes durable. Gives how many there are. Must be carried
    /// through.
    pub async fn rebuild<F>(
        &self,
        store: &dyn Store,
        keys: &KeyDir,
        write: impl Fn(Vec<StateChange>) -> F,
    ) -> Result<u64, ServerError>
    where
        F: Future<Output = Result<(), ServerError>>,
    {
        let mut rebuilding = Rebuilding::begin(store, keys).await?;
        rebuilding.advance(store, store.head().await?.size.0).await?;
        // Nobody changes an alert from here on; what came meanwhile is soon read.
        let mut alerts = self.alerts.lock().await;
        rebuilding.advance(store, store.head().await?.size.0).await?;
        for part in rebuilding.changes(store, keys).await? {
            write(part).await?;
        }
        rebuilding.alerts.dropped = alerts.dropped;
        // Whoever follows sees all of them anew.
        let revision = alerts.revision;
        *alerts = rebuilding.alerts;
        alerts.revision = revision;
        let all: Vec<String> = alerts.by_id.keys().cloned().collect();
        alerts.note(all.iter());
        self.revision.send_replace(alerts.revision);
        Ok(alerts.by_id.len() as u64)
    }

    /// The number of the last change, and its growing.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// What changed since that number.
    pub async fn changes(&self, since: u64) -> Changes {
        self.alerts.lock().await.changes(since)
    }

    /// An alert.
    pub async fn get(&self, id: &str) -> Option<Alert> {
        self.alerts.lock().await.by_id.get(id).cloned()
    }

    /// Alerts for which `wanted` holds, the last changed first, those behind `after`, at most `limit`.
    pub async fn list(
        &self,
        wanted: impl Fn(&Alert) -> bool,
        after: Option<(Micros, &str)>,
        limit: usize,
    ) -> Vec<Alert> {
        let alerts = self.alerts.lock().await;
        let behind = |alert: &&Alert| after.is_none_or(|after| (alert.updated, alert.id.as_str()) < after);
        let mut found: Vec<&Alert> = alerts.by_id.values().filter(|alert| wanted(alert)).filter(behind).collect();
        found.sort_unstable_by(|a, b| (b.updated, &b.id).cmp(&(a.updated, &a.id)));
        found.into_iter().take(limit).cloned().collect()
    }

    /// How many alerts each rule has made, how many are open by level, and how many had to go.
    pub async fn counts(&self) -> Counts {
        self.alerts.lock().await.counts()
    }

    /// The same, unless somebody changes alerts just now.
    pub fn counts_now(&self) -> Option<Counts> {
        self.alerts.try_lock().ok().map(|alerts| alerts.counts())
    }
}

/// How many alerts there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub rules: BTreeMap<String, u64>,
    pub open: BTreeMap<&'static str, u64>,
    /// Since the start.
    pub dropped: u64,
}

/// The rule that makes half of all alerts or more, once there are enough to say so.
pub(crate) fn noisy(rules: &BTreeMap<String, u64>) -> Option<&str> {
    let all: u64 = rules.values().sum();
    let (rule, most) = rules.iter().max_by_key(|(_, count)| **count)?;
    (all >= NOISY_FROM && rules.len() > 1 && most.saturating_mul(2) >= all).then_some(rule)
}

fn check(change: &AlertChange) -> Result<(), ServerError> {
    if *change == AlertChange::default() {
        return Err(ServerError::Body("say what to change: state, assignee or comment".into()));
    }
    let too_long = |name: &str, text: &Option<String>, most: usize| match text {
        Some(text) if text.chars().count() > most => {
            Err(ServerError::parameter(name, format!("may have {most} characters")))
        }
        _ => Ok(()),
    };
    too_long("assignee", &change.assignee, 200)?;
    too_long("comment", &change.comment, MAX_COMMENT)?;
    match &change.comment {
        Some(text) if text.trim().is_empty() => Err(ServerError::parameter("comment", "is empty")),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
