//! What a verification starts from: a log that nobody holds, an open store, or a running log.

use std::{path::Path, sync::Arc};

use sceau_event::Deriver;
use sceau_ledger::{EpochPublic, Fault, Head, KeyHistory, MacKeys, WriterId};
use sceau_store::{Document, SealText, Store, traits::BundleTag};

use super::{
    Cancel, Resume, VerifyOptions, VerifyReport, Way,
    given::{Facts, Given},
    keys, state, verify,
};
use crate::{config::Config, epochs, error::ServerError, history, keydir::KeyDir, log::Log, reader::load_deriver};

/// What a verification starts from: everything that must be of the same moment.
pub(crate) struct VerifyInput {
    /// The log's public keys, by the store's own word.
    pub history: KeyHistory,
    pub current_epoch: Option<EpochPublic>,
    pub mac_keys: Option<MacKeys>,
    /// The keys of a running log, which may get more meanwhile.
    pub keys: Option<Arc<KeyDir>>,
    /// Whether every document of the state must have a MAC by now.
    pub state_noted: bool,
    pub pins: Vec<EpochPublic>,
    pub outside: Vec<Vec<u8>>,
    pub head_note: Option<Head>,
    /// Whose chain it is, by the store's own word.
    pub writer: Option<WriterId>,
    pub head: Head,
    /// The tag of the bundle that is not full.
    pub last_tag: Option<BundleTag>,
    pub seals: Vec<SealText>,
    /// The documents of the collections that the log explains.
    pub documents: Vec<(&'static str, Vec<Document>)>,
    /// Whether entries are being added meanwhile: what is beyond the head is then no fault.
    pub live: bool,
    /// What is known to be wrong, or worth knowing, already.
    pub faults: Vec<Fault>,
    pub notes: Vec<String>,
}

/// Verifies a log that no server holds, with whatever keys are at hand.
///
/// # Errors
/// It can't be read at all, or an option can't be understood. Faults are in the report.
pub async fn verify_dir(
    config: &Config,
    options: VerifyOptions,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
    cancel: Cancel,
) -> Result<VerifyReport, ServerError> {
    let deriver = load_deriver(config)?;
    let (store, live) = config.place.inspect(deriver.clone()).await?;
    let keys = open_keys(&config.key_dir, config.place.directory())?;
    verify_store(&store, &deriver, keys.as_ref(), (options, live), Way::whole(progress, &cancel)).await
}

/// Verifies a store that was opened to be looked at; it is said whether somebody writes to it meanwhile.
pub(crate) async fn verify_store(
    store: &Arc<dyn Store>,
    deriver: &Arc<Deriver>,
    keys: Option<&KeyDir>,
    (options, live): (VerifyOptions, bool),
    way: Way<'_>,
) -> Result<VerifyReport, ServerError> {
    let mut input = offline_input(&**store, keys, options.clone(), live).await?;
    for _ in 0..SEALS {
        // Where an epoch was closed meanwhile, its key is gone from the key directory but its seal was not seen.
        if !live || store.last_seal().await?.as_ref() == input.seals.last() {
            break;
        }
        input = offline_input(&**store, keys, options.clone(), live).await?;
    }
    let (verdict, _) = verify(store, deriver, input, way).await?;
    Ok(verdict.into())
}

/// Verifies a log that goes on meanwhile, up to its present head.
pub(crate) async fn verify_log(
    log: &Log,
    options: VerifyOptions,
    way: Way<'_>,
) -> Result<(VerifyReport, Option<Resume>), ServerError> {
    let (store, deriver) = (log.reader().store(), log.reader().deriver());
    // What is there now must stay until it has been read.
    let _still = log.upkeep().read().await;
    let links = log.publisher().links(way.from.as_ref().map_or(0, |from| from.checked.epochs())).await?;
    let moment = {
        let _gate = log.gate().lock().await;
        let head = store.head().await?;
        let last_tag = store.audit_macs(head.size.0 / 256, 1).await?.into_iter().next();
        (head, last_tag, state::documents(&**store).await?)
    };
    let (head, last_tag, documents) = moment;
    let keys = log.keys();
    let given = Given::parse(&options)?;
    let mut facts = Facts::read(&**store).await?;
    let held = Some(keys.log_key().verifier());
    let history = facts.history(&given, held, state::of(&documents, history::COLLECTION))?;
    facts.faults.extend(keys::check_held(&history, keys));
    let writer = facts.writer();
    let input = VerifyInput {
        history,
        current_epoch: Some(links.current),
        mac_keys: Some(keys.mac_keys()),
        keys: Some(log.shared_keys()),
        state_noted: keys.notes_state(),
        pins: given.pins,
        outside: given.outside,
        head_note: None,
        writer,
        head,
        last_tag,
        seals: links.seals,
        documents,
        live: true,
        faults: facts.faults,
        notes: Vec::new(),
    };
    let (verdict, resume) = verify(store, deriver, input, way).await?;
    Ok((verdict.into(), resume))
}

/// Verifies an open store that nobody writes to, with what is left of its keys.
pub(crate) async fn verify_open(
    store: &Arc<dyn Store>,
    deriver: &Arc<Deriver>,
    mac_keys: Option<MacKeys>,
    head_note: Option<Head>,
    options: VerifyOptions,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<VerifyReport, ServerError> {
    let input = offline_input(&**store, None, options, false).await?;
    let input = VerifyInput { mac_keys, head_note, ..input };
    let (verdict, _) = verify(store, deriver, input, Way::whole(progress, &Cancel::new())).await?;
    Ok(verdict.into())
}

fn open_keys(path: &Path, data: Option<&Path>) -> Result<Option<KeyDir>, ServerError> {
    if path.exists() { KeyDir::open(path, data).map(Some) } else { Ok(None) }
}

async fn offline_input(
    store: &dyn Store,
    keys: Option<&KeyDir>,
    options: VerifyOptions,
    live: bool,
) -> Result<VerifyInput, ServerError> {
    let given = Given::parse(&options)?;
    let held = keys.map(|keys| keys.log_key().verifier());
    if let Some(known) = given.vkey.as_ref().or(held.as_ref()) {
        given.check_origin(known.origin())?;
    }
    let mut facts = Facts::read(store).await?;
    let mut notes = Vec::new();
    if keys.is_none() {
        notes.push("the key directory was not given, so neither MACs nor its note of the head were checked".to_owned());
    }
    if keys.is_none() && given.vkey.is_none() {
        notes.push("no verifier key was given, so that of the checkpoints is the store's own word".to_owned());
    }
    // Before everything that they may speak of: a server that goes on may add some at any time.
    let seals = epochs::seals(store, 0).await?;
    let (moment, documents) = if live { still(store).await? } else { (None, state::documents(store).await?) };
    if live {
        notes.push("a server goes on writing, so this is about what was there when it began".to_owned());
    }
    let history = facts.history(&given, held, state::of(&documents, history::COLLECTION))?;
    if let Some(keys) = keys {
        facts.faults.extend(keys::check_held(&history, keys));
    }
    let writer = facts.writer();
    let (head, last_tag) = match moment {
        Some(moment) => moment,
        None => (facts.head(store, keys.and_then(KeyDir::noted_head)).await?, None),
    };
    if head.size.0 > 0 && keys.is_some_and(|keys| keys.noted_head().is_none()) {
        notes.push(
            "the key directory notes no head, so it can't show whether this is an older copy of the log".to_owned(),
        );
    }
    let current_epoch = match keys {
        Some(keys) => keys::current_epoch(store, keys, &seals, &history).await?,
        None => None,
    };
    if keys.is_some() && current_epoch.is_none() {
        notes.push(
            "the key directory is that of a server which has not the log now, so it can't show whether the last seals are \
             missing"
                .to_owned(),
        );
    }
    Ok(VerifyInput {
        current_epoch,
        mac_keys: keys.map(|keys| keys::held_macs(keys, &history)),
        keys: None,
        state_noted: keys.is_some_and(KeyDir::notes_state),
        history,
        pins: given.pins,
        outside: given.outside,
        head_note: keys.and_then(KeyDir::noted_head),
        writer,
        head,
        last_tag,
        seals,
        documents,
        live,
        faults: facts.faults,
        notes,
    })
}

/// How often everything is looked at anew because a server has closed an epoch meanwhile.
const SEALS: u32 = 5;
/// How often it is looked whether the log stands still long enough to be looked at.
const LOOKS: u32 = 200;

type Moment = (Option<(Head, Option<BundleTag>)>, Vec<(&'static str, Vec<Document>)>);

/// Head, tag of the bundle that grows, and documents of one moment, while a server writes.
async fn still(store: &dyn Store) -> Result<Moment, ServerError> {
    for _ in 0..LOOKS {
        let Ok(head) = store.head().await else { return Ok((None, state::documents(store).await?)) };
        let last_tag = store.audit_macs(head.size.0 / 256, 1).await?.into_iter().next();
        let documents = state::documents(store).await?;
        if store.head().await.is_ok_and(|after| after == head) {
            return Ok((Some((head, last_tag)), documents));
        }
    }
    Err(ServerError::Config(
        "the log grows too fast to be looked at from outside: verify it through its server with --url, or stop that"
            .into(),
    ))
}
