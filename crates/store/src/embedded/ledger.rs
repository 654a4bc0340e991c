//! `Ledger` on SQLite and segments.

use std::{pin::pin, sync::Arc};

use async_trait::async_trait;
use sceau_ledger::{Head, Index, TileHash, TreeSize, leaf_hash};
use tokio::time::{Instant, timeout_at};

use super::{
    Embedded, Inner, adopt, audit, blocking, compact, db, prune,
    segment::Segment,
    state::{self, now_micros},
    tail,
};
use crate::{
    error::{CommitError, StoreError},
    traits::{AuditChunk, BundleTag, Commit, EntryRows, Ledger, Moved, SealText, Stretch},
};

impl Inner {
    fn commit(&self, expected: Head, commit: &Commit) -> Result<(), CommitError> {
        if self.is_full() {
            if let Some(trouble) = self.trouble() {
                tracing::warn!(%trouble, "the tail is full since segments can't be written");
            }
            return Err(CommitError::Full);
        }
        let first = expected.size.0;
        let count: usize = commit.batches.iter().map(|batch| batch.len()).sum();
        if first + count as u64 != commit.head.size.0 {
            return Err(StoreError::Internal("a commit's head does not fit its entries".into()).into());
        }
        let added = if count > 0 {
            let rows = tail::rows(first, &commit.batches)?;
            Some((tail::encode(first, &rows)?, rows))
        } else {
            None
        };
        let mut shown = Ok(());
        self.db.write(
            |transaction| {
                let actual = db::head(transaction)?;
                if actual != expected {
                    return Err(CommitError::HeadMoved { actual });
                }
                for write in &commit.state {
                    state::put_state(transaction, write, now_micros())?;
                }
                if let Some((row, _)) = &added {
                    db::insert_tail(transaction, row)?;
                }
                db::insert_tiles(transaction, &commit.tiles)?;
                db::put_macs(transaction, &commit.macs)?;
                db::set_head(transaction, &commit.head)?;
                Ok(())
            },
            |()| {
                if let Some((_, rows)) = &added {
                    shown = self.replace(|snapshot| tail::push(&mut snapshot.tail, first, rows.clone()));
                }
            },
        )?;
        Ok(shown?)
    }

    /// Entries from `first`, at most `limit`, read from segments and tail.
    pub(super) fn entries(&self, first: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let snapshot = self.snapshot();
        if first < snapshot.first && limit > 0 {
            return Err(StoreError::Expired { index: first, first: snapshot.first });
        }
        let mut found: Vec<Vec<u8>> = Vec::new();
        let end = snapshot.end().min(first.saturating_add(limit as u64));
        let mut next = first;
        let start = snapshot.segments.partition_point(|segment| segment.end() <= next);
        for segment in &snapshot.segments[start..] {
            let mut group_first = segment.row.first;
            for (group, facts) in segment.groups.iter().enumerate() {
                let group_end = group_first + facts.rows;
                if next >= group_first && next < group_end.min(end) {
                    let span = usize_of(next - group_first)..usize_of(group_end.min(end) - group_first);
                    for rows in segment.entries_at(group, span.start..span.end)? {
                        found.extend(tail::entries(&rows)?.iter().flatten().map(<[u8]>::to_vec));
                    }
                    next = group_end.min(end);
                }
                group_first = group_end;
            }
        }
        let start = snapshot.tail.partition_point(|chunk| chunk.end() <= next);
        for chunk in &snapshot.tail[start..] {
            if next >= end {
                break;
            }
            let span = usize_of(next - chunk.first)..usize_of(chunk.end().min(end) - chunk.first);
            let rows = chunk.rows.slice(span.start, span.len());
            found.extend(tail::entries(&rows)?.iter().flatten().map(<[u8]>::to_vec));
            next = chunk.end().min(end);
        }
        Ok(found)
    }

    fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
        let first = n * 256;
        let hashes: Vec<[u8; 32]> = if level == 0 {
            match self.entries(first, usize::from(width)) {
                // Deleted ones have left their leaves, from before they were gone.
                Err(StoreError::Expired { .. }) => self.db.read(|connection| prune::leaves(connection, n, width))?,
                entries => entries?.iter().map(|entry| leaf_hash(entry).0).collect(),
            }
        } else {
            let tiles = self.db.read(|connection| db::tiles(connection, level, first, usize::from(width)))?;
            let gapless = tiles.iter().enumerate().all(|(offset, tile)| tile.position == first + offset as u64);
            if !gapless {
                return Err(StoreError::Damaged(format!("hashes of tile {level}/{n} are missing")));
            }
            tiles.into_iter().map(|tile| tile.hash).collect()
        };
        if hashes.len() == usize::from(width) {
            Ok(hashes)
        } else {
            Err(StoreError::Absent(format!("tile {level}/{n} with {width} hashes")))
        }
    }
}

/// Offsets within a segment or chunk always fit.
pub(super) fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[async_trait]
impl Ledger for Embedded {
    async fn head(&self) -> Result<Head, StoreError> {
        self.read(db::head).await
    }

    async fn commit(&self, expected: Head, commit: Commit) -> Result<(), CommitError> {
        self.wait_for_room().await;
        let inner = self.inner.clone();
        let committed =
            tokio::task::spawn_blocking(move || inner.db.costs.commit.of(|| inner.commit(expected, &commit)))
                .await
                .map_err(|error| StoreError::Internal(error.to_string()))?;
        if matches!(committed, Ok(()) | Err(CommitError::Full)) {
            // Of a full tail, too: what stood in the way of a segment may be gone, and no other commit would tell.
            self.workers.committed();
        }
        committed
    }

    async fn adopt(&self, moved: Moved) -> Result<(), CommitError> {
        let inner = self.inner.clone();
        let adopted = tokio::task::spawn_blocking(move || adopt::adopt(&inner, &moved)).await;
        let adopted = adopted.map_err(|error| StoreError::Internal(error.to_string()))?;
        // The write-ahead log has grown.
        self.workers.committed();
        adopted
    }

    async fn entries(&self, first: Index, limit: usize) -> Result<EntryRows, StoreError> {
        let inner = self.inner.clone();
        blocking(move || Ok(EntryRows { first, entries: inner.entries(first.0, limit)? })).await
    }

    async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.tile(level, n, width)).await
    }

    async fn kept_from(&self) -> Result<Index, StoreError> {
        Ok(Index(self.inner.snapshot().first))
    }

    async fn stretches(&self) -> Result<Vec<Stretch>, StoreError> {
        let snapshot = self.inner.snapshot();
        let stretch = |segment: &Arc<Segment>| Stretch {
            first: segment.row.first,
            count: segment.row.count,
            bytes: segment.bytes(),
        };
        Ok(snapshot.segments.iter().map(stretch).collect())
    }

    async fn prune(&self, before: Index) -> Result<Index, StoreError> {
        let inner = self.inner.clone();
        let kept = blocking(move || prune::prune(&inner, before.0)).await;
        // The write-ahead log has grown by the leaves.
        self.workers.committed();
        kept.map(Index)
    }

    async fn put_checkpoint(&self, size: TreeSize, note: &str) -> Result<(), StoreError> {
        let note = note.to_owned();
        self.write(move |transaction| db::put_checkpoint(transaction, size.0, &note)).await
    }

    async fn latest_checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.read(db::latest_checkpoint).await
    }

    async fn checkpoints(&self, from: TreeSize, limit: usize) -> Result<Vec<(TreeSize, String)>, StoreError> {
        self.read(move |connection| db::checkpoints(connection, from.0, limit)).await
    }

    async fn thin_checkpoints(&self, spans: Vec<(TreeSize, TreeSize)>) -> Result<u64, StoreError> {
        self.write(move |transaction| db::thin_checkpoints(transaction, &spans)).await
    }

    async fn put_seal(&self, seal: SealText) -> Result<(), StoreError> {
        self.write(move |transaction| db::put_seal(transaction, &seal)).await
    }

    async fn seals(&self, from: u64, limit: usize) -> Result<Vec<SealText>, StoreError> {
        self.read(move |connection| db::seals(connection, from, limit)).await
    }

    async fn last_seal(&self) -> Result<Option<SealText>, StoreError> {
        self.read(db::last_seal).await
    }

    async fn audit(&self, first: Index) -> Result<AuditChunk, StoreError> {
        let inner = self.inner.clone();
        blocking(move || audit::chunk(&inner, first.0)).await
    }

    async fn audit_tiles(&self, level: u8, from: u64, limit: usize) -> Result<Vec<TileHash>, StoreError> {
        self.read(move |connection| db::tiles(connection, level, from, limit)).await
    }

    async fn audit_macs(&self, from: u64, limit: usize) -> Result<Vec<BundleTag>, StoreError> {
        self.read(move |connection| db::macs(connection, from, limit)).await
    }

    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| db::fact(connection, &name)).await
    }

    async fn fix_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |transaction| db::fix_fact(transaction, &name, &value)).await
    }
}

impl Embedded {
    /// Waits while the tail is full and a segment that takes of it is being written, within limits.
    async fn wait_for_room(&self) {
        let deadline = Instant::now() + self.inner.options.patience;
        loop {
            let mut rung = pin!(self.inner.room.notified());
            // Before looking, so that no ring is missed in between.
            rung.as_mut().enable();
            // If no segment is due, or none can be written, there is nothing to wait for.
            let comes = || compact::due(&self.inner, &self.inner.snapshot()) > 0 && self.inner.trouble().is_none();
            if !self.inner.is_full() || !comes() {
                return;
            }
            self.workers.committed();
            if timeout_at(deadline, rung).await.is_err() {
                return;
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.db.read(work)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner: Arc<Inner> = self.inner.clone();
        blocking(move || inner.db.write(work, |_| ())).await
    }
}
