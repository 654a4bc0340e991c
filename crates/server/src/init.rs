//! Making a log: keys first, then the store, then the facts that bind them together.
//!
//! Order: origin and keys durable in the key directory → an empty store → the facts, `first_epoch_key` last. A log is
//! complete once that last fact is there; whatever was made before it is found again and gone on with.

use std::path::Path;

use sceau_ledger::{KeyHistory, WriterId, check_origin};
use sceau_store::{
    Ledger as _, StoreError,
    embedded::{Embedded, Options},
};
use serde::Serialize;

use crate::{
    config::Config,
    error::ServerError,
    hex, history,
    keydir::{KeyDir, random},
    reader::load_deriver,
    rotation::check_replaced,
};

/// The public halves of a new log, to hand to an auditor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitReport {
    /// The log's name.
    pub origin: String,
    /// Checks its checkpoints.
    pub verifier_key: String,
    /// Checks its seals: what an auditor pins.
    pub first_epoch_key: String,
    /// How often keys were rotated or replaced since: `sceau keys` has the later ones.
    pub key_changes: usize,
    /// Whether anything was made; otherwise the log was there already.
    pub created: bool,
}

/// Makes a log, or completes one of which the making was interrupted. A complete log is left as it is.
///
/// # Errors
/// The directories can't be used, or belong to different logs.
pub async fn init(config: &Config) -> Result<InitReport, ServerError> {
    if let Some(report) = complete(config).await? {
        return Ok(report);
    }
    let (data, keys) = (&config.data_dir, &config.key_dir);
    let origin = choose_origin(config)?;
    let keys = KeyDir::create(keys, data, &origin)?;
    refuse_used_keys(&keys, data)?;
    let first = keys.epoch_slots()?.first().map(|slot| slot.key().public().to_string()).unwrap_or_default();
    if !Embedded::exists(data) {
        Embedded::create(data)?;
    }
    let store = Embedded::open(data, load_deriver(config)?, Options::default()).await?;
    let verifier = keys.log_key().verifier().to_string();
    store.fix_fact("origin", &origin).await.map_err(|error| other_log(data, error))?;
    store.fix_fact("verifier_key", &verifier).await.map_err(|error| other_log(data, error))?;
    if store.fact("writer").await?.is_none() {
        store.fix_fact("writer", &WriterId(*random::<16>()?).to_string()).await?;
    }
    store.fix_fact("first_epoch_key", &first).await.map_err(|error| other_log(data, error))?;
    sceau_store::Store::close(&store).await?;
    Ok(InitReport { origin, verifier_key: verifier, first_epoch_key: first, key_changes: 0, created: true })
}

/// The report of a log that is complete already.
async fn complete(config: &Config) -> Result<Option<InitReport>, ServerError> {
    if !Embedded::exists(&config.data_dir) {
        return Ok(None);
    }
    let inspect = Options { inspect: true, ..Options::default() };
    let store = Embedded::open(&config.data_dir, load_deriver(config)?, inspect).await?;
    let facts = (store.fact("origin").await?, store.fact("verifier_key").await?, store.fact("first_epoch_key").await?);
    let (Some(origin), Some(verifier_key), Some(first_epoch_key)) = facts else { return Ok(None) };
    // A log is there: its keys are never made anew, or the old entries would seem to be sealed by them.
    let keys = KeyDir::open(&config.key_dir, &config.data_dir)?;
    let history = history::read(&store).await?;
    check_belongs(&keys, &history)?;
    if config.origin.as_ref().is_some_and(|wanted| *wanted != origin) {
        return Err(ServerError::parameter("origin", format!("the log's is {origin:?} and can't be changed any more")));
    }
    let key_changes = history.changes().len();
    Ok(Some(InitReport { origin, verifier_key, first_epoch_key, key_changes, created: false }))
}

/// Makes sure that store and keys are of the same log and of the same time.
pub(crate) fn check_belongs(keys: &KeyDir, history: &KeyHistory) -> Result<(), ServerError> {
    check_replaced(keys, history)?;
    let refuse = |reason| Err(ServerError::KeyDir { path: keys.path().to_owned(), reason });
    let (ours, theirs) = (keys.log_key().verifier(), history.log().newest());
    // A rotation of which a stop left the last step is finished before anything is signed.
    let is_next = keys.next_log_key().is_some_and(|next| next.verifier() == *theirs);
    if ours != *theirs && !is_next {
        let older = history.log().iter().any(|(_, key)| *key == ours);
        let hint = if older { ": it is an older copy, from before the log's key was rotated" } else { "" };
        return refuse(format!("holds the key {ours}, but the data directory is of the log with {theirs}{hint}"));
    }
    let Some(last) = history.macs().last() else { return Ok(()) };
    let has = keys.mac_keys().iter().any(|(bundle, key)| bundle == last.bundle && key.commitment() == last.new);
    if has || keys.next_mac_key().is_some_and(|next| next.commitment() == last.new) {
        return Ok(());
    }
    refuse(format!("mac.key lacks the key from bundle {} on that the log names: it is an older copy", last.bundle))
}

fn choose_origin(config: &Config) -> Result<String, ServerError> {
    let noted = KeyDir::noted_origin(&config.key_dir)?;
    match (noted, &config.origin) {
        (Some(noted), Some(wanted)) if noted != *wanted => Err(ServerError::KeyDir {
            path: config.key_dir.clone(),
            reason: format!("was begun for the origin {noted:?}, not {wanted:?}"),
        }),
        (Some(noted), _) => Ok(noted),
        (None, Some(wanted)) => {
            check_origin(wanted).map_err(|error| ServerError::parameter("origin", error))?;
            Ok(wanted.clone())
        }
        (None, None) => Ok(format!("sceau.local/{}", hex(random::<4>()?.as_slice()))),
    }
}

/// Keys that have sealed something belong to a log that isn't here.
fn refuse_used_keys(keys: &KeyDir, data: &Path) -> Result<(), ServerError> {
    let used = keys.noted_head().is_some() || keys.epoch_slots()?.iter().any(|slot| slot.epoch > 0);
    if !used {
        return Ok(());
    }
    let reason = format!(
        "its keys have sealed a log, which is not in {}: point --data-dir to it or restore it; for a new log choose \
         another key directory",
        data.display()
    );
    Err(ServerError::KeyDir { path: keys.path().to_owned(), reason })
}

fn other_log(data: &Path, error: StoreError) -> ServerError {
    match error {
        StoreError::Exists(fact) => ServerError::Config(format!(
            "{} was begun with another key directory ({fact} differs): use that one, or an empty data directory",
            data.display()
        )),
        other => other.into(),
    }
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
