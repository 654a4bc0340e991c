//! Another server goes on with a log: its own chain of seals begins, or goes on where it stopped, and the log says so.
//!
//! Whose chain is the present one is told by keys alone. It is ours if the key directory holds the key that the last seal,
//! or the last statement, names. It is another's, and may be taken over, only if our key is the one that a chain of ours
//! stopped at when somebody took the log over, or has never sealed anything. Anything else is an older copy of the keys or
//! of the log, and refused as ever.

use std::sync::Arc;

use sceau_event::{Deriver, Micros};
use sceau_ledger::{
    EpochPublic, FIRST_PREVIOUS, KeyChange, KeyHistory, NewChain, Seal, Signer, Slot, Tree, WriterId, choose,
};
use sceau_store::{Store, StoreError};

use crate::{
    clock::Clock,
    epochs,
    error::ServerError,
    history,
    keydir::{KeyDir, random},
    log::last_received,
    prover, replace,
};

/// How often a log can change its keys or its writer: every start and every audit follows all statements.
const MAX_STATEMENTS: usize = 16_384;
/// Who the statement says has made it.
const ACTOR: &str = "system";

/// Our place among those who have written the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The present chain is ours, or none could be said to be.
    Present,
    /// Somebody else's is; ours goes on with this key, in the name of this writer.
    Resting(Slot, WriterId),
    /// Somebody else's is; ours has not begun, and would with this key.
    New(Slot),
}

/// Finds out our place, whose epoch keys are in these slots.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn standing(
    store: &dyn Store,
    slots: &[Slot],
    history: &KeyHistory,
    last: Option<&Seal>,
) -> Result<Standing, ServerError> {
    let (epoch, public) = epochs::expected(last, history);
    if choose(slots, epoch, &public).is_ok() {
        return Ok(Standing::Present);
    }
    let first: WriterId = history::fact(store, "writer").await?.parse()?;
    let chains = history.chains();
    let writer_of = |at: usize| chains.get(at).and_then(|chain| chain.writer).unwrap_or(first);
    // The present chain would have been ours above, if it were.
    for at in (0..chains.len().saturating_sub(1)).rev() {
        let key = rests_at(store, history, at).await?;
        let ours = slots.iter().find(|slot| slot.key().public() == key);
        let later = (at + 1..chains.len()).any(|later| writer_of(later) == writer_of(at));
        if let Some(slot) = ours.filter(|_| !later) {
            return Ok(Standing::Resting(slot.clone(), writer_of(at)));
        }
    }
    match slots {
        [slot] if slot.is_fresh() && !chains.iter().any(|chain| chain.key == slot.key().public()) => {
            Ok(Standing::New(slot.clone()))
        }
        _ => Ok(Standing::Present),
    }
}

/// The key at which a chain stopped that another one follows.
async fn rests_at(store: &dyn Store, history: &KeyHistory, at: usize) -> Result<EpochPublic, ServerError> {
    let chains = history.chains();
    let (Some(chain), Some(next)) = (chains.get(at), chains.get(at + 1)) else { return Ok(EpochPublic([0; 32])) };
    let Some(last) = next.epoch.checked_sub(1).filter(|last| *last >= chain.epoch) else { return Ok(chain.key) };
    Ok(seal_of(store, last).await?.body().next)
}

async fn seal_of(store: &dyn Store, epoch: u64) -> Result<Seal, ServerError> {
    let found = store.seals(epoch, 1).await?.into_iter().next().filter(|seal| seal.epoch == epoch);
    let missing = || StoreError::Damaged(format!("the seal of epoch {epoch} is missing"));
    let damaged = |error| StoreError::Damaged(format!("the seal of epoch {epoch}: {error}"));
    Ok(Seal::parse(found.ok_or_else(missing)?.text.as_bytes()).map_err(damaged)?)
}

/// Makes the chain ours, if it is another's and may be taken over; gives whether it was. Nobody else may write meanwhile.
///
/// # Errors
/// What is stored is not what the other server can have left, or the statement could not be committed.
pub(crate) async fn claim(
    store: &dyn Store,
    deriver: &Arc<Deriver>,
    keys: &KeyDir,
    history: &KeyHistory,
    tree: Tree,
) -> Result<bool, ServerError> {
    let last = epochs::last_seal(store).await?;
    let (slot, writer) = match standing(store, &keys.epoch_slots()?, history, last.as_ref()).await? {
        Standing::Present => return Ok(false),
        Standing::Resting(slot, writer) => (slot, writer),
        Standing::New(slot) => (slot, WriterId(*random::<16>()?)),
    };
    if history.changes().len() >= MAX_STATEMENTS {
        return Err(ServerError::Config(format!(
            "the log has changed its keys or its server {MAX_STATEMENTS} times, and can't once more"
        )));
    }
    if let Some(last) = &last {
        check_last(store, history, last, &tree).await?;
    }
    let (epoch, _) = epochs::expected(last.as_ref(), history);
    let head = tree.head();
    let previous = last.as_ref().map_or(FIRST_PREVIOUS, Seal::hash);
    let chain = NewChain { epoch, key: slot.key().public(), writer, previous };
    let origin = keys.origin().to_owned();
    let change = KeyChange { origin, index: head.size.0, lost: Vec::new(), log: None, mac: None, chain: Some(chain) };
    let signed = change.sign(None, &[Signer::Log(&keys.log_key()), Signer::Epoch(&slot.key())])?;
    let floor = last_received(store, deriver, head).await?.unwrap_or_default();
    let sealed = last.as_ref().map_or(Micros(0), |last| Micros(last.body().time_micros));
    let now = Clock::new(floor.max(sealed)).now();
    replace::commit(store, deriver, tree, keys, &signed, now, ACTOR).await?;
    tracing::warn!(
        %writer, epoch, index = head.size.0, key = %slot.key().public(),
        "this server took the log over from another one; its own chain of seals goes on here"
    );
    Ok(true)
}

/// Makes sure that the last seal is one of the other server's, over entries that are there: ours will name it.
async fn check_last(store: &dyn Store, history: &KeyHistory, last: &Seal, tree: &Tree) -> Result<(), ServerError> {
    let body = last.body();
    let begins = history.chain_of(body.epoch).filter(|chain| chain.epoch == body.epoch).map(|chain| chain.key);
    let key = match (begins, body.epoch.checked_sub(1)) {
        (Some(key), _) => key,
        (None, Some(before)) => seal_of(store, before).await?.body().next,
        (None, None) => EpochPublic([0; 32]),
    };
    let damaged = |reason: &str| StoreError::Damaged(format!("the last seal, of epoch {}, {reason}", body.epoch));
    last.verify(&key).map_err(|_| damaged("is not signed by the key that the one before it names"))?;
    if body.head.size > tree.head().size || !prover::starts_with(store, &body.head).await? {
        return Err(damaged("covers other entries than are there").into());
    }
    Ok(())
}
