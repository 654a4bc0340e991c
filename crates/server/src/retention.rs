//! Retention: the oldest entries go once they are older, or together larger, than the policy allows.
//!
//! Order: every entry of the stretch read and proven to be what the published checkpoint covers → state changes in it
//! that still explain the present state repeated at the log's end → the deletion itself told as an entry of
//! `sceau.audit` → both under a checkpoint and a seal → the entries deleted, their leaves kept. Whatever stops in between,
//! the log has said more than was done, never less.

mod carry;
mod examine;

use std::time::Duration;

use sceau_event::{Micros, SourceId};
use sceau_ledger::{Head, Index};
use sceau_store::{Store, StoreError, Stretch};
use serde_json::json;
use tokio::sync::watch;

use crate::{config::Retention, epochs, error::ServerError, hex, log::Log, publisher::Published};

/// How often it looks whether something is due.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long it leaves things alone after a failure: what can't be deleted now is read whole at each try.
const PAUSE: Duration = Duration::from_secs(600);
/// The most stretches that one entry tells of.
const MAX_STRETCHES: usize = 8;
const DAY: i64 = 24 * 3600 * 1_000_000;

/// Why entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// All were received before this moment.
    Age { before: Micros, days: u32 },
    /// What is kept is larger than this.
    Size { bytes: u64 },
}

/// What goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    first: u64,
    end: u64,
    reason: Reason,
}

/// Works until `stop` says so, or nobody holds the log any more.
pub(crate) async fn run(
    log: impl Fn() -> Option<Log> + Send + 'static,
    policy: Retention,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let Some(log) = log() else { return };
        // In a task of its own: a panic over a damaged file must not end retention for good.
        let one = tokio::spawn({
            let (log, policy) = (log.clone(), policy.clone());
            async move { round(&log, &policy).await }
        });
        let result = one.await.unwrap_or_else(|error| Err(ServerError::Internal(error.to_string())));
        pause = match &result {
            Ok(0) => INTERVAL,
            Ok(_) => Duration::ZERO,
            Err(_) => PAUSE,
        };
        match result {
            Ok(deleted) => log.metrics().retained(deleted),
            Err(ServerError::Closing) => return,
            Err(error) => {
                tracing::error!(%error, "retention could not delete what is due; nothing of it was deleted");
                log.metrics().retention_failed();
            }
        }
    }
}

/// Deletes what is due, at most [`MAX_STRETCHES`]; gives how many entries went.
///
/// # Errors
/// Nothing was deleted: something is not what was sealed, or can't be read or written.
pub(crate) async fn round(log: &Log, policy: &Retention) -> Result<u64, ServerError> {
    log.health().check()?;
    // A verification has yet to read what is there now, and would not read the entry that tells of its end.
    let Ok(_alone) = log.upkeep().try_write() else { return Ok(0) };
    let Some(published) = log.publisher().publish().await? else { return Ok(0) };
    let Some(due) = due(log, policy, &published.head).await? else { return Ok(0) };
    let store = log.reader().store();
    let found = examine::examine(&**store, log.reader().deriver(), &published.head, due.first, due.end).await?;
    if matches!(due.reason, Reason::Age { before, .. } if found.newest >= before.0) {
        return Ok(0);
    }
    carry::carry(log, &published.head, due.end, found.changes).await?;
    let told = tell(log, &published, &due).await?;
    // Both must hold by what can't be taken back before anything goes.
    let signed = log.publisher().publish().await?.map_or(0, |published| published.head.size.0);
    log.publisher().close_epoch().await?;
    if signed <= told || sealed(&**store).await? <= told {
        return Err(ServerError::Internal(format!("entry {told} is not sealed, though it should be")));
    }
    let kept = store.prune(Index(due.end)).await?;
    tracing::info!(first = due.first, last = due.end - 1, reason = ?due.reason, "retention deleted entries");
    Ok(kept.0.saturating_sub(due.first))
}

/// How many entries are sealed.
async fn sealed(store: &dyn Store) -> Result<u64, ServerError> {
    Ok(epochs::last_seal(store).await?.map_or(0, |seal| seal.body().head.size.0))
}

async fn due(log: &Log, policy: &Retention, published: &Head) -> Result<Option<Due>, ServerError> {
    let store = log.reader().store();
    let stretches = store.stretches().await?;
    let settled = published.size.0.min(sealed(&**store).await?);
    let mut total = stretches.iter().fold(0u64, |sum, stretch| sum.saturating_add(stretch.bytes));
    let cutoff = |days: u32| Micros(log.now().0.saturating_sub(i64::from(days).saturating_mul(DAY)));
    let mut due: Option<Due> = None;
    for stretch in stretches.iter().filter(|stretch| stretch.end() <= settled).take(MAX_STRETCHES) {
        let large = policy.bytes.filter(|bytes| total > *bytes).map(|bytes| Reason::Size { bytes });
        let reason = match (large, policy.days, due.map(|due| due.reason)) {
            (Some(reason), ..) => reason,
            // The same moment for all, or each would be told by an entry of its own.
            (None, Some(days), before) => {
                let before = match before {
                    Some(Reason::Age { before, .. }) => before,
                    _ => cutoff(days),
                };
                if last_received(log, stretch).await? >= before {
                    break;
                }
                Reason::Age { before, days }
            }
            (None, None, _) => break,
        };
        match &mut due {
            None => due = Some(Due { first: stretch.first, end: stretch.end(), reason }),
            Some(due) if due.end == stretch.first && due.reason == reason => due.end = stretch.end(),
            Some(_) => break,
        }
        total = total.saturating_sub(stretch.bytes);
    }
    Ok(due)
}

/// When a stretch's last entry was received: none in it is more than a minute younger.
async fn last_received(log: &Log, stretch: &Stretch) -> Result<Micros, ServerError> {
    let index = stretch.end().saturating_sub(1);
    let rows = log.reader().store().entries(Index(index), 1).await?;
    let damaged = |detail: String| StoreError::Entry { index, detail };
    let entry = rows.entries.first().ok_or_else(|| damaged("is missing".to_owned()))?;
    Ok(log.reader().deriver().derive(entry).map_err(|error| damaged(error.to_string()))?.received)
}

/// Tells the log what goes, and why; gives the index of that entry.
async fn tell(log: &Log, published: &Published, due: &Due) -> Result<u64, ServerError> {
    let (reason, limit) = match due.reason {
        Reason::Age { before, days } => ("age", json!({"days": days, "received_before": before.to_string()})),
        Reason::Size { bytes } => ("size", json!({ "bytes": bytes })),
    };
    let event = json!({
        "timestamp": log.now().to_string(),
        "action": "retention",
        "first": due.first,
        "last": due.end - 1,
        "reason": reason,
        "limit": limit,
        "tree_size": published.head.size.0,
        "root_hash": hex(&published.head.root.0),
        "user": "system",
    });
    let appended = log.note(SourceId::audit(), &event).await?;
    appended.first_index.ok_or_else(|| ServerError::Internal("an entry got no index".to_owned()))
}

#[cfg(test)]
mod tests;
