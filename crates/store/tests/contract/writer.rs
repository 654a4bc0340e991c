//! A sequencer of a few lines: makes commits of batches.

use sceau_event::{Framer, Meta, Micros, SourceId};
use sceau_ledger::{BundleMac, Head, Index, MacKey, Tree, entry_mac};
use sceau_store::{Batch, BatchBuilder, Commit, CommitError, StateWrite, Store, traits::BundleTag};

use super::deriver;

/// The tests' beginning of time: 2026-11-22T08:00:00Z.
pub const START: i64 = 1_795_334_400_000_000;
/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

/// Knows the tree as far as it was committed.
#[derive(Clone)]
pub struct Writer {
    key: MacKey,
    tree: Tree,
    mac: BundleMac,
    bundle: u64,
    /// All entries committed, by index.
    pub entries: Vec<Vec<u8>>,
}

impl Writer {
    pub fn new() -> Self {
        let key = MacKey::from_bytes([7; 32]);
        Self { tree: Tree::new(), mac: BundleMac::start(&key, 0), key, bundle: 0, entries: vec![] }
    }

    pub fn head(&self) -> Head {
        self.tree.head()
    }

    /// A commit of these batches, as if it were made next.
    pub fn commit_of(&mut self, batches: Vec<Batch>, state: Vec<StateWrite>) -> Commit {
        let mut tiles = vec![];
        let mut macs = vec![];
        let mut tags = vec![];
        for batch in &batches {
            tiles.extend(self.tree.append(batch.leaves()));
            for leaf in batch.leaves() {
                let index = self.bundle * 256 + u64::from(self.mac.count());
                tags.push(entry_mac(&self.key, Index(index), *leaf));
                self.mac.push(*leaf);
                if self.mac.count() == 256 {
                    macs.push(self.tag());
                    self.bundle += 1;
                    self.mac = BundleMac::start(&self.key, self.bundle);
                }
            }
            self.entries.extend(batch.entries().iter().flatten().map(<[u8]>::to_vec));
        }
        if self.mac.count() > 0 {
            macs.push(self.tag());
        }
        let batches = batches.into_iter().map(Into::into).collect();
        Commit { batches, head: self.tree.head(), tiles, macs, tags, state }
    }

    fn tag(&self) -> BundleTag {
        BundleTag { bundle: self.bundle, count: self.mac.count(), tag: self.mac.tag() }
    }

    /// The tag of every bundle so far.
    pub fn all_tags(&self) -> Vec<BundleTag> {
        let mut tags = vec![];
        for (bundle, entries) in (0..).zip(self.entries.chunks(256)) {
            let mut mac = BundleMac::start(&self.key, bundle);
            entries.iter().for_each(|entry| mac.push(sceau_ledger::leaf_hash(entry)));
            tags.push(BundleTag { bundle, count: mac.count(), tag: mac.tag() });
        }
        tags
    }

    /// Commits batches, and stays as it was if that fails.
    pub async fn commit(&mut self, store: &impl Store, batches: Vec<Batch>) -> Result<(), CommitError> {
        self.commit_with(store, batches, vec![]).await
    }

    /// Commits batches and state.
    pub async fn commit_with(
        &mut self,
        store: &impl Store,
        batches: Vec<Batch>,
        state: Vec<StateWrite>,
    ) -> Result<(), CommitError> {
        let expected = self.head();
        let mut next = self.clone();
        let commit = next.commit_of(batches, state);
        store.commit(expected, commit).await?;
        *self = next;
        Ok(())
    }

    /// Commits JSON events of one source, one batch.
    pub async fn json(&mut self, store: &impl Store, source: &str, events: &[serde_json::Value]) {
        let batch = batch(|builder| {
            for event in events {
                builder.push_json(&framer(source, START), event.to_string().as_bytes()).unwrap();
            }
        });
        self.commit(store, vec![batch]).await.unwrap();
    }
}

/// An envelope of this source, received then.
pub fn framer(source: &str, received: i64) -> Framer {
    Framer::new(Micros(received), &SourceId::parse(source).unwrap(), &Meta::default())
}

/// A batch of what `fill` pushes.
pub fn batch(fill: impl FnOnce(&mut BatchBuilder)) -> Batch {
    let mut builder = BatchBuilder::new(deriver());
    fill(&mut builder);
    builder.finish().unwrap()
}

/// A batch of lines of one source.
pub fn lines(lines: &[&[u8]]) -> Batch {
    batch(|builder| {
        for line in lines {
            builder.push_line(&framer("lines", START), line).unwrap();
        }
    })
}

/// The text of a time.
pub fn text(time: i64) -> String {
    Micros(time).to_string()
}
