//! What belongs to the log besides its entries: seals, checkpoints, and the state with its MACs.

use std::collections::BTreeMap;

use sceau_event::Micros;
use sceau_ledger::TreeSize;
use sceau_store::{Document, Expect, Moved, StateWrite, Store, StoreError};

use super::refused;
use crate::{error::ServerError, guard};

/// Read at once.
const PAGE: usize = 1_000;
/// Documents of one write, and the bytes of their texts unless a single one has more.
const DOCUMENTS: usize = 500;
const BYTES: usize = 4 << 20;

/// Copies the seals that the target lacks; gives how many there are.
pub(super) async fn seals(source: &dyn Store, target: &dyn Store) -> Result<u64, ServerError> {
    let (mut next, mut count) = (Some(0), 0);
    while let Some(from) = next {
        let page = source.seals(from, PAGE).await?;
        next = page.last().filter(|_| page.len() == PAGE).and_then(|last| last.epoch.checked_add(1));
        count += page.len() as u64;
        let there = target.seals(from, PAGE).await?;
        let there: BTreeMap<u64, String> = there.into_iter().map(|seal| (seal.epoch, seal.text)).collect();
        let mut missing = Vec::new();
        for seal in page {
            match there.get(&seal.epoch) {
                Some(text) if *text == seal.text => {}
                Some(_) => return Err(StoreError::Exists(format!("the seal of epoch {}", seal.epoch)).into()),
                None => missing.push(seal),
            }
        }
        if !missing.is_empty() {
            target.adopt(Moved::Seals(missing)).await.map_err(refused)?;
        }
    }
    Ok(count)
}

/// Copies the checkpoints that the target lacks; gives how many there are.
pub(super) async fn checkpoints(source: &dyn Store, target: &dyn Store) -> Result<u64, ServerError> {
    let (mut next, mut count) = (Some(TreeSize(0)), 0);
    while let Some(from) = next {
        let page = source.checkpoints(from, PAGE).await?;
        let last = page.last().filter(|_| page.len() == PAGE);
        next = last.and_then(|(size, _)| size.0.checked_add(1)).map(TreeSize);
        count += page.len() as u64;
        let there: BTreeMap<TreeSize, String> = target.checkpoints(from, PAGE).await?.into_iter().collect();
        let mut missing = Vec::new();
        for (size, note) in page {
            match there.get(&size) {
                Some(kept) if *kept == note => {}
                Some(_) => return Err(StoreError::Exists(format!("the checkpoint of size {size}")).into()),
                None => missing.push((size, note)),
            }
        }
        if !missing.is_empty() {
            target.adopt(Moved::Checkpoints(missing)).await.map_err(refused)?;
        }
    }
    Ok(count)
}

/// Puts the source's documents in the place of whatever an earlier run left; gives how many there are. They keep their
/// texts and MACs, right or wrong: whoever opens the target checks them as in the source.
pub(super) async fn state(source: &dyn Store, target: &dyn Store, now: Micros) -> Result<u64, ServerError> {
    clear(target).await?;
    let (mut after, mut count) = ((String::new(), String::new()), 0);
    loop {
        let (page, goes_on) = guard::page(source, &mut after).await?;
        if page.is_empty() {
            return Ok(count);
        }
        if !goes_on {
            return Err(StoreError::Damaged(guard::OUT_OF_ORDER.to_owned()).into());
        }
        let lasting = page.into_iter().filter(|(_, document)| document.expires.is_none_or(|end| end > now.0));
        let writes: Vec<StateWrite> = lasting.map(carried).collect::<Result<_, _>>()?;
        count += writes.len() as u64;
        for writes in portions(writes) {
            target.write(writes).await.map_err(refused)?;
        }
    }
}

async fn clear(target: &dyn Store) -> Result<(), ServerError> {
    let mut before = None;
    loop {
        let page = target.audit_state(("", ""), DOCUMENTS).await?;
        let first = page.first().map(|(collection, document)| (collection.clone(), document.key.clone()));
        if first.is_none() {
            return Ok(());
        }
        if first == before {
            return Err(StoreError::Damaged(guard::OUT_OF_ORDER.to_owned()).into());
        }
        before = first;
        let removal = |(collection, document): (String, Document)| StateWrite {
            collection,
            key: document.key,
            value: None,
            expect: Expect::Any,
            expires: None,
            mac: None,
        };
        target.write(page.into_iter().map(removal).collect()).await.map_err(refused)?;
    }
}

/// The write that gives the target the same document, with the same MAC.
fn carried((collection, document): (String, Document)) -> Result<StateWrite, StoreError> {
    let Document { key, value, text, expires, mac, .. } = document;
    let write = StateWrite { collection, key, value: Some(value), expect: Expect::Any, expires, mac };
    if write.text().as_deref() == Some(text.as_str()) {
        return Ok(write);
    }
    let (collection, key) = (&write.collection, &write.key);
    Err(StoreError::Damaged(format!(
        "the state {collection}/{key} was written by somebody else: its text would change"
    )))
}

fn portions(writes: Vec<StateWrite>) -> Vec<Vec<StateWrite>> {
    let mut portions: Vec<Vec<StateWrite>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let size = write.text().map_or(0, |text| text.len());
        let full = |portion: &Vec<StateWrite>| portion.len() >= DOCUMENTS || bytes + size > BYTES;
        match portions.last_mut().filter(|portion| !full(portion)) {
            Some(portion) => {
                bytes += size;
                portion.push(write);
            }
            None => {
                bytes = size;
                portions.push(vec![write]);
            }
        }
    }
    portions
}
