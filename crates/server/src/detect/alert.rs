//! Alerts: findings that people work on.

use std::collections::{BTreeMap, BTreeSet};

use sceau_detect::{Finding, Level, Phase};
use sceau_event::Micros;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::schemas::LevelSchema;

use super::desk::AlertChange;

/// Findings that an alert names one by one, the last ones; all are counted.
const MAX_FINDINGS: usize = 100;
/// Entries that an alert names as evidence.
const MAX_EVIDENCE: usize = 200;
/// Comments on one alert.
pub(crate) const MAX_COMMENTS: usize = 200;
/// Characters of a comment.
pub(crate) const MAX_COMMENT: usize = 4_000;

/// How far people are with an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertState {
    /// Nobody has looked at it.
    Open,
    /// Somebody works on it.
    Acknowledged,
    /// Dealt with.
    Closed,
    /// It was none.
    FalsePositive,
}

impl AlertState {
    /// Whether further findings of the same rule and group join it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged)
    }
}

/// What somebody wrote about an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Comment {
    #[schema(value_type = String, format = DateTime)]
    pub time: Micros,
    pub user: String,
    pub text: String,
}

/// Findings of one rule and group, from the first until somebody closes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Alert {
    /// The first finding's id.
    pub id: String,
    pub rule: String,
    pub title: String,
    /// The highest of its findings.
    #[schema(value_type = LevelSchema)]
    pub level: Level,
    pub tags: BTreeSet<String>,
    pub group: BTreeMap<String, String>,
    pub state: AlertState,
    pub assignee: Option<String>,
    /// When the server opened it, and when anything of it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub opened: Micros,
    #[schema(value_type = String, format = DateTime)]
    pub updated: Micros,
    /// Ids of findings, the last ones.
    pub findings: Vec<String>,
    pub finding_count: u64,
    /// Occurrences in all bursts.
    pub count: u64,
    /// The first and the last event time.
    #[schema(value_type = String, format = DateTime)]
    pub first: Micros,
    #[schema(value_type = String, format = DateTime)]
    pub last: Micros,
    /// Indexes of entries, the first ones of each finding.
    pub evidence: Vec<u64>,
    /// The last finding in words.
    pub message: String,
    /// The occurrences with which bursts fired that are not over, by the finding's id.
    pub going_on: BTreeMap<String, u64>,
    pub late: bool,
    pub comments: Vec<Comment>,
    /// The suppression for which it was not opened.
    pub suppressed_by: Option<String>,
}

impl Alert {
    /// The alert that a finding opens.
    pub fn open(finding: &Finding, message: String, now: Micros, suppressed_by: Option<String>) -> Self {
        let state = if suppressed_by.is_some() { AlertState::Closed } else { AlertState::Open };
        let mut alert = Self {
            id: finding.id.clone(),
            rule: finding.rule.clone(),
            title: finding.title.clone(),
            level: finding.level,
            tags: finding.tags.clone(),
            group: finding.group.iter().cloned().collect(),
            state,
            assignee: None,
            opened: now,
            updated: now,
            findings: Vec::new(),
            finding_count: 0,
            count: 0,
            first: finding.first,
            last: finding.last,
            evidence: Vec::new(),
            message: String::new(),
            going_on: BTreeMap::new(),
            late: false,
            comments: Vec::new(),
            suppressed_by,
        };
        alert.join(finding, message, now);
        alert
    }

    /// Takes in a further finding of the same rule and group. Gives the one that it names no more for it.
    pub fn join(&mut self, finding: &Finding, message: String, now: Micros) -> Option<String> {
        self.updated = now;
        self.message = message;
        self.level = self.level.max(finding.level);
        self.tags.extend(finding.tags.iter().cloned());
        self.first = self.first.min(finding.first);
        self.last = self.last.max(finding.last);
        self.late |= finding.late;
        let mut gone = None;
        if !self.names(&finding.id) {
            self.finding_count += 1;
            gone = (self.findings.len() >= MAX_FINDINGS).then(|| self.findings.remove(0));
            self.findings.push(finding.id.clone());
        }
        // A burst's totals take the place of what was known when it fired.
        let before = self.going_on.remove(&finding.id).unwrap_or(0);
        self.count = self.count.saturating_sub(before).saturating_add(finding.count);
        if finding.phase == Phase::Fired && self.going_on.len() < MAX_FINDINGS {
            self.going_on.insert(finding.id.clone(), finding.count);
        }
        for index in &finding.evidence {
            if self.evidence.len() < MAX_EVIDENCE && !self.evidence.contains(index) {
                self.evidence.push(*index);
            }
        }
        gone
    }

    /// Somebody moves it on.
    pub fn change(&mut self, change: &AlertChange, user: &str, now: Micros) {
        self.updated = now;
        if let Some(state) = change.state {
            self.state = state;
        }
        if let Some(assignee) = &change.assignee {
            self.assignee = Some(assignee.trim().to_owned()).filter(|name| !name.is_empty());
        }
        if let Some(text) = &change.comment {
            self.comments.push(Comment { time: now, user: user.to_owned(), text: text.clone() });
        }
    }

    /// Whether it names a finding: one of the last, or one that is not over.
    pub fn names(&self, finding: &str) -> bool {
        self.going_on.contains_key(finding) || self.findings.iter().any(|known| known == finding)
    }

    /// Whether a finding is in it already: the beginning of a burst that it knows, or the end of one that it knows as over.
    pub fn has(&self, finding: &Finding) -> bool {
        let over = finding.phase == Phase::Fired || !self.going_on.contains_key(&finding.id);
        over && self.names(&finding.id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::detect) fn finding(id: &str, phase: Phase, count: u64, at: i64) -> Finding {
        Finding {
            id: id.into(),
            phase,
            rule: "r".into(),
            title: "Rule".into(),
            rule_hash: String::new(),
            level: Level::Medium,
            tags: BTreeSet::new(),
            group: vec![("source.ip".into(), "192.0.2.1".into())],
            evidence: vec![1, 2],
            count,
            first: Micros(at),
            last: Micros(at + 10),
            values: BTreeMap::new(),
            late: false,
        }
    }

    #[test]
    fn bursts_are_counted_once_and_their_totals_replace_their_beginning() {
        let mut alert = Alert::open(&finding("a", Phase::Fired, 5, 0), "m".into(), Micros(1), None);
        assert_eq!((alert.count, alert.going_on.len(), alert.finding_count, alert.state), (5, 1, 1, AlertState::Open));
        alert.join(&finding("a", Phase::Ended, 12, 0), "m".into(), Micros(2));
        assert_eq!((alert.count, alert.going_on.len(), alert.finding_count), (12, 0, 1));
        alert.join(&finding("b", Phase::Fired, 5, 100), "m".into(), Micros(3));
        assert_eq!((alert.count, alert.going_on.len(), alert.finding_count), (17, 1, 2));
        assert_eq!((alert.first, alert.last, alert.updated), (Micros(0), Micros(110), Micros(3)));
        assert!(alert.has(&finding("b", Phase::Fired, 5, 100)) && !alert.has(&finding("b", Phase::Ended, 5, 100)));
        assert!(alert.has(&finding("a", Phase::Ended, 12, 0)), "its end is known");
        assert_eq!(alert.evidence, [1, 2]);
        for n in 0..300 {
            alert.join(&finding(&format!("x{n}"), Phase::Fired, 5, 200), "m".into(), Micros(4));
        }
        assert_eq!((alert.findings.len(), alert.finding_count), (MAX_FINDINGS, 302));
        // It knows the beginning of a burst that goes on for as long.
        assert!(!alert.findings.contains(&"b".to_owned()) && alert.has(&finding("b", Phase::Fired, 5, 100)));
        assert!(!alert.has(&finding("b", Phase::Ended, 5, 100)));
        alert.join(&finding("b", Phase::Ended, 5, 100), "m".into(), Micros(4));
        assert_eq!((alert.finding_count, alert.names("b")), (302, false));
    }

    #[test]
    fn what_is_suppressed_is_kept_but_not_open() {
        let alert = Alert::open(&finding("a", Phase::Fired, 5, 0), "m".into(), Micros(1), Some("s".into()));
        assert_eq!((alert.state, alert.suppressed_by.as_deref()), (AlertState::Closed, Some("s")));
        let text = serde_json::to_string(&alert).unwrap();
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }
}
