//! Which alerts changed last, for those who follow.

use std::collections::{HashSet, VecDeque};

use super::{alert::Alert, alerts::Alerts};

/// Changes that are remembered.
const MAX_CHANGES: usize = 1_000;

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

/// The number of the last change, and the alerts of the last ones.
#[derive(Debug, Default)]
pub(super) struct Recent {
    revision: u64,
    ids: VecDeque<String>,
}

impl Recent {
    /// Remembers that alerts have changed; the number of the last change.
    pub fn note<'a>(&mut self, ids: impl Iterator<Item = &'a String>) -> u64 {
        for id in ids {
            self.revision += 1;
            self.ids.push_back(id.clone());
        }
        let over = self.ids.len().saturating_sub(MAX_CHANGES);
        self.ids.drain(..over);
        self.revision
    }

    /// What changed since that number.
    pub fn since(&self, since: u64, alerts: &Alerts) -> Changes {
        let behind = self.revision.saturating_sub(since);
        let kept = usize::try_from(behind).unwrap_or(usize::MAX).min(self.ids.len());
        let mut seen = HashSet::new();
        let newest = self.ids.iter().rev().take(kept).filter(|id| seen.insert(id.as_str()));
        let mut changed: Vec<Alert> = newest.filter_map(|id| alerts.get(id).cloned()).collect();
        changed.reverse();
        Changes { revision: self.revision, alerts: changed, missed: kept as u64 != behind }
    }
}
