//! Making a log: keys first, then the store, then the facts that bind them together.
//!
//! Order: origin and keys durable in the key directory → an empty store → the facts, `first_epoch_key` last. A log is
//! complete once that last fact is there; whatever was made before it is found again and gone on with.

use sceau_ledger::{KeyHistory, WriterId, check_origin};
use sceau_store::{Store, StoreError};
use serde::Serialize;

use crate::{
    config::Config,
    error::ServerError,
    hex, history,
    keydir::{KeyDir, random},
    lease::{self, Owner},
    place::{self, Place},
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
/// The place or the key directory can't be used, or they belong to different logs.
pub async fn init(config: &Config) -> Result<InitReport, ServerError> {
    place::check_settings(config)?;
    if let Some(report) = complete(config).await? {
        return Ok(report);
    }
    let place = &config.place;
    let origin = choose_origin(config)?;
    let keys = KeyDir::create(&config.key_dir, place.directory(), &origin)?;
    refuse_used_keys(&keys, place)?;
    let first = keys.epoch_slots()?.first().map(|slot| slot.key().public().to_string()).unwrap_or_default();
    if !place.exists().await? {
        place.create().await?;
    }
    let store = place.open(load_deriver(config)?).await?;
    let verifier = keys.log_key().verifier().to_string();
    let facts = [("origin", origin.as_str()), ("verifier_key", &verifier), ("first_epoch_key", &first)];
    let fixed = lease::during(&store, || Owner::of(&keys), fix_facts(&*store, facts)).await;
    store.close().await?;
    fixed.map_err(|error| other_log(place, error))?;
    Ok(InitReport { origin, verifier_key: verifier, first_epoch_key: first, key_changes: 0, created: true })
}

/// Fixes what binds store and keys together, in this order: a log is complete once the last fact is there.
async fn fix_facts(store: &dyn Store, facts: [(&str, &str); 3]) -> Result<(), ServerError> {
    let [origin, verifier, first_epoch] = facts;
    for (name, value) in [origin, verifier] {
        store.fix_fact(name, value).await?;
    }
    if store.fact("writer").await?.is_none() {
        store.fix_fact("writer", &WriterId(*random::<16>()?).to_string()).await?;
    }
    Ok(store.fix_fact(first_epoch.0, first_epoch.1).await?)
}

/// The report of a log that is complete already.
async fn complete(config: &Config) -> Result<Option<InitReport>, ServerError> {
    if !config.place.exists().await? {
        return Ok(None);
    }
    let (store, _) = config.place.inspect(load_deriver(config)?).await?;
    let facts = (store.fact("origin").await?, store.fact("verifier_key").await?, store.fact("first_epoch_key").await?);
    let (Some(origin), Some(verifier_key), Some(first_epoch_key)) = facts else {
        return refuse_half(&*store, &config.place).await.map(|()| None);
    };
    // A log is there: its keys are never made anew, or the old entries would seem to be sealed by them.
    let keys = KeyDir::open(&config.key_dir, config.place.directory())?;
    let history = history::read(&*store).await?;
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
        return refuse(format!("holds the key {ours}, but the log's is {theirs}{hint}"));
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

/// Entries without the last fact: somebody began to move a log here.
async fn refuse_half(store: &dyn Store, place: &Place) -> Result<(), ServerError> {
    if store.head().await?.size.0 == 0 {
        return Ok(());
    }
    Err(ServerError::Config(format!(
        "a log was being moved to {place}, which is not complete: run the same `sceau migrate` again, which goes on there"
    )))
}

/// Keys that have sealed something belong to a log that isn't here.
fn refuse_used_keys(keys: &KeyDir, place: &Place) -> Result<(), ServerError> {
    let used = keys.noted_head().is_some() || keys.epoch_slots()?.iter().any(|slot| slot.epoch > 0);
    if !used {
        return Ok(());
    }
    let reason = format!(
        "its keys have sealed a log, which is not in {place}: point --data-dir or --store to it, or restore it; for a \
         new log choose another key directory"
    );
    Err(ServerError::KeyDir { path: keys.path().to_owned(), reason })
}

fn other_log(place: &Place, error: ServerError) -> ServerError {
    match error {
        ServerError::Store(StoreError::Exists(fact)) => ServerError::Config(format!(
            "{place} was begun with another key directory ({fact} differs): use that one, or an empty {}",
            place.kind()
        )),
        other => other,
    }
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
