//! Alerts in memory, with what they are looked for by.
//!
//! Invariant: of each alert every index knows what the alert itself says, and nothing else, so they are as large as the alerts are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sceau_detect::{Finding, Level, Phase};
use sceau_event::Micros;
use serde_json::json;

use super::{alert::Alert, desk::Counts, finding::word};

/// All of them, by what they are looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts {
    pub by_id: BTreeMap<String, Alert>,
    /// Those that are open, by rule and group. Findings join the one that was opened last; there are several where somebody
    /// opens one again.
    open: HashMap<(String, String), BTreeSet<(Micros, String)>>,
    /// The alert of each finding that an alert names.
    pub by_finding: HashMap<String, String>,
    /// In the order in which they go where there are too many.
    pub ranks: BTreeSet<Rank>,
    /// Alerts that had to go.
    pub dropped: u64,
}

/// Closed alerts go first, then those of the lowest level, then the oldest.
type Rank = (bool, Option<Level>, Micros, String);

fn rank(alert: &Alert) -> Rank {
    let open = alert.state.is_open();
    (open, open.then_some(alert.level), alert.updated, alert.id.clone())
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
        self.remove(&alert.id);
        for finding in alert.findings.iter().chain(alert.going_on.keys()) {
            self.by_finding.insert(finding.clone(), alert.id.clone());
        }
        if alert.state.is_open() {
            self.open.entry(place(&alert)).or_default().insert((alert.opened, alert.id.clone()));
        }
        self.ranks.insert(rank(&alert));
        self.by_id.insert(alert.id.clone(), alert);
    }

    pub fn remove(&mut self, id: &str) -> Option<Alert> {
        let alert = self.by_id.remove(id)?;
        self.ranks.remove(&rank(&alert));
        if alert.state.is_open()
            && let place = place(&alert)
            && let Some(open) = self.open.get_mut(&place)
        {
            open.remove(&(alert.opened, alert.id.clone()));
            if open.is_empty() {
                self.open.remove(&place);
            }
        }
        for finding in alert.findings.iter().chain(alert.going_on.keys()) {
            if self.by_finding.get(finding) == Some(&alert.id) {
                self.by_finding.remove(finding);
            }
        }
        Some(alert)
    }

    pub fn restore(&mut self, before: Before) {
        for (id, alert) in before {
            self.remove(&id);
            alert.into_iter().for_each(|alert| self.insert(alert));
        }
    }

    pub fn counts(&self) -> Counts {
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
        let open = || self.open.get(&place_of(&finding.rule, group))?.last().map(|(_, id)| id);
        self.by_finding.get(&finding.id).or_else(open).cloned()
    }

    /// Takes a finding in, of which `text` is the message, and gives the id of its alert; `None` if it is there already. One
    /// that opens an alert is asked whether it is suppressed.
    pub fn take(
        &mut self,
        finding: &Finding,
        text: &str,
        now: Micros,
        suppressed: impl FnOnce(&Finding) -> Option<String>,
        before: &mut Before,
    ) -> Option<String> {
        let named = self.by_finding.contains_key(&finding.id);
        // An end whose alert had to go, or that is told again, could bring nothing up to date; and the first finding of an
        // alert that has had many since is told again.
        if !named && (finding.phase == Phase::Ended || self.by_id.contains_key(&finding.id)) {
            return None;
        }
        let home = self.home(finding).unwrap_or_else(|| finding.id.clone());
        if self.get(&home).is_some_and(|alert| alert.has(finding)) {
            return None;
        }
        self.put(&home, finding, text, now, suppressed, before);
        Some(home)
    }

    /// Puts a finding into an alert, which it opens if there is none of that id.
    pub fn put(
        &mut self,
        home: &str,
        finding: &Finding,
        text: &str,
        now: Micros,
        suppressed: impl FnOnce(&Finding) -> Option<String>,
        before: &mut Before,
    ) {
        let Some(alert) = self.by_id.get_mut(home) else {
            before.entry(home.to_owned()).or_insert(None);
            let opened = Alert::open(finding, text.to_owned(), now, suppressed(finding));
            self.insert(Alert { id: home.to_owned(), ..opened });
            return;
        };
        before.entry(home.to_owned()).or_insert_with(|| Some(alert.clone()));
        self.ranks.remove(&rank(alert));
        let gone = alert.join(finding, text.to_owned(), now);
        self.ranks.insert(rank(alert));
        for id in gone.iter().chain([&finding.id]) {
            if alert.names(id) {
                self.by_finding.insert(id.clone(), home.to_owned());
            } else {
                self.by_finding.remove(id);
            }
        }
    }

    /// Makes room; gives how many had to go.
    pub fn thin(&mut self, most: usize, before: &mut Before) -> usize {
        let mut gone = 0;
        while self.by_id.len() > most
            && let Some((.., id)) = self.ranks.pop_first()
        {
            let alert = self.remove(&id);
            before.entry(id).or_insert(alert);
            gone += 1;
        }
        self.dropped = self.dropped.saturating_add(gone as u64);
        gone
    }

    /// Takes over how others have these alerts; what they have not goes.
    pub fn follow(&mut self, others: &Self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            self.remove(&id);
            others.get(&id).cloned().into_iter().for_each(|alert| self.insert(alert));
        }
    }
}

/// Says that alerts had to go.
pub(super) fn tell_thinned(gone: usize) {
    if gone > 0 {
        tracing::warn!(alerts = gone, "there are too many alerts, and these had to go; their findings stay in the log");
    }
}
