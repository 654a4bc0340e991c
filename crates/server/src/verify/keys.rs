//! The statements by which the log took new keys: read from the state up front, as they are needed to check what was
//! signed, and compared afterwards with the entries that they must be in (`stated`).

use sceau_ledger::{
    EpochPublic, Fault, FaultKind, KeyHistory, Lost, MacCommitment, MacKeys, Seal, SignedKeyChange, VerifierKey, choose,
};
use sceau_store::{Document, SealText, Store};

use crate::{
    epochs,
    error::ServerError,
    history,
    keydir::KeyDir,
    takeover::{self, Standing},
};

/// The key that the first statement takes the place of, by its own word.
pub(super) fn first(documents: &[Document]) -> Option<VerifierKey> {
    let changes =
        documents.iter().filter_map(|document| SignedKeyChange::parse(history::note(document).as_bytes()).ok());
    changes.filter_map(|change| change.body().log.as_ref().map(|log| log.old.clone())).next()
}

/// Follows the statements of the state; one that does not hold is named, and what follows it left out.
pub(super) fn follow(history: &mut KeyHistory, documents: &[Document]) -> Vec<Fault> {
    for document in documents {
        let note = history::note(document);
        let index = document.key.parse().ok();
        let placed = SignedKeyChange::parse(note.as_bytes()).map(|change| history::key(change.body().index));
        let added = if placed.as_ref().is_ok_and(|key| *key != document.key) {
            Err("it names another entry than it is kept for".to_owned())
        } else {
            history.add(note.as_bytes()).map_err(|error| error.to_string())
        };
        if let Err(error) = added {
            let detail = format!("{error}; it and all later ones are left out");
            return vec![Fault { kind: FaultKind::Keys, first: index, last: index, detail }];
        }
    }
    Vec::new()
}

/// Compares the keys that are at hand with those that the log names.
pub(super) fn check_held(history: &KeyHistory, keys: &KeyDir) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (held, named) = (keys.log_key().verifier(), history.log().newest());
    if held != *named && keys.next_log_key().is_none_or(|next| next.verifier() != *named) {
        let detail = format!("the key directory holds the log key {held}, the log says {named}");
        faults.push(Fault::whole(FaultKind::State, detail));
    }
    let macs = held_macs(keys, history);
    faults.extend(check_macs(history, &macs));
    faults
}

fn check_macs(history: &KeyHistory, macs: &MacKeys) -> Vec<Fault> {
    let mut faults = Vec::new();
    let held = |commitment: MacCommitment| macs.iter().map(|(_, key)| key).find(|key| key.commitment() == commitment);
    for change in history.changes() {
        let Some(mac) = change.body().mac else { continue };
        let index = change.body().index;
        if let Some(old) = mac.old.and_then(held)
            && change.is_authenticated_by(old) != Some(true)
        {
            let detail = "the MAC key's rotation is not authenticated by the key before it";
            faults.push(Fault::at(FaultKind::Keys, index, detail));
        }
        // One that another took the place of before its first bundle began has authenticated no bundle.
        let later = history.changes().iter().filter(|later| later.body().index > index);
        let replaced = later.filter_map(|later| later.body().mac).any(|later| later.bundle <= mac.bundle);
        if mac.bundle >= macs.first_bundle() && held(mac.new).is_none() && !replaced {
            let detail =
                format!("the key directory lacks the MAC key from bundle {} on that this entry names", mac.bundle);
            faults.push(Fault::at(FaultKind::Keys, index, detail));
        }
    }
    for (bundle, key) in macs.iter().filter(|(bundle, _)| *bundle > 0) {
        if !history.macs().iter().any(|mac| mac.bundle == bundle && mac.new == key.commitment()) {
            let detail = format!("the key directory has a MAC key from bundle {bundle} on that no entry names");
            faults.push(Fault::whole(FaultKind::Keys, detail));
        }
    }
    faults
}

/// What an auditor should know about keys that were lost, and about servers that took the log over.
pub(super) fn told(history: &KeyHistory) -> Vec<String> {
    let mut known = history.log().first();
    let mut notes = take_overs(history);
    for change in history.changes() {
        if !change.body().lost.is_empty() {
            notes.push(loss(change, known));
        }
        known = change.body().log.as_ref().map_or(known, |log| &log.new);
    }
    notes
}

/// The newest take-overs, each in a sentence.
fn take_overs(history: &KeyHistory) -> Vec<String> {
    const TOLD: usize = 20;
    let all: Vec<_> = history.chains().iter().filter(|chain| chain.taken_over).collect();
    let earlier = all.len().saturating_sub(TOLD);
    let mut notes = Vec::new();
    if earlier > 0 {
        notes.push(format!("other servers took the log over {earlier} times before those that follow"));
    }
    notes.extend(all.iter().skip(earlier).map(|chain| {
        let (index, writer) = (chain.index.unwrap_or_default(), chain.writer.map(|writer| writer.to_string()));
        format!(
            "entry {index} says that writer {} took the log over at epoch {}, under {}; the log key and that key say so",
            writer.unwrap_or_default(),
            chain.epoch,
            chain.key
        )
    }));
    notes
}

fn loss(change: &SignedKeyChange, known: &VerifierKey) -> String {
    let body = change.body();
    let words: Vec<&str> = body.lost.iter().map(|lost| lost.word()).collect();
    let mut text = format!("entry {} says that keys were lost ({})", body.index, words.join(", "));
    if let Some(chain) = &body.chain {
        text.push_str(&format!(", so a new chain of seals begins at epoch {}, under {}", chain.epoch, chain.key));
    }
    if let Some(log) = &body.log {
        text.push_str(&format!(", and checkpoints of more than {} entries are signed by {}", body.index, log.new));
    }
    let epoch_key_left = !body.lost.contains(&Lost::Epoch);
    let by_log = change.is_signed_by(known);
    text.push_str(match (by_log, epoch_key_left) {
        (true, true) => "; the log key and the epoch key, which were left, say so",
        (true, false) => "; the log key, which was left, says so",
        (false, true) => "; no older log key says so: what vouches for it is the chain of seals, if it is pinned and covers that entry",
        (false, false) => "; no older key says so, and whoever held the database could have said it",
    });
    text
}

/// The public key of the epoch that the key directory is in: the one that the last seal names if it holds that, else
/// its newest, which then shows that seals are missing. `None` for the keys of a server that had the log before another,
/// or has not had it yet.
pub(super) async fn current_epoch(
    store: &dyn Store,
    keys: &KeyDir,
    seals: &[SealText],
    history: &KeyHistory,
) -> Result<Option<EpochPublic>, ServerError> {
    let slots = keys.epoch_slots()?;
    let last = seals.last().and_then(|seal| Seal::parse(seal.text.as_bytes()).ok());
    let (epoch, public) = epochs::expected(last.as_ref(), history);
    if let Ok(chosen) = choose(&slots, epoch, &public) {
        return Ok(Some(chosen.slot.key().public()));
    }
    // What can't be read about it is found as it is walked.
    match takeover::standing(store, &slots, history, last.as_ref()).await {
        Ok(Standing::Resting(..) | Standing::New(_)) => Ok(None),
        _ => Ok(Some(slots.last().map_or(public, |slot| slot.key().public()))),
    }
}

/// The MAC keys, with one of which a stop has left the last step of its rotation.
pub(super) fn held_macs(keys: &KeyDir, history: &KeyHistory) -> MacKeys {
    let mut macs = keys.mac_keys();
    if let (Some(next), Some(last)) = (keys.next_mac_key(), history.macs().last())
        && next.commitment() == last.new
    {
        macs.add(last.bundle, next);
    }
    macs
}
