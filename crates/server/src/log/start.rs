//! Where a log goes on: tree, seal chain and time as the store and the keys were left, once they are known to fit.

use std::sync::Arc;

use sceau_event::{Deriver, Micros};
use sceau_ledger::{BundleMac, Head, Index, KeyHistory, Tree, WriterId};
use sceau_store::{Store, StoreError, traits::BundleTag};
use subtle::ConstantTimeEq as _;

use crate::{
    clock::Clock, config::Config, epochs::Epochs, error::ServerError, guard, history, init, keydir::KeyDir, prover,
    rotation, takeover,
};

/// Where a log goes on.
pub(super) struct TakenUp {
    pub tree: Tree,
    pub bundle: BundleMac,
    pub epochs: Epochs,
    pub clock: Arc<Clock>,
    pub history: KeyHistory,
}

/// Finds tree, seal chain and time where the store and the keys were left, and makes sure that they fit.
pub(super) async fn take_up(
    config: &Config,
    store: &Arc<dyn Store>,
    deriver: &Arc<Deriver>,
    keys: &Arc<KeyDir>,
) -> Result<TakenUp, ServerError> {
    let mut history = history::read(&**store).await?;
    init::check_belongs(keys, &history)?;
    let writer: WriterId = history::fact(&**store, "writer").await?.parse()?;
    let mut tree = check_head(config, &**store, keys).await?;
    rotation::resolve(keys, &history)?;
    let mut bundle = restore_bundle(&**store, keys, tree.head()).await?;
    guard::adopt(&**store, keys).await?;
    // Where no two servers can hold the log, nobody else's chain can be there.
    if store.writing().is_some() && takeover::claim(&**store, deriver, keys, &history, tree.clone()).await? {
        history = history::read(&**store).await?;
        tree = check_head(config, &**store, keys).await?;
        bundle = restore_bundle(&**store, keys, tree.head()).await?;
    }
    let epochs = Epochs::resume(keys.clone(), &**store, writer, &history).await?.sealing_after(config.seal_after);
    let floor = last_received(&**store, deriver, tree.head()).await?.max(epochs.last_time()).unwrap_or_default();
    Ok(TakenUp { tree, bundle, epochs, clock: Arc::new(Clock::new(floor)), history })
}

/// Makes sure that the store is where it was left, and restores the tree.
pub(crate) async fn check_head(config: &Config, store: &dyn Store, keys: &KeyDir) -> Result<Tree, ServerError> {
    let head = store.head().await?;
    let tree = prover::restore(store, head.size).await?;
    if tree.head() != head {
        let text = format!("the stored hashes lead to {}, the stored head is {head}", tree.head());
        return Err(StoreError::Damaged(text).into());
    }
    if check_noted(config, store, keys, head).await?.is_none() && head.size.0 > 0 {
        tracing::warn!(%head, "the key directory notes no head: nothing shows whether this is an older copy of the log");
    }
    Ok(tree)
}

/// Makes sure that the store was not set back behind what the key directory notes, and gives that.
pub(crate) async fn check_noted(
    config: &Config,
    store: &dyn Store,
    keys: &KeyDir,
    head: Head,
) -> Result<Option<Head>, ServerError> {
    let noted = keys.noted_head();
    if let Some(noted) = noted
        && (noted.size > head.size || !prover::starts_with(store, &noted).await?)
    {
        return Err(ServerError::Rollback { place: config.place.to_string(), noted, found: head });
    }
    Ok(noted)
}

/// The receive time of the newest entry.
pub(crate) async fn last_received(
    store: &dyn Store,
    deriver: &Deriver,
    head: Head,
) -> Result<Option<Micros>, ServerError> {
    let Some(index) = head.size.0.checked_sub(1) else { return Ok(None) };
    let rows = store.entries(Index(index), 1).await?;
    let damaged = |detail: String| StoreError::Entry { index, detail };
    let entry = rows.entries.first().ok_or_else(|| damaged("is missing".to_owned()))?;
    Ok(Some(deriver.derive(entry).map_err(|error| damaged(error.to_string()))?.received))
}

/// The MAC of the last, growing bundle. Everything behind the noted head is checked against its stored MACs on the way:
/// what whoever has the database but no key added while the log was closed must not be taken for ours, or it would be
/// signed and get a right MAC with the next entry.
pub(crate) async fn restore_bundle(store: &dyn Store, keys: &KeyDir, head: Head) -> Result<BundleMac, ServerError> {
    let noted = keys.noted_head().map_or(0, |noted| noted.size.0);
    let mut bundle = noted.min(head.size.0) / 256;
    loop {
        let first = bundle.saturating_mul(256);
        let width = head.size.0.saturating_sub(first).min(256);
        let mut mac = keys.mac_keys().start(bundle);
        if width == 0 {
            return Ok(mac);
        }
        let leaves = store.tile(0, bundle, u16::try_from(width).unwrap_or(u16::MAX)).await?;
        leaves.into_iter().for_each(|leaf| mac.push(sceau_ledger::LeafHash(leaf)));
        if u64::from(mac.count()) != width {
            let text = format!("{} leaves of bundle {bundle} can be read, {width} are committed", mac.count());
            return Err(StoreError::Damaged(text).into());
        }
        let stored = store.audit_macs(bundle, 1).await?.into_iter().next();
        let fits =
            |tag: &BundleTag| (tag.bundle, tag.count) == (bundle, mac.count()) && tag.tag.ct_eq(&mac.tag()).into();
        if !stored.as_ref().is_some_and(fits) {
            let text = format!(
                "the entries {first} to {} don't have the MAC that this log's key gives them: somebody else wrote or \
                 changed them. Nothing is signed; look at the data with `sceau verify`",
                first.saturating_add(width - 1)
            );
            return Err(StoreError::Damaged(text).into());
        }
        if width < 256 {
            return Ok(mac);
        }
        bundle += 1;
    }
}
