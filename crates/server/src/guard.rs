//! The guard over the state: every document carries a MAC under the log's MAC key, so that whoever writes the database
//! without the keys can't give himself a token, move an import's position or answer a request in our place.
//!
//! Invariant: once the key directory notes it, a document without a right MAC is never used (ADR 40 says what
//! a database of format 1 gets, and why only once).

use sceau_event::Field;
use sceau_ledger::{Fault, FaultKind, MacKeys, StateText};
use sceau_store::{
    CommitError, Document, Expect, StateWrite, Store, StoreError,
    query::{Filter, Order, Page, Query, Test},
};
use serde_json::Value;

use crate::{
    auth::TRANSIENT,
    error::ServerError,
    imports,
    keydir::KeyDir,
    verify::{AUDITED, Explained},
};

/// Documents read at once.
const PAGE: usize = 1_000;
/// How long the search for the entries that explain the state may take.
const SEARCH: std::time::Duration = std::time::Duration::from_secs(600);

fn text<'a>(collection: &'a str, document: &'a Document) -> StateText<'a> {
    StateText { collection, key: &document.key, expires: document.expires, text: &document.text }
}

/// A write to the state as everybody makes it. It has no place for a MAC, so the only way to the store leads through
/// [`signed`].
#[derive(Clone, Debug)]
pub(crate) struct StateChange {
    pub collection: String,
    pub key: String,
    /// The new value; `None` removes the document.
    pub value: Option<Value>,
    /// What must hold for the write to happen.
    pub expect: Expect,
    /// When the document stops to exist, microseconds since the epoch; `None`: never.
    pub expires: Option<i64>,
}

/// Gives changes their MACs. No [`StateWrite`] is made anywhere else, but where a migration carries one on with its MAC.
pub(crate) fn signed(keys: &MacKeys, changes: Vec<StateChange>) -> Vec<StateWrite> {
    let sign = |change| {
        let StateChange { collection, key, value, expect, expires } = change;
        let mut write = StateWrite { collection, key, value, expect, expires, mac: None };
        if let Some(text) = write.text() {
            let (collection, key) = (write.collection.as_str(), write.key.as_str());
            write.mac = Some(keys.state_mac(&StateText { collection, key, expires, text: &text }).to_vec());
        }
        write
    };
    changes.into_iter().map(sign).collect()
}

fn holds(keys: &MacKeys, collection: &str, document: &Document) -> bool {
    document.mac.as_deref().is_some_and(|mac| keys.state_mac_holds(&text(collection, document), mac))
}

/// Makes sure that a document is this log's own.
///
/// # Errors
/// [`ServerError::StateForged`] names it.
pub(crate) fn check(keys: &KeyDir, collection: &str, document: &Document) -> Result<(), ServerError> {
    if holds(&keys.mac_keys(), collection, document) {
        return Ok(());
    }
    let name = format!("{collection}/{}", document.key);
    tracing::error!(document = name, "a document of the state is not this log's own and is not used");
    Err(ServerError::StateForged(name))
}

/// Gives the documents of a database that format 1 wrote, or whose MAC key was lost, their MACs: once, since the key
/// directory notes it. Those that audit entries must explain get one only if the newest such entry sets them.
pub(crate) async fn adopt(store: &dyn Store, keys: &KeyDir) -> Result<(), ServerError> {
    if keys.notes_state() {
        return Ok(());
    }
    let macs = keys.mac_keys();
    let explained = explained(store).await?;
    let mut after = (String::new(), String::new());
    loop {
        let (page, goes_on) = page(store, &mut after).await?;
        if page.is_empty() {
            break;
        }
        if !goes_on {
            return Err(StoreError::Damaged(OUT_OF_ORDER.to_owned()).into());
        }
        let mut changes = Vec::new();
        for (collection, document) in page {
            let audited = AUDITED.contains(&collection.as_str());
            if holds(&macs, &collection, &document) {
                continue;
            }
            if TRANSIENT.contains(&collection.as_str()) {
                // Who is let in by them logs in again; what somebody put there must not become ours.
                let key = document.key;
                changes.push(StateChange { collection, key, value: None, expect: Expect::Any, expires: None });
                continue;
            }
            if audited && !explained.sets(&collection, &document.key, &document.value) {
                tracing::error!(%collection, key = document.key, "no entry of sceau.audit explains this document");
                continue;
            }
            let (key, expires) = (document.key, document.expires);
            let expect = Expect::Any;
            changes.push(StateChange { collection, key, value: Some(document.value), expect, expires });
        }
        store.write(signed(&macs, changes)).await.map_err(CommitError::into_store)?;
    }
    keys.note_state()
}

/// What it means that documents can't be walked to their end.
pub(crate) const OUT_OF_ORDER: &str = "the state has rows whose names are no text, so that it can't be walked to its end: somebody \
                            else wrote them";

/// A page of all documents, empty at the end, and whether another can be asked for: it can't where somebody put rows that
/// don't follow each other.
pub(crate) async fn page(
    store: &dyn Store,
    after: &mut (String, String),
) -> Result<(Vec<(String, Document)>, bool), StoreError> {
    let page = store.audit_state((&after.0, &after.1), PAGE).await?;
    let Some((collection, document)) = page.last() else { return Ok((page, false)) };
    let last = (collection.clone(), document.key.clone());
    let goes_on = last > *after;
    *after = last;
    Ok((page, goes_on))
}

/// What the entries of `sceau.audit` say.
async fn explained(store: &dyn Store) -> Result<Explained, StoreError> {
    let filter = Filter::Is(Field::Source, Test::Equals(sceau_event::SourceId::audit().as_str().to_owned()));
    let query = Query { from: None, to: None, filter, internal: true };
    let (mut after, mut entries) = (None, Vec::new());
    loop {
        let asked = Page { order: Order::Newest, limit: Page::MAX, after };
        let found = store.search(&query, &asked, SEARCH).await?;
        entries.extend(found.hits.into_iter().map(|hit| (hit.index.0, hit.entry)));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    entries.sort_unstable_by_key(|(index, _)| *index);
    let mut explained = Explained::default();
    entries.iter().for_each(|(index, entry)| explained.add(*index, entry));
    Ok(explained)
}

/// Names every document without a right MAC; `noted`: whether each must have one by now. Gives a note where something
/// is unproven. `keys` is asked after each page: while the log is written to, its newest documents may have the MAC of a
/// key that it did not have at the beginning.
pub(crate) async fn audit(
    store: &dyn Store,
    keys: impl Fn() -> Option<MacKeys>,
    noted: bool,
) -> Result<(Vec<Fault>, Option<String>), StoreError> {
    if keys().is_none() {
        let note = "the MAC key was not given, so import positions and idempotency keys are unproven";
        return Ok((Vec::new(), Some(note.to_owned())));
    }
    let (mut faults, mut unproven) = (Vec::new(), 0u64);
    let mut after = (String::new(), String::new());
    loop {
        let (page, goes_on) = page(store, &mut after).await?;
        let Some(keys) = keys().filter(|_| !page.is_empty()) else { break };
        for (collection, document) in page.iter().filter(|(collection, document)| !holds(&keys, collection, document)) {
            // They get a MAC at the next start, or are never used from then on.
            if !noted {
                unproven += 1;
                continue;
            }
            let kind = if collection == imports::COLLECTION { FaultKind::Position } else { FaultKind::State };
            let name = format!("{collection}/{}", document.key);
            faults.push(Fault::whole(kind, format!("{name} has no MAC of this log's key: somebody else wrote it")));
        }
        if !goes_on {
            faults.push(Fault::whole(FaultKind::State, OUT_OF_ORDER));
            break;
        }
    }
    let note = "documents of the state are unproven: a version before format 2 wrote them without MACs, or the MAC key was \
                lost; the next start gives them new ones";
    Ok((faults, (unproven > 0).then(|| format!("{unproven} {note}"))))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
