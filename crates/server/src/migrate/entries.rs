//! The entries, commit by commit; what the source says of them is checked before it is written.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use sceau_event::Deriver;
use sceau_ledger::{Head, Index, LeafHash, MacKeys, TileHash, Tree, entry_mac};
use sceau_store::{
    Batch, BatchBuilder, Commit, CommitError, CommitLimits, Moved, MovedLeaves, Store, StoreError, traits::BundleTag,
};
use subtle::ConstantTimeEq as _;

use super::{Progress, refused};
use crate::{error::ServerError, prover};

/// Entries of a commit, unless the target wants fewer.
const ENTRIES: usize = 8_192;
/// Bytes of a commit, unless the target wants fewer.
const BYTES: usize = 16 << 20;
/// Entries that are read at once.
const STEP: usize = 1_024;
/// Bundles of leaves without entries of one write.
const BUNDLES: u64 = 64;
/// Entries and bytes of a commit where the target has limits of its own: nobody waits for one of these commits, and a
/// database with a small cache refuses transactions that a larger one takes.
const MODEST: (usize, usize) = (1_000, 2 << 20);
/// How long a target that can't take more now is asked again, and after which pauses.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(500);

/// Copies what the target lacks up to `head`.
pub(super) async fn copy(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    head: &Head,
    keys: &MacKeys,
    deriver: &Arc<Deriver>,
    progress: Progress<'_>,
) -> Result<(), ServerError> {
    let begun = target.head().await?;
    let tree = prover::restore(&**target, begun.size).await?;
    if tree.head() != begun {
        let text = format!("the target's hashes lead to {}, its head is {begun}", tree.head());
        return Err(StoreError::Damaged(text).into());
    }
    let mut growing = Growing { source: source.clone(), tree, keys: keys.clone(), end: head.size.0 };
    leaves(&mut growing, &**target, progress).await?;
    let next = growing.tree.head().size.0;
    let mut reading = Reading::new(source.clone(), deriver.clone(), &**target, next..head.size.0);
    let mut next = reading.batch().await?;
    while let Some(batch) = next {
        // The next entries are read and derived while these are being written.
        let (written, following) = tokio::join!(growing.put(&**target, batch), reading.batch());
        written?;
        progress(growing.tree.head().size.0, head.size.0);
        next = following?;
    }
    Ok(())
}

/// Copies what retention has left of the log's beginning.
async fn leaves(growing: &mut Growing, target: &dyn Store, progress: Progress<'_>) -> Result<(), ServerError> {
    let kept = growing.source.kept_from().await?.0;
    loop {
        let expected = growing.tree.head();
        let first = expected.size.0;
        if first >= kept {
            return Ok(());
        }
        if target.kept_from().await?.0 != first {
            return Err(ServerError::Config(format!(
                "since the last run, retention has deleted entries before {kept} that were not copied yet: empty the target \
                 and begin anew"
            )));
        }
        let mut leaves = Vec::with_capacity(BUNDLES as usize * 256);
        for bundle in first / 256..(kept / 256).min(first / 256 + BUNDLES) {
            leaves.extend(growing.source.tile(0, bundle, 256).await?.into_iter().map(LeafHash));
        }
        let (head, tiles, macs) = growing.grow(&leaves).await?;
        let moved = MovedLeaves { expected, head, leaves, tiles, macs };
        target.adopt(Moved::Leaves(moved)).await.map_err(refused)?;
        progress(head.size.0, growing.end);
    }
}

/// The source's entries as batches.
struct Reading {
    source: Arc<dyn Store>,
    deriver: Arc<Deriver>,
    next: u64,
    end: u64,
    /// Read, but not in a batch yet.
    waiting: VecDeque<Vec<u8>>,
    entries: usize,
    bytes: usize,
}

impl Reading {
    fn new(source: Arc<dyn Store>, deriver: Arc<Deriver>, target: &dyn Store, span: std::ops::Range<u64>) -> Self {
        let limits = target.commit_limits();
        let (entries, bytes) = if limits == CommitLimits::NONE { (ENTRIES, BYTES) } else { MODEST };
        Self {
            source,
            deriver,
            next: span.start,
            end: span.end,
            waiting: VecDeque::new(),
            entries: limits.entries.clamp(1, entries),
            // A batch ends behind the entry that goes beyond this: room for that one is left.
            bytes: limits.bytes.min(bytes) / 4 * 3,
        }
    }

    /// The next batch; none at the end.
    async fn batch(&mut self) -> Result<Option<Arc<Batch>>, ServerError> {
        let mut builder = BatchBuilder::new(self.deriver.clone());
        while self.next < self.end && builder.len() < self.entries && builder.weight() < self.bytes {
            if self.waiting.is_empty() {
                let left = usize::try_from(self.end - self.next).unwrap_or(STEP);
                let rows = self.source.entries(Index(self.next), STEP.min(left)).await?;
                self.waiting = rows.entries.into();
            }
            if self.waiting.is_empty() {
                return Err(StoreError::Absent(format!("entry {}", self.next)).into());
            }
            let (first, waiting) = (self.next, std::mem::take(&mut self.waiting));
            let (entries, bytes) = (self.entries, self.bytes);
            let filling = move || fill(builder, waiting, first, entries, bytes);
            let filled = tokio::task::spawn_blocking(filling).await;
            let (filled, rest, taken) = filled.map_err(|error| ServerError::Internal(error.to_string()))??;
            (builder, self.waiting) = (filled, rest);
            self.next += taken;
        }
        if builder.is_empty() {
            return Ok(None);
        }
        let batch = builder.finish().map_err(|error| ServerError::Internal(error.to_string()))?;
        Ok(Some(Arc::new(batch)))
    }
}

type Filled = (BatchBuilder, VecDeque<Vec<u8>>, u64);

/// Puts entries into a batch until it is full; gives the others back, and how many were taken.
fn fill(
    mut builder: BatchBuilder,
    mut waiting: VecDeque<Vec<u8>>,
    first: u64,
    entries: usize,
    bytes: usize,
) -> Result<Filled, StoreError> {
    let mut taken = 0;
    while builder.len() < entries && builder.weight() < bytes {
        let Some(entry) = waiting.pop_front() else { break };
        let damaged = |error: sceau_event::EntryError| StoreError::Entry {
            index: first + taken,
            detail: format!("is no entry ({error}); look at the source with `sceau verify`"),
        };
        builder.push_entry(&entry).map_err(damaged)?;
        taken += 1;
    }
    Ok((builder, waiting, taken))
}

/// The tree, and what grows with it.
struct Growing {
    source: Arc<dyn Store>,
    tree: Tree,
    keys: MacKeys,
    /// The index behind the last entry.
    end: u64,
}

impl Growing {
    /// Adds a batch to the target, in pieces if that takes less at once than it did before.
    async fn put(&mut self, target: &dyn Store, batch: Arc<Batch>) -> Result<(), ServerError> {
        let mut begun = Instant::now();
        let mut told = false;
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            let (limits, len) = (target.commit_limits(), batch.len());
            if len > 1 && (len > limits.entries || batch.weight() > limits.bytes) {
                waiting.extend([batch.slice(len / 2, len - len / 2), batch.slice(0, len / 2)].map(Arc::new));
                continue;
            }
            let before = self.tree.clone();
            let commit = self.commit(batch.clone(), target.keeps_tags()).await?;
            match target.commit(before.head(), commit).await {
                Ok(()) => begun = Instant::now(),
                Err(CommitError::TooLarge(reason)) => {
                    tracing::info!(reason, "the target takes less at once");
                    self.tree = before;
                    waiting.push(batch);
                }
                Err(error @ (CommitError::Full | CommitError::Unavailable(_))) if begun.elapsed() < PATIENCE => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the target takes nothing now; it is asked again for up to 5 minutes");
                    }
                    self.tree = before;
                    waiting.push(batch);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }

    /// The commit that adds a batch, once its leaves are known to be those that the source sealed.
    async fn commit(&mut self, batch: Arc<Batch>, tagged: bool) -> Result<Commit, ServerError> {
        let first = self.tree.head().size.0;
        let (head, tiles, macs) = self.grow(batch.leaves()).await?;
        let tags = if tagged { self.tags(first, batch.leaves()).await? } else { Vec::new() };
        Ok(Commit { batches: vec![batch], head, tiles, macs, tags, state: Vec::new() })
    }

    /// Head, subtrees and tags behind further leaves.
    async fn grow(&mut self, leaves: &[LeafHash]) -> Result<(Head, Vec<TileHash>, Vec<BundleTag>), ServerError> {
        let first = self.tree.head().size.0;
        let tiles = self.tree.append(leaves);
        self.check_tiles(&tiles).await?;
        Ok((self.tree.head(), tiles, self.macs(first, leaves).await?))
    }

    /// Compares the hashes of subtrees with those that the source has stored, so that what was altered there is named.
    async fn check_tiles(&self, tiles: &[TileHash]) -> Result<(), ServerError> {
        for level in 1..=tiles.iter().map(|tile| tile.level).max().unwrap_or(0) {
            let made: Vec<&TileHash> = tiles.iter().filter(|tile| tile.level == level).collect();
            let Some(from) = made.first().map(|tile| tile.position) else { continue };
            let stored = self.source.audit_tiles(level, from, made.len()).await?;
            let differs = made.iter().enumerate().find(|(place, tile)| stored.get(*place) != Some(tile));
            if let Some((_, tile)) = differs {
                let width = 256u64.saturating_pow(u32::from(level));
                let index = tile.position.saturating_mul(width);
                let detail = format!("or one of the {} behind it is not what was sealed", width - 1);
                return Err(
                    StoreError::Entry { index, detail: detail + "; look at the source with `sceau verify`" }.into()
                );
            }
        }
        Ok(())
    }

    /// The tags of the bundles that these leaves touch: those of the source, compared where the key is at hand, and for
    /// a bundle of which the rest follows a tag of what is there.
    async fn macs(&self, first: u64, leaves: &[LeafHash]) -> Result<Vec<BundleTag>, ServerError> {
        let behind = first + leaves.len() as u64;
        let bundles = first / 256..behind.div_ceil(256);
        let count = usize::try_from(bundles.end - bundles.start).unwrap_or(usize::MAX);
        let stored = self.source.audit_macs(bundles.start, count).await?;
        let mut leaves = leaves.iter();
        let mut macs = Vec::with_capacity(count);
        for bundle in bundles {
            let mut mac = self.keys.start(bundle);
            let start = bundle * 256;
            if first > start {
                // The part that was copied before; the batch goes on in the middle of it.
                let width = u16::try_from(first - start).unwrap_or(u16::MAX);
                self.source.tile(0, bundle, width).await?.into_iter().for_each(|leaf| mac.push(LeafHash(leaf)));
            }
            let end = (start + 256).min(behind);
            leaves.by_ref().take(usize::try_from(end - start.max(first)).unwrap_or(0)).for_each(|leaf| mac.push(*leaf));
            let made = BundleTag { bundle, count: mac.count(), tag: mac.tag() };
            macs.push(if end == start + 256 || end == self.end { self.stored(made, &stored)? } else { made });
        }
        Ok(macs)
    }

    fn stored(&self, made: BundleTag, stored: &[BundleTag]) -> Result<BundleTag, ServerError> {
        let found = stored.iter().find(|tag| (tag.bundle, tag.count) == (made.bundle, made.count));
        // Of a key that was lost, its tags are all that is left: they are carried on as they are.
        let known = self.keys.at(made.bundle).is_some();
        match found {
            Some(tag) if !known || bool::from(tag.tag.ct_eq(&made.tag)) => Ok(*tag),
            _ => {
                let (from, to) = (made.bundle * 256, made.bundle * 256 + u64::from(made.count) - 1);
                let text = format!("the entries {from} to {to} don't have the MAC that this log's key gives them");
                Err(StoreError::Damaged(text).into())
            }
        }
    }

    /// The HMAC of each entry. Where the key was lost those of the source are carried on, or if it has none, they are
    /// made with the oldest key that is at hand: nobody can check them before the lost key is found again.
    async fn tags(&self, first: u64, leaves: &[LeafHash]) -> Result<Vec<[u8; 32]>, ServerError> {
        let mut tags = Vec::with_capacity(leaves.len());
        let mut kept: Option<(u64, Vec<Option<[u8; 32]>>)> = None;
        for (index, leaf) in (first..).zip(leaves) {
            if let Some(key) = self.keys.at(index / 256) {
                tags.push(entry_mac(key, Index(index), *leaf));
                continue;
            }
            let covers = |kept: &(u64, Vec<_>)| index >= kept.0 && index < kept.0 + kept.1.len() as u64;
            if self.source.keeps_tags() && !kept.as_ref().is_some_and(covers) {
                let chunk = self.source.audit(Index(index)).await?;
                kept = Some((chunk.first, chunk.tags));
            }
            let tag = kept.as_ref().filter(|kept| covers(kept)).and_then(|(first, tags)| {
                tags.get(usize::try_from(index - first).unwrap_or(usize::MAX)).copied().flatten()
            });
            let oldest = self.keys.iter().next().map(|(_, key)| key);
            tags.extend(tag.or_else(|| oldest.map(|key| entry_mac(key, Index(index), *leaf))));
        }
        Ok(tags)
    }
}
