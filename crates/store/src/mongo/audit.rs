//! The log as it lies in the database, for the auditor: documents as they are, whatever they say of themselves.
//!
//! Records are made again from the fields that people see, so that those are what is compared with the entries. What is
//! made of these fields besides (dates, texts of times, what searches use) must be what this version would write.

use bytes::Bytes;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use sceau_event::{Micros, Record};
use sceau_ledger::{Fault, FaultKind, leaf_hash};

use super::{
    Inner, blocking,
    document::{self, Columns, Sealed, Stored, shadow::Shadow},
    head::number,
    indexes, names, prune,
};
use crate::{batch, error::StoreError, leaves, traits::AuditChunk};

/// Rows of one chunk.
const CHUNK: usize = 8_192;
/// Bytes of documents from which on no more are read.
const CHUNK_BYTES: usize = 64 << 20;
/// The widest gap that is told entry by entry; behind a wider one another chunk begins.
const GAP: u64 = 256;
/// Bundles of leaves of one chunk.
const LEAF_ROWS: usize = 256;
/// How many documents without an index are named of each kind.
const MOST_ODD: i64 = 20;

/// A stretch of the log from `first`, or from the next index that the store holds something for (the auditor names
/// what was passed over); empty behind everything.
pub async fn chunk(inner: &Inner, first: u64) -> Result<AuditChunk, StoreError> {
    let pruned = prune::told_end(inner).await?;
    let mut faults = if first == 0 { structure(inner, pruned).await? } else { Vec::new() };
    if first < pruned {
        let there = first_index(inner).await?.unwrap_or(u64::MAX);
        let rows = prune::rows(inner, first / 256, LEAF_ROWS).await?;
        // Where entries are there as well, they count.
        let chunk = leaves::chunk(first, there, &rows);
        if !chunk.is_empty() {
            return Ok(AuditChunk { faults, ..chunk });
        }
    }
    let (documents, mut odd) = read(inner, first).await?;
    faults.append(&mut odd);
    let own = document::version(&inner.deriver);
    blocking(move || assemble(first, documents, faults, own)).await
}

/// The least index that a document has.
async fn first_index(inner: &Inner) -> Result<Option<u64>, StoreError> {
    let logs = inner.database.collection::<RawDocumentBuf>(names::LOGS);
    let found = inner.timed(async {
        logs.find_one(doc! { "_id": { "$gte": 0_i64 } }).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 }).await
    });
    Ok(found.await?.and_then(|found| Some(document::index(&found)?.0)))
}

/// Documents that have no index, and entries where there should be leaves only.
async fn structure(inner: &Inner, pruned: u64) -> Result<Vec<Fault>, StoreError> {
    let mut faults = Vec::new();
    let logs = inner.database.collection::<Document>(names::LOGS);
    for filter in indexes::no_index() {
        let found = inner.timed(async {
            let cursor = logs.find(filter).projection(doc! { "_id": 1 }).limit(MOST_ODD).await?;
            cursor.try_collect::<Vec<Document>>().await
        });
        for document in found.await? {
            let id = document.get(names::ID).map(Bson::to_string).unwrap_or_default();
            let detail = format!("a document whose _id {id} is no index was never committed");
            faults.push(Fault { kind: FaultKind::EntryExtra, first: None, last: None, detail });
        }
    }
    if let Some(first) = first_index(inner).await?.filter(|first| *first < pruned) {
        let detail = format!("a document is there, though entries before {pruned} were deleted by retention");
        faults.push(Fault::at(FaultKind::Order, first, detail));
    }
    Ok(faults)
}

/// Documents from `first` on with the index of each, and what is wrong with their keys.
async fn read(inner: &Inner, first: u64) -> Result<(Vec<(u64, RawDocumentBuf)>, Vec<Fault>), StoreError> {
    let (mut documents, mut faults): (Vec<(u64, RawDocumentBuf)>, Vec<Fault>) = (Vec::new(), Vec::new());
    let logs = inner.database.collection::<RawDocumentBuf>(names::LOGS);
    let filter = doc! { "_id": { "$gte": number(first) } };
    inner
        .timed(async {
            let mut cursor = logs.find(filter).sort(doc! { "_id": 1 }).limit(CHUNK as i64).await?;
            let mut bytes = 0;
            while bytes < CHUNK_BYTES && cursor.advance().await? {
                let current = cursor.current();
                let next = documents.last().map_or(first, |(index, _)| index.saturating_add(1));
                let Some((index, right)) = document::index(current).filter(|(index, _)| *index >= next) else {
                    let id = current.get(names::ID).ok().flatten().map(|id| format!("{id:?}")).unwrap_or_default();
                    let detail = format!("a document whose _id {id} is no index was never committed");
                    faults.push(Fault::at(FaultKind::EntryExtra, next, detail));
                    continue;
                };
                if !documents.is_empty() && index - next > GAP {
                    break;
                }
                if !right {
                    let detail = "the document's _id is not of the kind Int64: it was written by somebody else";
                    faults.push(Fault::at(FaultKind::Order, index, detail));
                }
                bytes += current.as_bytes().len();
                documents.push((index, current.to_owned()));
            }
            Ok(())
        })
        .await?;
    Ok((documents, faults))
}

/// A chunk of documents, up to the first that another version made.
fn assemble(
    first: u64,
    documents: Vec<(u64, RawDocumentBuf)>,
    faults: Vec<Fault>,
    own: String,
) -> Result<AuditChunk, StoreError> {
    let start = documents.first().map_or(first, |(index, _)| *index);
    let mut chunk = AuditChunk { first: start, faults, ..Default::default() };
    let mut columns = batch::Columns::with_capacity(documents.len());
    let mut rows: Vec<Option<(&RawDocumentBuf, Stored<'_>)>> = Vec::with_capacity(documents.len());
    let mut version: Option<String> = None;
    for (index, raw) in &documents {
        let stored = Stored::of(raw);
        if version.get_or_insert_with(|| stored.deriver.to_owned()) != stored.deriver {
            break;
        }
        while start + (rows.len() as u64) < *index {
            // The auditor names what is missing.
            columns.push(&Record::new(Micros(0), "".into()));
            rows.push(None);
        }
        columns.push(&stored.record);
        rows.push(Some((raw, stored)));
    }
    let records = columns.finish()?;
    for row in &rows {
        let stored = row.as_ref().map(|(_, stored)| stored);
        let entry = stored.and_then(|stored| stored.entry);
        chunk.entries.push(entry.map(Bytes::copy_from_slice));
        let prefix = |hash: [u8; 32]| [hash[0], hash[1], hash[2], hash[3]];
        chunk.prefixes.push(stored.and_then(|stored| stored.hash).map(prefix));
        chunk.tags.push(stored.and_then(|stored| stored.hmac));
    }
    let version = version.unwrap_or_else(|| own.clone());
    if let Ok(columns) = Columns::of(&records) {
        let mut shadow = Shadow::default();
        let mut stale = Stale::default();
        for (at, row) in rows.iter().enumerate() {
            let Some((raw, stored)) = row else { continue };
            let index = start + at as u64;
            match compare(index, raw, stored, |sealed| columns.document(at, sealed, &mut shadow)) {
                None => {}
                Some(Difference::Fault(fault)) => chunk.faults.push(fault),
                Some(Difference::Derived(field)) if version != own => stale.add(index, field),
                Some(Difference::Derived(field)) => {
                    let detail =
                        format!("the field {field} does not fit the document's other fields; run `sceau rebuild`");
                    chunk.faults.push(Fault::at(FaultKind::Record, index, detail));
                }
            }
        }
        chunk.faults.extend(stale.fault(&version, &own));
    }
    // What columns are made of is the deriver's matter alone.
    chunk.records = Some((vec![records], document::deriver_version(&version).to_owned()));
    Ok(chunk)
}

/// Documents of another version that are not what this one would write. Their version is their own word, so that is never
/// passed over; it is one fault, since after a change of the product it is said of every document.
#[derive(Default)]
struct Stale {
    span: Option<(u64, u64)>,
    count: u64,
    /// The first that differs, and in what.
    field: String,
}

impl Stale {
    fn add(&mut self, index: u64, field: String) {
        let (first, _) = *self.span.get_or_insert_with(|| {
            self.field = field;
            (index, index)
        });
        self.span = Some((first, index));
        self.count += 1;
    }

    fn fault(&self, version: &str, own: &str) -> Option<Fault> {
        let (first, last) = self.span?;
        let shown: String = version.chars().take(80).collect();
        let detail = format!(
            "{} documents made by version {shown:?} are not what this version {own} writes (the first in the field {}): \
             stale or altered; run `sceau rebuild` and verify again",
            self.count, self.field
        );
        Some(Fault::range(FaultKind::Record, first, last, detail))
    }
}

/// What is wrong with a document, its record aside, which the auditor compares.
enum Difference {
    Fault(Fault),
    /// A field that is made of others.
    Derived(String),
}

fn compare(
    index: u64,
    raw: &RawDocumentBuf,
    stored: &Stored<'_>,
    write: impl FnOnce(&Sealed<'_>) -> Result<RawDocumentBuf, StoreError>,
) -> Option<Difference> {
    let fault = |kind, detail: &str| Some(Difference::Fault(Fault::at(kind, index, detail)));
    let Some(entry) = stored.entry else {
        return fault(FaultKind::EntryUnreadable, "the document holds no entry");
    };
    let leaf = leaf_hash(entry).0;
    if stored.hash.is_some_and(|hash| hash != leaf && hash[..4] == leaf[..4]) {
        return fault(FaultKind::Prefix, "the field hash is not that of the entry");
    }
    if !stored.odd.is_empty() {
        let detail = format!("fields that are not what they should be: {}", stored.odd.join(", "));
        return fault(FaultKind::Record, &detail);
    }
    let hash = stored.hash.unwrap_or(leaf);
    let tag = stored.hmac.as_ref().map(<[u8; 32]>::as_slice);
    let sealed = Sealed { index, entry, leaf: &hash, tag, deriver: stored.deriver };
    let differs = match write(&sealed) {
        Ok(wanted) => document::difference(raw, &wanted)?,
        Err(error) => error.to_string(),
    };
    // A key of another kind has been told already.
    (differs != names::ID).then_some(Difference::Derived(differs))
}
