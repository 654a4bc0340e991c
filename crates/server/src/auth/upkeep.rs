//! What is done beside the work: refusals are sealed together, uses of tokens are written down, old sessions forgotten, keys
//! of access tokens replaced.

use std::time::Duration;

use sceau_event::{Micros, SourceId};
use serde_json::{Value, json};

use super::Accounts;
use crate::{error::ServerError, log::Log};

/// How often refusals are sealed.
const EVERY: Duration = Duration::from_secs(5);
/// Every how many times the rest is done: once a minute.
const REST: u32 = 12;

/// Looks after the accounts of a log as long as it is served; `log` gives it once this server has it, and `None` at the end.
pub(crate) async fn run(accounts: Accounts, log: impl Fn() -> Option<Option<Log>>) {
    for round in 1u32.. {
        tokio::time::sleep(EVERY).await;
        let Some(log) = log() else { return };
        let Some(log) = log else { continue };
        let now = log.now();
        accounts.seal_delayed(&log).await;
        if round % REST == 0
            && let Err(error) = accounts.tidy(&log, now).await
        {
            tracing::warn!(%error, "accounts could not be tidied up; it is tried again");
        }
    }
}

impl Accounts {
    /// Seals what had to wait since it was done last, an entry an address.
    pub(crate) async fn seal_delayed(&self, log: &Log) {
        let delayed = self.0.delayed.take();
        if delayed.is_empty() {
            return;
        }
        let now = log.now().to_string();
        let event = |(address, count): (Option<std::net::IpAddr>, u64)| {
            let mut event = json!({
                "timestamp": now,
                "action": "login",
                "status": "failed",
                "service": "sceau",
                "event": {"count": count.min(1_000_000)},
                "message": format!("{count} log-ins were refused unseen, as too many had failed"),
            });
            if let Some(address) = address {
                event["ip"] = Value::from(address.to_string());
            }
            event
        };
        let events: Vec<Value> = delayed.into_iter().map(event).collect();
        if let Err(error) = log.note_all(SourceId::audit(), &events).await {
            tracing::warn!(%error, addresses = events.len(), "refused log-ins could not be sealed");
        }
    }

    /// Writes down when tokens were used, forgets sessions that are over, and replaces an old key.
    ///
    /// # Errors
    /// The store could not be written to.
    pub(crate) async fn tidy(&self, log: &Log, now: Micros) -> Result<(), ServerError> {
        let _held = self.0.changing.lock().await;
        self.0.sessions.tidy(now);
        let uses = self.0.tokens.take_uses();
        if !uses.is_empty() {
            log.write_state(uses).await?;
        }
        self.ensure_key(log, now).await
    }
}
