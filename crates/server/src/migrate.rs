//! A whole log copied into another store, every index and byte as it was.
//!
//! Order: the facts that name the log → entries with tiles and MACs, commit by commit → seals and checkpoints → the state →
//! everything compared → the fact `first_epoch_key`, without which nobody can serve the target. Each step goes on where it
//! stopped: the target's own head says how many entries it has, once the source's tree has shown that it begins with them.

mod entries;
mod side;

use std::sync::Arc;

use sceau_event::Deriver;
use sceau_ledger::{Head, KeyHistory, TreeSize, check_consistency};
use sceau_store::{CommitError, Store, StoreError};
use serde::Serialize;

use crate::{
    clock::Clock,
    config::Config,
    error::ServerError,
    hex, history, init,
    keydir::{KeyDir, check_apart},
    lease::{self, Owner},
    log, prover, publisher,
    reader::load_deriver,
};

/// What became of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The log's name.
    pub origin: String,
    /// Its entries.
    pub entries: u64,
    /// The root of its tree, in both stores.
    pub root_hash: String,
    /// How many of the entries an earlier run had copied.
    pub resumed_at: u64,
    /// Checkpoints that were copied.
    pub checkpoints: u64,
    /// Seals that were copied.
    pub seals: u64,
    /// Documents of the state that were copied.
    pub documents: u64,
    /// The entries under the source's newest checkpoint, which was proven to be consistent with the target's tree.
    pub proven: Option<u64>,
    /// Whether the target was whole already, so that nothing was done.
    pub was_complete: bool,
}

/// How far it is, in entries of all entries.
type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Copies the log of `from` into the place of `to`; both have the same key directory. The source must not be served
/// meanwhile, and not be written to after it: from then on the target is the log.
///
/// # Errors
/// The source is served, damaged, rolled back, or has entries deleted; the target holds something else; a store can't be
/// read or written. What was copied stays, and the next run goes on there.
pub async fn migrate(from: &Config, to: &Config, progress: Progress<'_>) -> Result<Migrated, ServerError> {
    refuse_same(from, to)?;
    check_apart(&to.key_dir, to.place.directory())?;
    let keys = KeyDir::open(&from.key_dir, from.place.directory())?;
    let deriver = load_deriver(from)?;
    from.place.check_free(deriver.clone()).await?;
    // A source in a database is only read, its lease too: so that no server of this key directory begins there meanwhile,
    // the directory is kept. Where the target has a lease, taking that keeps it.
    let kept = from.place.directory().is_none() && to.place.directory().is_some();
    let _kept = if kept { Some(Owner::of(&keys)?) } else { None };
    let source = from.place.open_with(deriver.clone(), from.store_options()).await?;
    let copied = into(from, to, &source, &keys, &deriver, progress).await;
    let closed = source.close().await;
    let copied = copied?;
    closed?;
    Ok(copied)
}

/// Opens the target, copies, and closes it.
async fn into(
    from: &Config,
    to: &Config,
    source: &Arc<dyn Store>,
    keys: &KeyDir,
    deriver: &Arc<Deriver>,
    progress: Progress<'_>,
) -> Result<Migrated, ServerError> {
    let origin = Origin::read(from, &**source, keys).await?;
    if !to.place.exists().await? {
        to.place.create().await?;
    }
    let target = to.place.open_with(deriver.clone(), to.store_options()).await?;
    let place = to.place.to_string();
    let copying = copy(source, &target, &origin, &place, keys, deriver, progress);
    let copied = lease::during(&target, || Owner::of(keys), copying).await;
    let closed = target.close().await;
    let copied = copied?;
    closed?;
    Ok(copied)
}

fn refuse_same(from: &Config, to: &Config) -> Result<(), ServerError> {
    let same = match (from.place.directory(), to.place.directory()) {
        (Some(from), Some(to)) => match (from.canonicalize(), to.canonicalize()) {
            (Ok(from), Ok(to)) => from == to,
            _ => from == to,
        },
        _ => from.place.to_string() == to.place.to_string(),
    };
    if same { Err(ServerError::Config(format!("the log is in {} already", to.place))) } else { Ok(()) }
}

/// What is to be copied, once it is known to be whole and this key directory's.
pub(crate) struct Origin {
    place: String,
    /// `origin`, `verifier_key` and `writer`.
    facts: Vec<(&'static str, String)>,
    first_epoch_key: String,
    history: KeyHistory,
    head: Head,
}

impl Origin {
    /// Looks at the source.
    ///
    /// # Errors
    /// It is not complete, not of these keys, not where they left it, or no longer whole.
    pub async fn read(config: &Config, source: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let history = history::read(source).await?;
        init::check_belongs(keys, &history)?;
        let head = log::check_head(config, source, keys).await?.head();
        let place = config.place.to_string();
        let mut facts = Vec::new();
        for name in ["origin", "verifier_key", "writer"] {
            facts.push((name, history::fact(source, name).await?));
        }
        let first_epoch_key = history::fact(source, "first_epoch_key").await?;
        Ok(Self { place, facts, first_epoch_key, history, head })
    }
}

/// Copies what the target has not yet.
pub(crate) async fn copy(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    origin: &Origin,
    place: &str,
    keys: &KeyDir,
    deriver: &Arc<Deriver>,
    progress: Progress<'_>,
) -> Result<Migrated, ServerError> {
    let mut migrated = Migrated {
        origin: origin.history.log().first().origin().to_owned(),
        entries: origin.head.size.0,
        root_hash: hex(&origin.head.root.0),
        resumed_at: 0,
        checkpoints: 0,
        seals: 0,
        documents: 0,
        proven: None,
        was_complete: false,
    };
    let begun = target.head().await?;
    if let Some(first) = target.fact("first_epoch_key").await? {
        if !is_copy(&**source, &**target, origin, &first).await? {
            return Err(ServerError::Config(format!(
                "{place} holds a log already, of {} entries: choose an empty place, or remove it there if it is of no use",
                begun.size
            )));
        }
        return Ok(Migrated { was_complete: true, ..migrated });
    }
    claim(&**source, &**target, origin, place).await?;
    migrated.resumed_at = begun.size.0;
    entries::copy(source, target, &origin.head, &keys.mac_keys(), deriver, progress).await?;
    migrated.seals = side::seals(&**source, &**target).await?;
    migrated.checkpoints = side::checkpoints(&**source, &**target).await?;
    migrated.documents = side::state(&**source, &**target, Clock::new(sceau_event::Micros(0)).now()).await?;
    migrated.proven = compare(&**source, &**target, origin).await?;
    target.fix_fact("first_epoch_key", &origin.first_epoch_key).await?;
    Ok(migrated)
}

/// Whether a complete target is what a migration would make of it.
async fn is_copy(
    source: &dyn Store,
    target: &dyn Store,
    origin: &Origin,
    first_epoch: &str,
) -> Result<bool, ServerError> {
    for (name, value) in &origin.facts {
        if target.fact(name).await?.as_ref() != Some(value) {
            return Ok(false);
        }
    }
    Ok(first_epoch == origin.first_epoch_key
        && target.head().await? == origin.head
        && target.last_seal().await? == source.last_seal().await?
        && target.latest_checkpoint().await? == source.latest_checkpoint().await?)
}

/// Makes sure that what is in the target is the beginning of this log, and marks it as this log's.
async fn claim(source: &dyn Store, target: &dyn Store, origin: &Origin, place: &str) -> Result<(), ServerError> {
    let other = |why: String| {
        ServerError::Config(format!(
            "{place} holds something else than the beginning of the log in {} ({why}): choose an empty place",
            origin.place
        ))
    };
    let begun = target.head().await?;
    for (name, value) in &origin.facts {
        match target.fact(name).await? {
            Some(found) if found == *value => {}
            Some(found) => return Err(other(format!("its {name} is {found}"))),
            None if begun.size.0 > 0 => return Err(other(format!("it has entries, but no {name}"))),
            None => {}
        }
    }
    if begun.size > origin.head.size || !prover::starts_with(source, &begun).await? {
        return Err(other(format!("its head is {begun}")));
    }
    for (name, value) in &origin.facts {
        target.fix_fact(name, value).await?;
    }
    Ok(())
}

/// Makes sure that both stores hold the same log; gives the entries under the source's newest checkpoint.
async fn compare(source: &dyn Store, target: &dyn Store, origin: &Origin) -> Result<Option<u64>, ServerError> {
    let (from, to) = (source.head().await?, target.head().await?);
    if from != origin.head {
        return Err(ServerError::Config(format!(
            "somebody wrote to {} meanwhile: stop its server, then run the same command again",
            origin.place
        )));
    }
    let tree = prover::restore(target, to.size).await?;
    if to != from || tree.head() != from {
        let text = format!("the copy leads to {}, its head is {to}, the source's is {from}", tree.head());
        return Err(StoreError::Damaged(text).into());
    }
    if target.last_seal().await? != source.last_seal().await?
        || target.latest_checkpoint().await? != source.latest_checkpoint().await?
    {
        return Err(StoreError::Damaged("the copy's last seal or checkpoint is not the source's".to_owned()).into());
    }
    let Some(signed) = publisher::newest(source, origin.history.log()).await? else { return Ok(None) };
    let proof = prover::consistency(target, signed.head.size, to.size).await?;
    check_consistency(&signed.head, &to, &proof)
        .map_err(|error| StoreError::Damaged(format!("the source's newest checkpoint: {error}")))?;
    let TreeSize(size) = signed.head.size;
    Ok(Some(size))
}

/// What a write to the target that did not happen means.
fn refused(error: CommitError) -> ServerError {
    match error {
        CommitError::HeadMoved { actual } => ServerError::Config(format!(
            "somebody else writes to the target, which is at {actual}; nothing more was copied"
        )),
        CommitError::StateConflict { collection, key } => ServerError::StateConflict(format!("{collection}/{key}")),
        CommitError::Full => ServerError::Full,
        CommitError::Unavailable(why) | CommitError::TooLarge(why) => StoreError::Unavailable(why).into(),
        CommitError::Failed(error) => error.into(),
    }
}

#[cfg(test)]
#[path = "migrate/tests.rs"]
mod tests;
