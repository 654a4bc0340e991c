//! Whoever takes entries away is sealed first: one entry of `sceau.audit` for each caller and quarter of an hour, so that
//! somebody who reads the whole log page by page, or waits at its end, adds no entry for each page.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sceau_event::{Micros, SourceId};
use serde_json::{Value, json};

use crate::{auth::Caller, error::ServerError, log::Log};

/// How long one entry stands for all exports of a caller.
const QUARTER: i64 = 900 * 1_000_000;
/// Callers that are remembered; if there are more, all are forgotten, and sealed again.
const MAX_CALLERS: usize = 10_000;

/// When each caller's exports were sealed last.
#[derive(Debug, Default)]
pub(super) struct Exports(Mutex<HashMap<String, Micros>>);

impl Exports {
    fn is_due(&self, caller: &str, now: Micros) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(caller).is_none_or(|last| !(0..QUARTER).contains(&now.0.saturating_sub(last.0)))
    }

    fn sealed(&self, caller: &str, now: Micros) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CALLERS {
            known.clear();
        }
        known.insert(caller.to_owned(), now);
    }

    /// Seals that a caller takes entries from `from` on, unless that was done a moment ago. A server that only waits for the
    /// log can seal nothing; nor can one whose store has failed, and then evidence must be got out of it all the same: the
    /// server's own log tells of it.
    ///
    /// # Errors
    /// It could not be sealed, so nothing may be given.
    pub async fn seal(&self, log: &Log, caller: &Caller, from: Option<u64>) -> Result<(), ServerError> {
        let now = log.now();
        if !self.is_due(&caller.id, now) {
            return Ok(());
        }
        match log.note(SourceId::audit(), &event(caller, from, now)).await {
            Ok(_) => self.sealed(&caller.id, now),
            Err(error @ ServerError::Poisoned(..)) => {
                tracing::warn!(%error, caller = caller.id, ?from, "entries are exported, and that can't be sealed");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn event(caller: &Caller, from: Option<u64>, now: Micros) -> Value {
    json!({
        "timestamp": now.to_string(),
        "action": "export",
        "status": "success",
        "service": "sceau",
        "user": caller.id,
        "ip": caller.address.to_string(),
        "export": {"what": "entries", "from": from},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_stands_for_a_quarter_of_an_hour() {
        let exports = Exports::default();
        let at = |seconds: i64| Micros(1_795_334_400_000_000 + seconds * 1_000_000);
        assert!(exports.is_due("a", at(0)));
        exports.sealed("a", at(0));
        assert!(!exports.is_due("a", at(899)) && exports.is_due("b", at(0)));
        assert!(exports.is_due("a", at(900)));
        // A clock that was set back must not keep anything unsealed for long.
        assert!(exports.is_due("a", at(-1)));
    }
}
