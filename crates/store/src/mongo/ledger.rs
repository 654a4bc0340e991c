//! `Ledger` on MongoDB.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use sceau_ledger::{Head, Index, TileHash, TreeSize, leaf_hash};

use super::{
    Inner, Mongo, audit, blocking,
    document::{self, documents},
    head::{HeadNote, binary, hash, number, unsigned},
    insert::Inserts,
    names, prune,
    state::now_micros,
    step::{Fixed, Step},
    transaction::Turn,
};
use crate::{
    error::{CommitError, StoreError},
    traits::{AuditChunk, BundleTag, Commit, CommitLimits, EntryRows, Ledger, Moved, SealText, Stretch},
};

/// Bits of a tile's key that hold its position; above them is its level.
const POSITION_BITS: u32 = 56;

/// The key of a subtree's hash: one number, ordered by level, then position.
fn tile_id(level: u8, position: u64) -> i64 {
    let position = position.min((1 << POSITION_BITS) - 1);
    i64::from(level.min(127)) << POSITION_BITS | i64::try_from(position).unwrap_or(i64::MAX)
}

fn tile_of(document: &Document) -> TileHash {
    let id = unsigned(document, names::ID);
    let level = u8::try_from(id >> POSITION_BITS).unwrap_or(u8::MAX);
    TileHash { level, position: id & ((1 << POSITION_BITS) - 1), hash: hash(document, "hash") }
}

fn tile_document(tile: &TileHash) -> RawDocumentBuf {
    let hash =
        mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: tile.hash.to_vec() };
    rawdoc! { "_id": tile_id(tile.level, tile.position), "hash": hash }
}

fn mac_document(mac: &BundleTag) -> Document {
    doc! { "_id": number(mac.bundle), "count": i32::from(mac.count), "tag": binary(&mac.tag) }
}

fn limit(limit: usize) -> i64 {
    // 0 would be no limit.
    i64::try_from(limit).unwrap_or(i64::MAX).max(1)
}

impl Inner {
    /// Up to `limit` documents of a collection, by `_id`, or from the greatest on.
    pub async fn by_id(
        &self,
        collection: &str,
        filter: Document,
        most: usize,
        order: i32,
    ) -> Result<Vec<Document>, StoreError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let collection = self.database.collection::<Document>(collection);
        self.timed(async {
            collection.find(filter).sort(doc! { "_id": order }).limit(limit(most)).await?.try_collect().await
        })
        .await
    }

    async fn last(&self, collection: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.by_id(collection, doc! { "_id": { "$gte": 0_i64 } }, 1, -1).await?.pop())
    }

    async fn fix(self: &Arc<Self>, fixed: Fixed) -> Result<(), StoreError> {
        let turn = Turn { steps: vec![Step::Fix(fixed)], ..Turn::default() };
        self.transact(turn).await.map(drop).map_err(CommitError::into_store)
    }

    /// Entries from `first`, at most `limit`.
    pub async fn entries(&self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let size = self.timed_store(HeadNote::read(&self.database)).await?.head.size.0;
        let end = size.min(first.saturating_add(most as u64));
        if first >= end {
            return Ok(Vec::new());
        }
        let logs = self.database.collection::<RawDocumentBuf>(names::LOGS);
        let filter = doc! { "_id": { "$gte": number(first), "$lt": number(end) } };
        let wanted = doc! { names::ENTRY: 1 };
        let read = self.timed(async {
            let mut cursor = logs.find(filter).sort(doc! { "_id": 1 }).projection(wanted).await?;
            let mut entries = Vec::new();
            while cursor.advance().await? {
                let document = cursor.current();
                if document::index(document) != Some((first + entries.len() as u64, true)) {
                    break;
                }
                let Some(entry) = document::entry(document) else { break };
                entries.push(entry.to_vec());
            }
            Ok(entries)
        });
        let entries = read.await?;
        if (entries.len() as u64) < end - first {
            let kept = prune::end(self).await?;
            if first < kept {
                return Err(StoreError::Expired { index: first, first: kept });
            }
            let index = first + entries.len() as u64;
            return Err(StoreError::Entry { index, detail: "is missing or can't be read".into() });
        }
        Ok(entries)
    }

    async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
        let first = n.saturating_mul(256);
        let width = usize::from(width);
        let hashes: Vec<[u8; 32]> = if level == 0 {
            match self.entries(first, width).await {
                // Deleted ones have left their leaves.
                Err(StoreError::Expired { .. }) => prune::leaves(self, n, width).await?,
                entries => entries?.iter().map(|entry| leaf_hash(entry).0).collect(),
            }
        } else {
            let tiles = self.tiles(level, first, width).await?;
            let gapless = tiles.iter().enumerate().all(|(offset, tile)| tile.position == first + offset as u64);
            if !gapless {
                return Err(StoreError::Damaged(format!("hashes of tile {level}/{n} are missing")));
            }
            tiles.into_iter().map(|tile| tile.hash).collect()
        };
        if hashes.len() == width {
            Ok(hashes)
        } else {
            Err(StoreError::Absent(format!("tile {level}/{n} with {width} hashes")))
        }
    }

    /// The stored hashes of a level from `from` on.
    pub async fn tiles(&self, level: u8, from: u64, most: usize) -> Result<Vec<TileHash>, StoreError> {
        let end = tile_id(level.saturating_add(1), 0);
        let filter = doc! { "_id": { "$gte": tile_id(level, from), "$lt": end } };
        Ok(self.by_id(names::TILES, filter, most, 1).await?.iter().map(tile_of).collect())
    }

    async fn commit(self: &Arc<Self>, expected: Head, commit: Commit) -> Result<(), CommitError> {
        let first = expected.size.0;
        let count: usize = commit.batches.iter().map(|batch| batch.len()).sum();
        if first + count as u64 != commit.head.size.0 {
            return Err(StoreError::Internal("a commit's head does not fit its entries".into()).into());
        }
        let bytes = commit.batches.iter().map(|batch| batch.weight()).sum();
        let load = (count > 0).then_some(CommitLimits { entries: count, bytes });
        let (inner, batches, tags) = (self.clone(), commit.batches, commit.tags);
        let made =
            blocking(move || inner.costs.of(|| documents(first, &batches, &tags, &document::version(&inner.deriver))));
        let steps = vec![
            Step::Insert(made.await?),
            Step::Insert(Inserts::of(names::TILES, commit.tiles.iter().map(tile_document))?),
            Step::Replace(names::MACS, commit.macs.iter().map(mac_document).collect()),
            Step::State(commit.state, now_micros()),
        ];
        self.transact(Turn { heads: Some((expected, commit.head)), steps, load }).await.map(drop)
    }

    async fn adopt(self: &Arc<Self>, moved: Moved) -> Result<(), CommitError> {
        let id = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let turn = match moved {
            Moved::Seals(seals) => {
                let seal = |seal: SealText| rawdoc! { "_id": id(seal.epoch), "text": seal.text };
                let seals = Inserts::of(names::SEALS, seals.into_iter().map(seal))?;
                Turn { steps: vec![Step::Insert(seals)], ..Turn::default() }
            }
            Moved::Checkpoints(checkpoints) => {
                let note = |(size, note): (TreeSize, String)| rawdoc! { "_id": id(size.0), "note": note };
                let notes = Inserts::of(names::CHECKPOINTS, checkpoints.into_iter().map(note))?;
                Turn { steps: vec![Step::Insert(notes)], ..Turn::default() }
            }
            Moved::Leaves(moved) => {
                moved.check()?;
                if prune::end(self).await? != moved.expected.size.0 {
                    let text = "leaves without entries belong in front of all entries";
                    return Err(StoreError::Internal(text.into()).into());
                }
                let first = moved.expected.size.0 / 256;
                let leaves = (first..).zip(moved.leaves.chunks(256)).map(|(bundle, leaves)| prune::row(bundle, leaves));
                let steps = vec![
                    Step::Insert(Inserts::of(names::LEAVES, leaves)?),
                    Step::Insert(Inserts::of(names::TILES, moved.tiles.iter().map(tile_document))?),
                    Step::Replace(names::MACS, moved.macs.iter().map(mac_document).collect()),
                ];
                Turn { heads: Some((moved.expected, moved.head)), steps, load: None }
            }
        };
        self.transact(turn).await.map(drop)
    }
}

#[async_trait]
impl Ledger for Mongo {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.inner.timed_store(HeadNote::read(&self.inner.database)).await?.head)
    }

    async fn commit(&self, expected: Head, commit: Commit) -> Result<(), CommitError> {
        self.inner.commit(expected, commit).await
    }

    fn commit_limits(&self) -> CommitLimits {
        self.inner.size.limits()
    }

    fn keeps_tags(&self) -> bool {
        true
    }

    async fn adopt(&self, moved: Moved) -> Result<(), CommitError> {
        self.inner.adopt(moved).await
    }

    async fn entries(&self, first: Index, limit: usize) -> Result<EntryRows, StoreError> {
        Ok(EntryRows { first, entries: self.inner.entries(first.0, limit).await? })
    }

    async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
        self.inner.tile(level, n, width).await
    }

    async fn kept_from(&self) -> Result<Index, StoreError> {
        prune::end(&self.inner).await.map(Index)
    }

    async fn stretches(&self) -> Result<Vec<Stretch>, StoreError> {
        prune::stretches(&self.inner).await
    }

    async fn prune(&self, before: Index) -> Result<Index, StoreError> {
        prune::prune(&self.inner, before.0).await.map(Index)
    }

    async fn put_checkpoint(&self, size: TreeSize, note: &str) -> Result<(), StoreError> {
        let what = format!("the checkpoint of size {}", size.0);
        let (collection, id, text) = (names::CHECKPOINTS, number(size.0), note.to_owned());
        self.inner.fix(Fixed { collection, id, field: "note", text, what }).await
    }

    async fn latest_checkpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(self.inner.last(names::CHECKPOINTS).await?.map(|found| text(&found, "note")))
    }

    async fn checkpoints(&self, from: TreeSize, limit: usize) -> Result<Vec<(TreeSize, String)>, StoreError> {
        let found = self.inner.by_id(names::CHECKPOINTS, doc! { "_id": { "$gte": number(from.0) } }, limit, 1).await?;
        Ok(found.iter().map(|found| (TreeSize(unsigned(found, names::ID)), text(found, "note"))).collect())
    }

    async fn thin_checkpoints(&self, spans: Vec<(TreeSize, TreeSize)>) -> Result<u64, StoreError> {
        let mut steps = Vec::new();
        for (above, to) in spans {
            let within = doc! { "_id": { "$gt": number(above.0), "$lte": number(to.0) } };
            if let Some(last) = self.inner.by_id(names::CHECKPOINTS, within, 1, -1).await?.pop() {
                let last = last.get(names::ID).cloned().unwrap_or(Bson::Null);
                let others = doc! { "_id": { "$gt": number(above.0), "$lt": last } };
                steps.push(Step::Delete(names::CHECKPOINTS, others));
            }
        }
        if steps.is_empty() {
            return Ok(0);
        }
        self.inner.transact(Turn { steps, ..Turn::default() }).await.map_err(CommitError::into_store)
    }

    async fn put_seal(&self, seal: SealText) -> Result<(), StoreError> {
        let what = format!("the seal of epoch {}", seal.epoch);
        let (collection, id) = (names::SEALS, number(seal.epoch));
        self.inner.fix(Fixed { collection, id, field: "text", text: seal.text, what }).await
    }

    async fn seals(&self, from: u64, limit: usize) -> Result<Vec<SealText>, StoreError> {
        // From the first on, an epoch that can't be is there too.
        let from = if from == 0 { Bson::Int64(i64::MIN) } else { number(from) };
        let found = self.inner.by_id(names::SEALS, doc! { "_id": { "$gte": from } }, limit, 1).await?;
        Ok(found.iter().map(seal_of).collect())
    }

    async fn last_seal(&self) -> Result<Option<SealText>, StoreError> {
        Ok(self.inner.last(names::SEALS).await?.as_ref().map(seal_of))
    }

    async fn audit(&self, first: Index) -> Result<AuditChunk, StoreError> {
        audit::chunk(&self.inner, first.0).await
    }

    async fn audit_tiles(&self, level: u8, from: u64, limit: usize) -> Result<Vec<TileHash>, StoreError> {
        self.inner.tiles(level, from, limit).await
    }

    async fn audit_macs(&self, from: u64, limit: usize) -> Result<Vec<BundleTag>, StoreError> {
        let found = self.inner.by_id(names::MACS, doc! { "_id": { "$gte": number(from) } }, limit, 1).await?;
        let tag = |found: &Document| BundleTag {
            bundle: unsigned(found, names::ID),
            count: u16::try_from(unsigned(found, "count")).unwrap_or(0),
            tag: hash(found, "tag"),
        };
        Ok(found.iter().map(tag).collect())
    }

    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found = self.inner.by_id(names::FACTS, doc! { "_id": name }, 1, 1).await?;
        Ok(found.first().map(|found| text(found, "value")))
    }

    async fn fix_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let what = format!("the fact {name}");
        let (collection, text) = (names::FACTS, value.to_owned());
        self.inner.fix(Fixed { collection, id: name.into(), field: "value", text, what }).await
    }
}

fn text(document: &Document, name: &str) -> String {
    document.get_str(name).unwrap_or_default().to_owned()
}

fn seal_of(document: &Document) -> SealText {
    SealText { epoch: unsigned(document, names::ID), text: text(document, "text") }
}
