//! Everything a store holds, to be tampered with.

use sceau_ledger::*;

use super::common::{Memory, entry};

pub const ORIGIN: &str = "logs.example/sceau";
pub const SECOND: i64 = 1_000_000;

/// Everything a store holds, to be tampered with.
#[derive(Clone)]
pub struct Store {
    pub entries: Vec<Option<Vec<u8>>>,
    pub prefixes: Vec<[u8; 4]>,
    pub received: Vec<i64>,
    pub tiles: Vec<TileHash>,
    pub macs: Vec<(u64, u16, [u8; 32])>,
    pub seals: Vec<String>,
    pub checkpoints: Vec<String>,
    pub head: Head,
    pub outside: Vec<String>,
    pub mac_key: bool,
    pub pin: bool,
    pub current: u64,
}

pub fn log_key() -> LogKey {
    LogKey::from_seed(ORIGIN, &[7; 32]).unwrap()
}

pub fn mac_key() -> MacKey {
    MacKey::from_bytes([5; 32])
}

pub fn epoch_key(epoch: u64) -> EpochKey {
    EpochKey::from_seed(epoch, &[(epoch as u8).wrapping_add(100); 32])
}

pub fn heads(size: u64) -> Vec<Head> {
    let mut tree = Tree::new();
    let mut heads = vec![tree.head()];
    for n in 0..size {
        tree.append(&[leaf_hash(&entry(n))]);
        heads.push(tree.head());
    }
    heads
}

/// Seals over these sizes, 50 s apart, the first at 100 s.
pub fn seals(sizes: &[u64], heads: &[Head]) -> Vec<String> {
    let mut previous = FIRST_PREVIOUS;
    let mut texts = Vec::new();
    for (size, epoch) in sizes.iter().zip(0u64..) {
        let body = SealBody {
            origin: ORIGIN.into(),
            writer: WriterId([1; 16]),
            epoch,
            head: heads[*size as usize],
            time_micros: (100 + 50 * epoch as i64) * SECOND,
            previous,
            next: epoch_key(epoch + 1).public(),
        };
        let seal = Seal::close(body, &epoch_key(epoch)).unwrap();
        previous = seal.hash();
        texts.push(seal.text().to_owned());
    }
    texts
}

pub fn store(size: u64) -> Store {
    let memory = Memory::of((0..size).map(entry));
    let heads = heads(size);
    let sizes: Vec<u64> = (0..=size).step_by(100).filter(|at| *at > 0).collect();
    let macs = memory.leaves.chunks(256).zip(0..).map(|(leaves, bundle)| {
        let mut mac = BundleMac::start(&mac_key(), bundle);
        leaves.iter().for_each(|leaf| mac.push(*leaf));
        (bundle, mac.count(), mac.tag())
    });
    let checkpoints = (0..=size).step_by(40).map(|at| sign_checkpoint(&log_key(), &heads[at as usize]));
    Store {
        entries: (0..size).map(|n| Some(entry(n))).collect(),
        prefixes: memory.leaves.iter().map(|leaf| leaf.0[..4].try_into().unwrap()).collect(),
        received: (0..size as i64).map(|n| (50 + n / 2) * SECOND).collect(),
        tiles: memory.completed.clone(),
        macs: macs.collect(),
        current: sizes.len() as u64,
        seals: seals(&sizes, &heads),
        checkpoints: checkpoints.collect(),
        head: memory.tree.head(),
        outside: vec![sign_checkpoint(&log_key(), &heads[size as usize / 2])],
        mac_key: true,
        pin: true,
    }
}

impl Store {
    pub fn input(&self) -> AuditInput {
        AuditInput {
            origin: ORIGIN.into(),
            head: self.head,
            history: KeyHistory::new(log_key().verifier(), epoch_key(0).public()),
            mac_keys: self.mac_key.then(|| MacKeys::new(0, mac_key())),
            current_epoch: Some(epoch_key(self.current).public()),
            pins: self.pin.then(|| epoch_key(0).public()).into_iter().collect(),
            outside: self.outside.iter().map(|note| note.clone().into_bytes()).collect(),
        }
    }

    pub fn auditor(&self) -> Auditor {
        Auditor::new(self.input())
    }

    pub fn entries(&self, auditor: &mut Auditor) {
        for (n, bytes) in self.entries.iter().enumerate() {
            let prefix = self.prefixes.get(n).copied();
            auditor.entry(Index(n as u64), bytes.as_deref(), prefix, self.received.get(n).copied());
        }
    }

    pub fn side(&self, auditor: &mut Auditor) {
        self.tiles.iter().for_each(|tile| auditor.tile_hash(tile.level, tile.position, tile.hash));
        self.macs.iter().for_each(|(bundle, count, tag)| auditor.bundle_mac(*bundle, *count, *tag));
    }

    pub fn audit(&self) -> Verdict {
        let mut auditor = self.auditor();
        self.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
        self.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
        self.side(&mut auditor);
        self.entries(&mut auditor);
        auditor.finish()
    }

    /// MACs and tiles after the entries.
    pub fn audit_late(&self) -> Verdict {
        let mut auditor = self.auditor();
        self.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
        self.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
        self.entries(&mut auditor);
        self.side(&mut auditor);
        auditor.finish()
    }

    /// Changes an entry and what is stored beside it.
    pub fn forge(&mut self, n: usize) {
        self.entries[n] = Some(b"forged".to_vec());
        self.prefixes[n] = leaf_hash(b"forged").0[..4].try_into().unwrap();
    }

    /// Makes the stored tiles those of the entries as they are now.
    pub fn forge_tiles(&mut self) {
        self.tiles = Memory::of(self.entries.iter().flatten().cloned()).completed;
    }
}
