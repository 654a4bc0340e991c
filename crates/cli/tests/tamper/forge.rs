//! An attacker's program: it holds every key that the server has now, and writes a log anew from its entries.

use std::{path::Path, sync::Arc};

use rusqlite::params;
use sceau_event::Deriver;
use sceau_ledger::{
    BundleMac, EpochKey, FIRST_PREVIOUS, Head, Index, LeafHash, Seal, SealBody, Tree, WriterId, leaf_hash,
    sign_checkpoint,
};
use sceau_server::KeyDir;
use sceau_store::{
    Ledger as _, Store as _,
    embedded::{Embedded, Options, segment::DIRECTORY},
};

use crate::{
    common::Place,
    edit::{Batch, put_batch},
    victim::database,
};

/// The first entries, as they are stored.
pub fn entries(data: &Path, count: u64) -> Vec<Vec<u8>> {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let inspect = Options { inspect: true, ..Options::default() };
        let store = Embedded::open(data, Arc::new(Deriver::builtin()), inspect).await.unwrap();
        let mut entries: Vec<Vec<u8>> = Vec::new();
        while (entries.len() as u64) < count {
            let chunk = store.audit(Index(entries.len() as u64)).await.unwrap();
            assert!(!chunk.is_empty(), "the store ends at {}", entries.len());
            entries.extend(chunk.entries.into_iter().map(|entry| entry.unwrap().to_vec()));
        }
        store.close().await.unwrap();
        entries.truncate(usize::try_from(count).unwrap());
        entries
    })
}

/// A stolen log with its stolen keys.
pub struct Forge<'a> {
    place: &'a Place,
    keys: KeyDir,
    entries: Vec<Vec<u8>>,
    /// The head of each size.
    heads: Vec<Head>,
}

impl<'a> Forge<'a> {
    /// Takes a log with its first `count` entries, which `change` may rewrite.
    pub fn of(place: &'a Place, count: u64, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        let keys = KeyDir::open(&place.keys(), Some(&place.data())).unwrap();
        let mut entries = entries(&place.data(), count);
        change(&mut entries);
        let mut tree = Tree::new();
        let mut heads = vec![tree.head()];
        for entry in &entries {
            tree.append(&[leaf_hash(entry)]);
            heads.push(tree.head());
        }
        Self { place, keys, entries, heads }
    }

    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn entry(&self, index: u64) -> &[u8] {
        &self.entries[usize::try_from(index).unwrap()]
    }

    fn head(&self, size: u64) -> Head {
        self.heads[usize::try_from(size).unwrap()]
    }

    /// Everything in the tail, with the hashes, codes and head that belong to it, and the note of the head.
    pub fn put_entries(&self) {
        let data = self.place.data();
        let connection = database(&data);
        connection
            .execute_batch(
                "DELETE FROM tail; DELETE FROM tile; DELETE FROM mac; DELETE FROM segment; DELETE FROM leaf_tile",
            )
            .unwrap();
        for file in std::fs::read_dir(data.join(DIRECTORY)).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        for (lines, first) in self.entries.chunks(500).zip((0..).step_by(500)) {
            let prefixes = lines.iter().flat_map(|line| crate::edit::prefix(line)).collect();
            put_batch(&data, &Batch { first, lines: lines.to_vec(), prefixes });
        }
        let leaves: Vec<LeafHash> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        for tile in Tree::new().append(&leaves) {
            let row = params![tile.level, i64::try_from(tile.position).unwrap(), tile.hash.to_vec()];
            connection.execute("INSERT INTO tile VALUES (?1, ?2, ?3)", row).unwrap();
        }
        for (leaves, bundle) in leaves.chunks(256).zip(0u64..) {
            let macs = self.keys.mac_keys();
            let mut mac: BundleMac = macs.start(bundle);
            leaves.iter().for_each(|leaf| mac.push(*leaf));
            let row = params![i64::try_from(bundle).unwrap(), mac.count(), mac.tag().to_vec()];
            connection.execute("INSERT INTO mac VALUES (?1, ?2, ?3)", row).unwrap();
        }
        let head = self.head(self.size());
        let row = params![i64::try_from(head.size.0).unwrap(), head.root.0.to_vec()];
        connection.execute("UPDATE head SET size = ?1, root = ?2", row).unwrap();
        self.keys.note_head(&head).unwrap();
    }

    /// Signed by the log key, for the sizes that had one and are still reached.
    pub fn put_checkpoints(&self) {
        let connection = database(&self.place.data());
        let mut sizes = connection.prepare("SELECT size FROM checkpoint").unwrap();
        let sizes: Vec<i64> = sizes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        connection.execute("DELETE FROM checkpoint", []).unwrap();
        let reached = sizes.into_iter().filter(|size| size.unsigned_abs() <= self.size());
        for size in reached.chain([i64::try_from(self.size()).unwrap()]) {
            let note = sign_checkpoint(&self.keys.log_key(), &self.head(size.unsigned_abs()));
            connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?1, ?2)", params![size, note]).unwrap();
        }
    }

    /// A chain from a first key of the attacker's own to the present epoch's key, over the sizes and at the times given.
    pub fn put_seals(&self, plan: &[(u64, i64)]) {
        let current = self.keys.epoch_slots().unwrap().pop().unwrap();
        assert_eq!(current.epoch, plan.len() as u64, "one seal for each epoch that is over");
        let connection = database(&self.place.data());
        let writer: String =
            connection.query_row("SELECT value FROM fact WHERE name = 'writer'", [], |row| row.get(0)).unwrap();
        let writer: WriterId = writer.parse().unwrap();
        connection.execute("DELETE FROM seal", []).unwrap();
        let own = |epoch: u64| match epoch == current.epoch {
            true => current.key(),
            false => EpochKey::from_seed(epoch, &[77 + u8::try_from(epoch).unwrap(); 32]),
        };
        let mut previous = FIRST_PREVIOUS;
        for ((size, time_micros), epoch) in plan.iter().zip(0u64..) {
            let body = SealBody {
                origin: self.keys.origin().to_owned(),
                writer,
                epoch,
                head: self.head(*size),
                time_micros: *time_micros,
                previous,
                next: own(epoch + 1).public(),
            };
            let seal = Seal::close(body, &own(epoch)).unwrap();
            previous = seal.hash();
            put_seal(&connection, &seal);
        }
        let first = own(0).public().to_string();
        connection.execute("UPDATE fact SET value = ?1 WHERE name = 'first_epoch_key'", [first]).unwrap();
    }
}

pub fn put_seal(connection: &rusqlite::Connection, seal: &Seal) {
    let row = params![i64::try_from(seal.body().epoch).unwrap(), seal.text()];
    connection.execute("INSERT OR REPLACE INTO seal VALUES (?1, ?2)", row).unwrap();
}

/// The stored seals.
pub fn seals(place: &Place) -> Vec<Seal> {
    let connection = database(&place.data());
    let mut texts = connection.prepare("SELECT text FROM seal ORDER BY epoch").unwrap();
    let texts = texts.query_map([], |row| row.get::<_, String>(0)).unwrap();
    texts.map(|text| Seal::parse(text.unwrap().as_bytes()).unwrap()).collect()
}
