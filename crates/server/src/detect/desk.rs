//! All alerts, in memory and in the state: the detector opens them and adds to them, people move them on.
//!
//! Invariant: what is in memory is what the state holds; each change is in one commit with the entries that explain it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::PoisonError,
};

use sceau_detect::{Finding, Phase, value_fits};
use sceau_event::{Micros, SourceId};
use sceau_ledger::Head;
use sceau_store::{Expect, Store};
use serde_json::json;
use tokio::sync::{Mutex, watch};

use super::{
    alert::{Alert, AlertState, MAX_COMMENT, MAX_COMMENTS},
    alerts::{Alerts, Before, tell_thinned},
    changes::{Changes, Recent},
    finding::{Sealed, message},
    rebuild::{Rebuilding, own, parts},
    settings::{Excepted, Mode},
};
use crate::{error::ServerError, guard::StateChange, keydir::KeyDir, log::Log};

/// The collection of the state that holds alerts.
pub(crate) const COLLECTION: &str = "alerts";
/// The most that are kept; beyond it the oldest go, closed ones first. Their findings stay in the log.
pub(super) const MAX_ALERTS: usize = if cfg!(test) { 200 } else { 50_000 };
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
    /// As they were when somebody last asked for them.
    counted: std::sync::Mutex<Counts>,
    /// What changed last, and its number for those who follow.
    recent: std::sync::Mutex<Recent>,
    revision: watch::Sender<u64>,
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
            let Some(last) = page.last() else {
                let counted = std::sync::Mutex::new(alerts.counts());
                return Ok(Self { alerts: Mutex::new(alerts), counted, ..Self::default() });
            };
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
            let alert = alerts.take(&finding, &message, now, suppressed, &mut before);
            if alert.is_some() {
                fresh.push(Sealed { finding, message, suppressed_by, alert });
            }
        }
        tell_thinned(alerts.thin(MAX_ALERTS, &mut before));
        let writes: Result<Vec<_>, _> = before.keys().map(|id| write(id, alerts.by_id.get(id))).collect();
        let done = match writes {
            Ok(writes) => commit(writes, fresh, now).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            alerts.restore(before);
        } else {
            self.note(before.keys());
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
        self.note(std::iter::once(&alert.id));
        Ok(alert)
    }

    /// Makes all alerts again from what is sealed; `head` is what is known to be committed, and `write` makes changes durable.
    /// Gives how many there are. Must be carried through.
    pub async fn rebuild<F>(
        &self,
        store: &dyn Store,
        keys: &KeyDir,
        head: impl Fn() -> Head,
        write: impl Fn(Vec<StateChange>) -> F,
    ) -> Result<u64, ServerError>
    where
        F: Future<Output = Result<(), ServerError>>,
    {
        let mut rebuilding = Rebuilding::begin(store).await?;
        rebuilding.advance(store, head()).await?;
        // Nobody changes an alert from here on; what came meanwhile is soon read.
        let mut alerts = self.alerts.lock().await;
        rebuilding.advance(store, head()).await?;
        rebuilding.end(store, keys).await?;
        let changes = rebuilding.changes(store, keys).await?;
        let mut left: VecDeque<_> = parts(changes, store.commit_limits()).into();
        while let Some(part) = left.pop_front() {
            let limits = store.commit_limits();
            match write(part.clone()).await {
                // If a later part can't be written, what is in memory is what the state holds nevertheless.
                Ok(()) => alerts.follow(&rebuilding.alerts, part.into_iter().map(|change| change.key)),
                Err(error) if error.is_away() && part.len() > 1 && store.commit_limits() != limits => {
                    tracing::info!(%error, "alerts are written in smaller parts");
                    let rest = std::iter::once(part).chain(left).flatten().collect();
                    left = parts(rest, store.commit_limits()).into();
                }
                Err(error) => return Err(error),
            }
        }
        rebuilding.alerts.dropped = alerts.dropped;
        *alerts = rebuilding.alerts;
        self.note(alerts.by_id.keys());
        Ok(alerts.by_id.len() as u64)
    }

    /// Of findings those that end a burst of which an alert does not know that it is over.
    pub async fn unended(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        let alerts = self.alerts.lock().await;
        findings.retain(|finding| {
            let home = alerts.by_finding.get(&finding.id).and_then(|id| alerts.get(id));
            finding.phase == Phase::Ended && home.is_some_and(|alert| !alert.has(finding))
        });
        findings
    }

    fn note<'a>(&self, ids: impl Iterator<Item = &'a String>) {
        let revision = self.recent.lock().unwrap_or_else(PoisonError::into_inner).note(ids);
        self.revision.send_replace(revision);
    }

    /// The number of the last change, and its growing.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// What changed since that number.
    pub async fn changes(&self, since: u64) -> Changes {
        let alerts = self.alerts.lock().await;
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).since(since, &alerts)
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

    /// How many alerts each rule has made, how many are open by level, and how many had to go; as it was before, if alerts are
    /// being written just now: the store may be away for long.
    pub fn counts(&self) -> Counts {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(alerts) = self.alerts.try_lock() {
            *counted = alerts.counts();
        }
        counted.clone()
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
