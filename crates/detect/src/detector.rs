//! The detector: rules and windows together. Records in, findings out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sceau_event::Record;

use crate::rules::{Matched, RuleSet};
use crate::types::Finding;
use crate::windows::{Fields, Limits, OpenBurst, Restored, SnapshotError, Stats, Windows};

/// The source of findings that are sealed. They don't feed detection.
pub const FINDING_SOURCE: &str = "sceau.finding";

impl Fields for RuleSet {
    fn field<'r>(&self, rule: usize, record: &'r Record<'_>, name: &str) -> Option<Cow<'r, str>> {
        Self::field(self, rule, record, name)
    }

    fn excepted(&self, correlation: usize, record: &Record<'_>) -> bool {
        self.has_exceptions(correlation) && Self::excepted(self, correlation, record)
    }
}

/// Finds what the rules look for in records that come in the order of the log.
///
/// What it finds is a function of the records, the rules, the limits and the lateness. So it replays history, too: give
/// a new detector the records of a stretch of the log.
pub struct Detector {
    rules: Arc<RuleSet>,
    windows: Windows,
    matched: Vec<Matched>,
    places: Vec<usize>,
}

impl Detector {
    /// A detector that has seen nothing. `lateness` is that of the settings, in microseconds.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, limits: Limits, lateness: i64) -> Self {
        let windows = Windows::new(rules.rules(), rules.correlations(), limits, lateness);
        Self { rules, windows, matched: Vec::new(), places: Vec::new() }
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Correlations that can't be evaluated under these limits, by their places in the rules, with the reason.
    #[must_use]
    pub fn refused(&self) -> &[(usize, String)] {
        self.windows.refused()
    }

    /// Takes the record of the entry at `index` and adds what is found. Indexes must rise.
    pub fn push(&mut self, index: u64, record: &Record<'_>, out: &mut Vec<Finding>) {
        if record.source == FINDING_SOURCE {
            return;
        }
        self.rules.matches(record, &mut self.matched);
        self.places.clear();
        self.places.extend(self.matched.iter().map(|matched| matched.rule));
        self.windows.push(index, record, &self.places, self.rules.rules(), self.rules.as_ref(), out);
    }

    /// Takes other rules. What has gathered for rules that are as before stays; open bursts of the others are summed up.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>, out: &mut Vec<Finding>) {
        self.windows.replace_rules(self.rules.rules(), rules.rules(), rules.correlations(), out);
        self.rules = rules;
    }

    /// Everything that decides what is found from here on, the rules aside.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.windows.snapshot(self.rules.rules())
    }

    /// Goes on from a snapshot. The bytes may be anybody's. Open bursts of rules that are no more as they were are summed up.
    ///
    /// # Errors
    /// It isn't a whole snapshot of this version; the detector is then as before.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<Restored, SnapshotError> {
        self.windows.restore(snapshot)
    }

    /// What is held, and what had to go.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.windows.stats(self.rules.rules())
    }

    /// The open bursts by their finding's id: what has been counted so far.
    #[must_use]
    pub fn open_bursts(&self) -> BTreeMap<String, OpenBurst> {
        self.windows.open_bursts()
    }
}
