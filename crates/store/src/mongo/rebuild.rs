//! Every document's derived fields made again from its entry. This replaces documents of `logs`, which the server's own
//! role may not do: it is for an administrator.

use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use sceau_event::Deriver;
use sceau_ledger::leaf_hash;

use super::{
    Inner, blocking,
    document::{self, Columns, Sealed, Stored, shadow::Shadow},
    head::{HeadNote, number},
    names, prune,
    step::Step,
    transaction::Turn,
};
use crate::{
    batch::BatchBuilder,
    error::{CommitError, StoreError},
};

/// Documents that are looked at together.
const TOGETHER: u64 = 2_048;
/// Bytes of documents from which on no more are looked at together.
const TOGETHER_BYTES: usize = 16 << 20;
/// Documents that one transaction replaces: each may be a megabyte with some ten thousand keys in the index of words.
const REPLACED: usize = 200;

/// Gives how many entries there are; documents that are right already are left alone.
pub async fn rebuild(
    inner: &Arc<Inner>,
    deriver: &Arc<Deriver>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<u64, StoreError> {
    let first = prune::end(inner).await?;
    let size = inner.timed_store(HeadNote::read(&inner.database)).await?.head.size.0;
    let mut next = first;
    while next < size {
        let found = read(inner, next, size.min(next.saturating_add(TOGETHER))).await?;
        let end = next + found.len() as u64;
        let gapless =
            (next..).zip(&found).all(|(index, raw)| document::index(raw).is_some_and(|found| found.0 == index));
        if found.is_empty() || !gapless {
            // Retention may have deleted them meanwhile.
            let kept = prune::end(inner).await?;
            if kept <= next {
                return Err(StoreError::Damaged(format!("of the entries from {next} on some are missing")));
            }
            next = kept;
            continue;
        }
        let deriver = deriver.clone();
        let mut wrong = blocking(move || changed(&found, &deriver)).await?;
        while !wrong.is_empty() {
            let rest = wrong.split_off(wrong.len().min(REPLACED));
            let steps = vec![Step::Replace(names::LOGS, wrong)];
            inner.transact(Turn { steps, ..Turn::default() }).await.map_err(explained)?;
            wrong = rest;
        }
        next = end;
        progress(next - first, size - first);
    }
    Ok(size - first)
}

/// Documents from `first` on, as many as fit into memory, at least one of those that are there.
async fn read(inner: &Inner, first: u64, end: u64) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let logs = inner.database.collection::<RawDocumentBuf>(names::LOGS);
    let range = doc! { "_id": { "$gte": number(first), "$lt": number(end) } };
    inner
        .timed(async {
            let mut cursor = logs.find(range).sort(doc! { "_id": 1 }).await?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while bytes < TOGETHER_BYTES && cursor.advance().await? {
                bytes += cursor.current().as_bytes().len();
                found.push(cursor.current().to_owned());
            }
            Ok(found)
        })
        .await
}

fn explained(error: CommitError) -> StoreError {
    match error.into_store() {
        StoreError::Forbidden { detail, .. } => {
            let what = "replacing documents; rebuild with a user that may update `logs`, see docs/mongodb.md".into();
            StoreError::Forbidden { what, detail }
        }
        other => other,
    }
}

/// The documents that are not what they should be, as they should be.
fn changed(found: &[RawDocumentBuf], deriver: &Arc<Deriver>) -> Result<Vec<Document>, StoreError> {
    let mut builder = BatchBuilder::new(deriver.clone());
    let mut kept = Vec::with_capacity(found.len());
    for raw in found {
        let (index, _) = document::index(raw).ok_or_else(|| StoreError::Damaged("a document has no index".into()))?;
        let odd = |detail: String| StoreError::Entry { index, detail };
        let stored = Stored::of(raw);
        let entry = stored.entry.ok_or_else(|| odd("can't be read".into()))?;
        if stored.hash != Some(leaf_hash(entry).0) {
            // Never make a changed entry look right.
            return Err(odd("was changed: its hash is not the one that is kept; run `sceau verify`".into()));
        }
        builder.push_entry(entry).map_err(|error| odd(error.to_string()))?;
        kept.push((index, stored));
    }
    let batch = builder.finish()?;
    let columns = Columns::of(batch.records())?;
    let mut shadow = Shadow::default();
    let (version, mut wrong) = (document::version(deriver), Vec::new());
    for (row, ((index, stored), raw)) in kept.iter().zip(found).enumerate() {
        let sealed = Sealed {
            index: *index,
            entry: batch.entries().value(row),
            leaf: &batch.leaves()[row].0,
            tag: stored.hmac.as_ref().map(<[u8; 32]>::as_slice),
            deriver: &version,
        };
        let wanted = columns.document(row, &sealed, &mut shadow)?;
        if document::difference(raw, &wanted).is_some() {
            wrong.push(Document::try_from(&wanted).map_err(|error| StoreError::Internal(error.to_string()))?);
        }
    }
    Ok(wrong)
}
