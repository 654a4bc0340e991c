//! A new log key or MAC key in the place of one that is there, and what a start does about one that was interrupted.
//!
//! Order (`docs/format.md`): new key durable under a name of its own → statement, signed by old and new, committed as an
//! entry with its document of the state → new key in its place, old log key overwritten → signed with it. A start that
//! finds a key under the name of its own goes on if the state names it, and destroys it if not.

use std::sync::Arc;

use sceau_ledger::{KeyChange, KeyHistory, LogChange, LogKey, MacChange, MacKey, MacKeys, Signer};
use sceau_store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    error::ServerError,
    history,
    keydir::KeyDir,
    log::Log,
    sequencer::{Cause, Made, Maker},
};

/// How often a log's keys can be rotated: every start and every audit follows all statements.
const MAX_CHANGES: usize = 4_096;

/// Which key is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RotatedKey {
    /// The key that signs checkpoints.
    Log,
    /// The key that authenticates bundles.
    Mac,
}

/// What came of a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rotated {
    /// Which key was replaced.
    pub key: RotatedKey,
    /// The entry that says so.
    pub index: u64,
    /// The key that checks checkpoints of more entries than `index`.
    pub verifier_key: String,
    /// The first bundle of 256 entries under the new MAC key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bundle: Option<u64>,
    /// The signed statement.
    pub note: String,
}

/// Replaces a key of an open log.
///
/// # Errors
/// Nothing was changed; or, after [`ServerError::Poisoned`], the next start finishes it or undoes it.
pub(crate) async fn rotate(log: &Log, which: RotatedKey, actor: &str) -> Result<Rotated, ServerError> {
    log.health().check()?;
    // No checkpoint is signed until old and new key have changed places.
    let _signing = log.publisher().pause().await;
    if history::documents(&**log.reader().store()).await?.len() >= MAX_CHANGES {
        return Err(ServerError::Config(format!(
            "the log's keys were changed {MAX_CHANGES} times, and can't be once more"
        )));
    }
    let keys = log.shared_keys();
    let making = keys.clone();
    let maker = match which {
        RotatedKey::Log => {
            let next = off_thread(move || making.prepare_log()).await?;
            log_maker(log, keys.log_key(), next, actor)
        }
        RotatedKey::Mac => {
            let next = off_thread(move || making.prepare_mac()).await?;
            mac_maker(log, keys.log_key(), keys.mac_keys(), next, actor)
        }
    };
    match log.append_made(maker).await {
        Ok(appended) => {
            let index = appended.first_index.unwrap_or_default();
            if let Err(error) = finish(log, which, index).await {
                log.health()
                    .poison(Cause::Keys, format!("a key could not be put in the place of the old one: {error}"));
                return Err(error);
            }
            tell(log, which, index).await
        }
        Err(error) => {
            // After a failure of which nobody knows whether it happened, the next start looks.
            if log.health().reason().is_none() {
                off_thread(move || match which {
                    RotatedKey::Log => keys.abandon_log(),
                    RotatedKey::Mac => keys.abandon_mac(),
                })
                .await?;
            }
            Err(error)
        }
    }
}

fn log_maker(log: &Log, old: Arc<LogKey>, new: Arc<LogKey>, actor: &str) -> Maker {
    let (deriver, actor, log) = (log.reader().deriver().clone(), actor.to_owned(), log.clone());
    Maker::new(move |index| {
        let change = LogChange { old: old.verifier(), new: new.verifier() };
        let origin = old.origin().to_owned();
        let change = KeyChange { origin, index, lost: Vec::new(), log: Some(change), mac: None, chain: None };
        let signed = change.sign(None, &[Signer::Log(&old), Signer::Log(&new)])?;
        let (batch, write) = history::entry(&deriver, log.now(), &signed, &actor)?;
        Ok(Made { batch: Arc::new(batch), writes: vec![write], mac: None })
    })
}

fn mac_maker(log: &Log, signer: Arc<LogKey>, keys: MacKeys, new: MacKey, actor: &str) -> Maker {
    let (deriver, actor, log) = (log.reader().deriver().clone(), actor.to_owned(), log.clone());
    Maker::new(move |index| {
        let (_, old) = keys.newest();
        // The bundle that the entry lies in is finished under the old key: none is under two.
        let bundle = index / 256 + 1;
        let change = MacChange { old: Some(old.commitment()), new: new.commitment(), bundle };
        let origin = signer.origin().to_owned();
        let change = KeyChange { origin, index, lost: Vec::new(), log: None, mac: Some(change), chain: None };
        let signed = change.sign(Some(old), &[Signer::Log(&signer)])?;
        let (batch, write) = history::entry(&deriver, log.now(), &signed, &actor)?;
        Ok(Made { batch: Arc::new(batch), writes: vec![write], mac: Some((bundle, new.clone())) })
    })
}

/// Puts the new key in its place.
async fn finish(log: &Log, which: RotatedKey, index: u64) -> Result<(), ServerError> {
    let keys = log.shared_keys();
    off_thread(move || match which {
        RotatedKey::Log => keys.finish_log(),
        RotatedKey::Mac => keys.finish_mac(index / 256 + 1),
    })
    .await
}

/// Tells of a rotation that is complete.
async fn tell(log: &Log, which: RotatedKey, index: u64) -> Result<Rotated, ServerError> {
    let name = history::key(index);
    let document = log.reader().store().get(history::COLLECTION, &name, log.now().0).await?;
    let document = document.ok_or_else(|| StoreError::Damaged(format!("the state keys/{name} is gone")))?;
    let first_bundle = (which == RotatedKey::Mac).then_some(index / 256 + 1);
    let verifier_key = log.keys().log_key().verifier().to_string();
    Ok(Rotated { key: which, index, verifier_key, first_bundle, note: history::note(&document).to_owned() })
}

/// Finishes or undoes what a stop left of a rotation or a replacement.
///
/// # Errors
/// A file can't be written, or a replacement of lost keys was interrupted before the log said so.
pub(crate) fn resolve(keys: &KeyDir, history: &KeyHistory) -> Result<(), ServerError> {
    let log = history.log().newest();
    match keys.next_log_key().filter(|next| next.verifier() == *log) {
        Some(_) => keys.finish_log()?,
        None => keys.abandon_log()?,
    }
    keys.sweep_old()?;
    let mac = history.macs().last();
    match mac.filter(|last| keys.next_mac_key().is_some_and(|next| next.commitment() == last.new)) {
        Some(last) => keys.finish_mac(last.bundle)?,
        None => keys.abandon_mac()?,
    }
    check_replaced(keys, history)?;
    keys.replaced()
}

/// Refuses keys that were put in the place of lost ones while the log does not say so yet.
pub(crate) fn check_replaced(keys: &KeyDir, history: &KeyHistory) -> Result<(), ServerError> {
    let Some(replacing) = keys.replacing()? else { return Ok(()) };
    let said = history.changes().last().map(sceau_ledger::SignedKeyChange::body);
    if said.is_some_and(|said| said.index == replacing.index && said.lost == replacing.lost) {
        return Ok(());
    }
    let reason = "a replacement of lost keys was interrupted: run `sceau keys replace` again".to_owned();
    Err(ServerError::KeyDir { path: keys.path().to_owned(), reason })
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))?
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
