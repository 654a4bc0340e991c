//! New keys in the place of lost ones: the log goes on, and says so.
//!
//! Order (`docs/format.md`): the whole log verified → a note that files are being replaced → the new files → the
//! statement, signed by what is left and by what is new, committed as an entry with its document of the state → the note
//! removed → the log opened, which signs and seals under the new keys. Doing it again after a stop is harmless.

use std::sync::Arc;

use sceau_event::{Deriver, Micros};
use sceau_ledger::{
    BundleMac, FIRST_PREVIOUS, Head, KeyChange, KeyHistory, LeafHash, LogChange, Lost, MacChange, MacKeys, NewChain,
    Seal, Signer, Slot, Tree, WriterId, choose,
};
use sceau_store::{Commit, CommitError, Store, StoreError};
use serde::Serialize;

use crate::{
    clock::Clock,
    config::Config,
    epochs,
    error::ServerError,
    guard, history,
    keydir::{Drawn, KeyDir, Left, Replacing, random},
    lease::{self, Owner},
    log::{self, Log},
    prover,
    reader::load_deriver,
    sequencer::{Edge, Grown},
    takeover::{self, Standing},
    verify::{VerifyOptions, verify_open},
};

/// What was lost and what took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// What was lost, in words: `log`, `mac`, `epoch`, `heads`.
    pub lost: Vec<String>,
    /// The entry that says so.
    pub index: u64,
    /// The key that checks checkpoints of more entries than `index`.
    pub verifier_key: String,
    /// The first public key of the chain of seals that goes on: what an auditor pins besides the earlier ones.
    pub epoch_key: String,
    /// That chain's first epoch.
    pub epoch: u64,
    /// The signed statement.
    pub note: String,
}

/// What is known before anything is made.
struct Survey {
    history: KeyHistory,
    left: Left,
    lost: Vec<Lost>,
    last: Option<Seal>,
    /// The key of the present epoch, if it is left.
    slot: Option<Slot>,
}

/// Replaces the lost files of a key directory, for a log that no server holds. `despite_faults` goes on although the log
/// has faults, which then stay.
///
/// # Errors
/// Nothing is lost, what is there belongs to another log, the log has faults ([`ServerError::Faults`]), or a file can't be
/// written; running it again is harmless.
pub async fn replace_keys(
    config: &Config,
    options: VerifyOptions,
    despite_faults: bool,
    actor: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Replaced, ServerError> {
    let deriver = load_deriver(config)?;
    config.place.check_free(deriver.clone()).await?;
    let store = config.place.open(deriver.clone()).await?;
    let work = async {
        let survey = survey(config, &*store).await?;
        let mac = survey.left.mac.clone().filter(|_| !survey.lost.contains(&Lost::Mac));
        let report = verify_open(&store, &deriver, mac, survey.left.heads.flatten(), options, progress).await?;
        if !report.ok && !despite_faults {
            return Err(ServerError::Faults(report.to_string()));
        }
        take_over(config, &*store, &deriver, survey, actor).await
    };
    let replaced = lease::during(&store, || Owner::command("sceau keys replace"), work).await;
    let closed = store.close().await;
    let replaced = replaced?;
    closed?;
    drop(store);
    // Signs and seals under the new keys.
    Log::open(config).await?.close().await?;
    Ok(replaced)
}

async fn survey(config: &Config, store: &dyn Store) -> Result<Survey, ServerError> {
    let (path, history) = (&config.key_dir, history::read(store).await?);
    let mut left = Left::look(path, config.place.directory())?;
    let other = |file: &str, reason: &str| ServerError::KeyDir { path: path.join(file), reason: reason.to_owned() };
    let said = history.changes().last().map(sceau_ledger::SignedKeyChange::body);
    let begun = left.replacing.take();
    if let Some(begun) = &begun {
        if said.is_some_and(|said| said.index == begun.index && said.lost == begun.lost) {
            return Err(other("replacing", "the replacement that was interrupted is complete: start the server"));
        }
        // What was made then has signed nothing.
        let drawn = |what| begun.lost.contains(&what);
        left.log = left.log.filter(|_| !drawn(Lost::Log));
        left.mac = left.mac.filter(|_| !drawn(Lost::Mac));
        left.slots = left.slots.filter(|_| !drawn(Lost::Epoch));
        left.heads = left.heads.filter(|_| !drawn(Lost::Heads));
    }
    let last = epochs::last_seal(store).await?;
    refuse_waiting(store, config, &left, &history, last.as_ref()).await?;
    if left.next_log.is_some() {
        return Err(other(
            "log.key.next",
            "a rotation was interrupted: start the server, which finishes it, or move the \
                                          file away if log.key is lost",
        ));
    }
    if left.log.as_ref().is_some_and(|key| key.verifier() != *history.log().newest()) {
        return Err(other("log.key", "is not the present key of this log; move it away if that one is lost"));
    }
    let commitment = history.macs().last().map(|last| last.new);
    let present = |keys: &MacKeys| commitment.is_none_or(|commitment| keys.newest().1.commitment() == commitment);
    if left.mac.as_ref().is_some_and(|keys| !present(keys)) {
        return Err(other("mac.key", "lacks the present key of this log; move it away if that one is lost"));
    }
    let slot = present_slot(&left, last.as_ref(), &history).map_err(|error| other("epoch.key", &error.to_string()))?;
    let lost: Vec<Lost> = [
        (Lost::Log, left.log.is_none()),
        (Lost::Mac, left.mac.is_none()),
        (Lost::Epoch, slot.is_none()),
        (Lost::Heads, left.heads.is_none()),
    ]
    .into_iter()
    .filter_map(|(what, is_lost)| is_lost.then_some(what))
    .collect();
    if lost.is_empty() {
        return Err(ServerError::Config(format!("nothing is lost: {} holds every key of this log", path.display())));
    }
    Ok(Survey { history, left, lost, last, slot })
}

/// The epoch key of a server that waits is not that of the present epoch, and not lost: one in its place would begin a
/// chain that no auditor has pinned, in the name of a loss that never was.
async fn refuse_waiting(
    store: &dyn Store,
    config: &Config,
    left: &Left,
    history: &KeyHistory,
    last: Option<&Seal>,
) -> Result<(), ServerError> {
    let slots = left.slots.as_deref().unwrap_or_default();
    if store.writing().is_none() || matches!(takeover::standing(store, slots, history, last).await?, Standing::Present)
    {
        return Ok(());
    }
    Err(ServerError::Config(format!(
        "{} is the key directory of a server that waits for this log, and its epoch key is not lost: `sceau serve --standby` \
         takes the log over with it when no other server has it. If log.key or mac.key is missing, copy it from the server \
         that has the log. Only if every copy of them is lost for good, move epoch.key away, and run this again",
        config.key_dir.display()
    )))
}

/// The key of the present epoch. One of an epoch before it, out of a backup, is as good as lost.
fn present_slot(
    left: &Left,
    last: Option<&Seal>,
    history: &KeyHistory,
) -> Result<Option<Slot>, sceau_ledger::LedgerError> {
    let Some(slots) = &left.slots else { return Ok(None) };
    let (epoch, public) = epochs::expected(last, history);
    match choose(slots, epoch, &public) {
        Ok(chosen) => Ok(Some(chosen.slot)),
        Err(_) if slots.iter().all(|slot| slot.epoch < epoch) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the new keys, and the entry that says so.
async fn take_over(
    config: &Config,
    store: &dyn Store,
    deriver: &Arc<Deriver>,
    survey: Survey,
    actor: &str,
) -> Result<Replaced, ServerError> {
    let expected = store.head().await?;
    let tree = prover::restore(store, expected.size).await?;
    if tree.head() != expected {
        let text = format!("the stored hashes lead to {}, the stored head is {expected}", tree.head());
        return Err(StoreError::Damaged(text).into());
    }
    let noted = survey.left.heads.flatten();
    if let Some(noted) = noted
        && (noted.size > expected.size || !prover::starts_with(store, &noted).await?)
    {
        return Err(ServerError::Rollback { place: config.place.to_string(), noted, found: expected });
    }
    let (index, bundle) = (expected.size.0, expected.size.0 / 256);
    let (epoch, _) = epochs::expected(survey.last.as_ref(), &survey.history);
    let origin = survey.history.log().first().origin().to_owned();
    let drawn = Drawn::new(&survey.lost, &origin, bundle, epoch)?;
    let change = statement(&survey, &drawn, origin.clone(), index, epoch)?;
    let signed = sign(change, &survey, &drawn)?;
    let replacing = Replacing { index, lost: survey.lost.clone() };
    drawn.write(&config.key_dir, &origin, &replacing)?;
    let keys = KeyDir::open(&config.key_dir, config.place.directory())?;
    let floor = log::last_received(store, deriver, expected).await?.unwrap_or_default();
    let sealed = survey.last.as_ref().map_or(Micros(0), |last| Micros(last.body().time_micros));
    let now = Clock::new(floor.max(sealed)).now();
    commit(store, deriver, tree, &keys, &signed, now, actor).await?;
    keys.replaced()?;
    let chain = signed.body().chain.as_ref();
    let present = survey.history.present_chain();
    Ok(Replaced {
        lost: survey.lost.iter().map(|lost| lost.word().to_owned()).collect(),
        index,
        verifier_key: keys.log_key().verifier().to_string(),
        epoch_key: chain
            .map(|chain| chain.key)
            .or(present.map(|chain| chain.key))
            .map_or_else(String::new, |key| key.to_string()),
        epoch: chain.map(|chain| chain.epoch).or(present.map(|chain| chain.epoch)).unwrap_or_default(),
        note: signed.text().to_owned(),
    })
}

fn statement(survey: &Survey, drawn: &Drawn, origin: String, index: u64, epoch: u64) -> Result<KeyChange, ServerError> {
    let old = survey.history.log().newest();
    let previous = survey.last.as_ref().map_or(FIRST_PREVIOUS, Seal::hash);
    let writer = WriterId(*random::<16>()?);
    let chain = |key: &sceau_ledger::EpochKey| NewChain { epoch, key: key.public(), writer, previous };
    Ok(KeyChange {
        origin,
        index,
        lost: survey.lost.clone(),
        log: drawn.log.as_ref().map(|new| LogChange { old: old.clone(), new: new.verifier() }),
        mac: drawn.mac.as_ref().map(|(bundle, new)| MacChange { old: None, new: new.commitment(), bundle: *bundle }),
        chain: drawn.epoch.as_ref().map(chain),
    })
}

/// Signs with what is left and with what is new.
fn sign(change: KeyChange, survey: &Survey, drawn: &Drawn) -> Result<sceau_ledger::SignedKeyChange, ServerError> {
    let epoch = survey.slot.as_ref().map(Slot::key);
    let logs = survey.left.log.as_ref().or(drawn.log.as_ref());
    let epochs = epoch.as_ref().or(drawn.epoch.as_ref());
    let signers: Vec<Signer<'_>> = logs.map(Signer::Log).into_iter().chain(epochs.map(Signer::Epoch)).collect();
    Ok(change.sign(None, &signers)?)
}

/// Commits the entry that says what was lost, or who goes on, and notes the head.
pub(crate) async fn commit(
    store: &dyn Store,
    deriver: &Arc<Deriver>,
    tree: Tree,
    keys: &KeyDir,
    signed: &sceau_ledger::SignedKeyChange,
    now: Micros,
    actor: &str,
) -> Result<(), ServerError> {
    let expected = tree.head();
    let (batch, write) = history::entry(deriver, now, signed, actor)?;
    let bundle = present_bundle(store, keys, expected, signed.body().mac.is_some()).await?;
    let mut edge = Edge { tree, bundle, keys: keys.mac_keys() };
    let Grown { tiles, macs, tags } = edge.append([batch.leaves()].into_iter(), store.keeps_tags());
    let head = edge.tree.head();
    let state = guard::signed(&keys.mac_keys(), vec![write]);
    let commit = Commit { batches: vec![Arc::new(batch)], head, tiles, macs, tags, state };
    store.commit(expected, commit).await.map_err(CommitError::into_store)?;
    keys.note_head(&head)
}

/// The MAC of the unfinished bundle. If its key was lost, its entries get one under the new key: the whole log was
/// verified just before.
async fn present_bundle(store: &dyn Store, keys: &KeyDir, head: Head, anew: bool) -> Result<BundleMac, ServerError> {
    if !anew {
        return log::restore_bundle(store, keys, head).await;
    }
    let bundle = head.size.0 / 256;
    let mut mac = keys.mac_keys().start(bundle);
    let width = u16::try_from(head.size.0 % 256).unwrap_or_default();
    if width > 0 {
        let leaves = store.tile(0, bundle, width).await?;
        leaves.into_iter().for_each(|leaf| mac.push(LeafHash(leaf)));
    }
    if mac.count() != width {
        return Err(StoreError::Damaged(format!("not all leaves of bundle {bundle} can be read")).into());
    }
    Ok(mac)
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
