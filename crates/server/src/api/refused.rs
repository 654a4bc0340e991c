//! Requests without a valid token: counted by address, and sealed every few seconds as failed log-ins, which detection sees
//! like any others.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use sceau_event::SourceId;
use serde_json::{Value, json};

use super::App;
use crate::log::Log;

/// How often what was refused is sealed.
const EVERY: Duration = Duration::from_secs(5);
/// Addresses that are counted one by one between two times; all further ones together.
const MAX_ADDRESSES: usize = 1_000;
/// The most that one entry counts: more is not believed of an event.
const MAX_COUNT: u64 = 1_000_000;

/// What was refused since it was sealed last.
#[derive(Debug, Default)]
pub(crate) struct RefusedLogins(Mutex<BTreeMap<Option<IpAddr>, u64>>);

impl RefusedLogins {
    /// A request from there had no valid token.
    pub fn note(&self, address: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.to_canonical();
        let room = counts.len() < MAX_ADDRESSES || counts.contains_key(&Some(address));
        *counts.entry(room.then_some(address)).or_default() += 1;
    }

    /// What was noted, which is forgotten.
    pub fn take(&self) -> BTreeMap<Option<IpAddr>, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The event of an address that was refused so often.
fn event(now: &str, address: Option<IpAddr>, count: u64) -> Value {
    let mut event = json!({
        "timestamp": now,
        "action": "login",
        "status": "failed",
        "service": "sceau",
        "event": {"count": count.min(MAX_COUNT)},
        "message": format!("{count} requests without a valid token"),
    });
    match address {
        Some(address) => event["ip"] = Value::from(address.to_string()),
        None => {
            event["message"] = Value::from(format!("{count} requests without a valid token from further addresses"))
        }
    }
    event
}

/// Seals what is refused, as long as the server runs.
pub(crate) async fn run(app: Weak<App>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(app) = app.upgrade() else { return };
        if let Ok(log) = app.log() {
            seal(&app, log).await;
        }
    }
}

async fn seal(app: &Arc<App>, log: &Log) {
    let refused = app.refused_logins.take();
    if refused.is_empty() {
        return;
    }
    let now = log.now().to_string();
    let events: Vec<Value> = refused.into_iter().map(|(address, count)| event(&now, address, count)).collect();
    if let Err(error) = log.note_all(SourceId::audit(), &events).await {
        tracing::warn!(%error, addresses = events.len(), "refused log-ins could not be sealed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_and_their_number_is_limited() {
        let refused = RefusedLogins::default();
        for n in 0..2_000u32 {
            refused.note(IpAddr::from(n.to_be_bytes()));
            refused.note("::ffff:0.0.0.1".parse().unwrap());
        }
        let counts = refused.take();
        assert_eq!((counts.len(), counts[&Some("0.0.0.1".parse().unwrap())]), (1_001, 2_001));
        assert_eq!(counts[&None], 1_000);
        assert!(refused.take().is_empty());
        let told = event("2026-11-28T00:00:00Z", Some("192.0.2.1".parse().unwrap()), 7);
        assert_eq!((&told["ip"], &told["event"]["count"]), (&"192.0.2.1".into(), &7.into()));
        assert!(event("", None, 5_000_000).get("ip").is_none());
    }
}
