//! What is stored beside the entries, fed to the auditor in step with them.

use std::collections::VecDeque;

use sceau_ledger::{Auditor, Fault, FaultKind, TileHash, TreeSize};
use sceau_store::{Store, StoreError, traits::BundleTag};

use super::known;

/// Rows read at once.
const PAGE: usize = 4_096;
/// Levels of tiles above the leaves: enough for any tree.
const LEVELS: u8 = 7;

/// The streams, each with what was read but not fed yet.
pub(super) struct Sides<'a> {
    store: &'a dyn Store,
    size: u64,
    live: bool,
    last_tag: Option<BundleTag>,
    checkpoints: Stream<(TreeSize, String)>,
    macs: Stream<BundleTag>,
    tiles: Vec<Stream<TileHash>>,
}

struct Stream<T> {
    rows: VecDeque<T>,
    /// Where to read on; `None` at the end.
    next: Option<u64>,
}

impl<T> Stream<T> {
    fn at(place: u64) -> Self {
        Self { rows: VecDeque::new(), next: Some(place) }
    }

    fn refill(&mut self, rows: Vec<T>, place: impl Fn(&T) -> u64) {
        self.next = rows.last().filter(|_| rows.len() == PAGE).and_then(|last| place(last).checked_add(1));
        self.rows.extend(rows);
    }

    fn take(&mut self, due: impl Fn(&T) -> bool) -> Option<T> {
        if self.rows.front().is_some_and(due) { self.rows.pop_front() } else { None }
    }

    /// Whether more must be read to know what comes next.
    fn wants(&self) -> Option<u64> {
        self.next.filter(|_| self.rows.is_empty())
    }
}

impl<'a> Sides<'a> {
    /// What concerns a log of `size` entries, without what concerns the entries before `first` alone.
    pub fn new(store: &'a dyn Store, first: u64, size: u64, live: bool, last_tag: Option<BundleTag>) -> Self {
        let tiles = (1..=u32::from(LEVELS)).map(|level| Stream::at(first / 256u64.saturating_pow(level))).collect();
        let checkpoints = Stream::at(if first == 0 { 0 } else { first.saturating_add(1) });
        Self { store, size, live, last_tag, checkpoints, macs: Stream::at(first / 256), tiles }
    }

    /// Feeds what concerns entries below `end`; everything that is left if that is the greatest number. What can't be
    /// read is a fault, and ends its stream.
    ///
    /// # Errors
    /// The database is away.
    pub async fn feed(&mut self, auditor: &mut Auditor, end: u64) -> Result<(), StoreError> {
        self.feed_tiles(auditor, end).await?;
        self.feed_macs(auditor, end).await?;
        self.feed_checkpoints(auditor, end).await
    }

    async fn feed_checkpoints(&mut self, auditor: &mut Auditor, end: u64) -> Result<(), StoreError> {
        loop {
            if let Some(from) = self.checkpoints.wants() {
                let rows = self.store.checkpoints(TreeSize(from), PAGE).await;
                let rows = readable(rows, auditor, FaultKind::Checkpoint, "the stored checkpoints")?;
                self.checkpoints.refill(rows, |(size, _)| size.0);
            }
            let Some((size, note)) = self.checkpoints.take(|(size, _)| size.0 <= end) else { return Ok(()) };
            if self.live && size.0 > self.size {
                continue;
            }
            // A malformed note is named by the auditor.
            let signed: Option<u64> = note.lines().nth(1).and_then(|line| line.parse().ok());
            if let Some(signed) = signed.filter(|signed| *signed != size.0) {
                let detail = format!("the checkpoint of size {signed} is stored as that of size {size}");
                auditor.fault(Fault::whole(FaultKind::Checkpoint, detail));
            }
            auditor.checkpoint(note.as_bytes());
        }
    }

    async fn feed_tiles(&mut self, auditor: &mut Auditor, end: u64) -> Result<(), StoreError> {
        for (stream, level) in self.tiles.iter_mut().zip(1u8..) {
            let first = |position: u64| position.saturating_mul(256u64.saturating_pow(u32::from(level)));
            loop {
                if let Some(from) = stream.wants() {
                    let rows = self.store.audit_tiles(level, from, PAGE).await;
                    let rows = readable(rows, auditor, FaultKind::Tile, "the stored tile hashes")?;
                    stream.refill(rows, |tile| tile.position);
                }
                let Some(tile) = stream.take(|tile| first(tile.position) < end) else { break };
                if !self.live || first(tile.position.saturating_add(1)) <= self.size {
                    auditor.tile_hash(level, tile.position, tile.hash);
                }
            }
        }
        Ok(())
    }

    async fn feed_macs(&mut self, auditor: &mut Auditor, end: u64) -> Result<(), StoreError> {
        let growing = self.size / 256;
        loop {
            if let Some(from) = self.macs.wants() {
                let rows = self.store.audit_macs(from, PAGE).await;
                let rows = readable(rows, auditor, FaultKind::Mac, "the stored MACs")?;
                self.macs.refill(rows, |tag| tag.bundle);
            }
            let Some(tag) = self.macs.take(|tag| tag.bundle.saturating_mul(256) < end) else { break };
            if !self.live || tag.bundle < growing {
                auditor.bundle_mac(tag.bundle, tag.count, tag.tag);
            }
        }
        // While the log goes on, the tag of its last bundle moves: the one of the head's moment counts.
        if let Some(tag) = self.last_tag.take_if(|tag| self.live && tag.bundle.saturating_mul(256) < end)
            && tag.bundle == growing
            && !self.size.is_multiple_of(256)
        {
            auditor.bundle_mac(tag.bundle, tag.count, tag.tag);
        }
        Ok(())
    }
}

/// Rows that were read; none if they can't be.
fn readable<T>(
    rows: Result<Vec<T>, StoreError>,
    auditor: &mut Auditor,
    kind: FaultKind,
    what: &str,
) -> Result<Vec<T>, StoreError> {
    known(rows, |error| {
        auditor.fault(Fault::whole(kind, format!("{what} can't be read from here on: {error}")));
        Vec::new()
    })
}
