//! The bytes of the epoch key file: two slots, so that a new key is durable before the old one is destroyed.
//!
//! Pure functions; who writes what when is told in `docs/format.md`, "Crash order of every key step".

use crate::{EpochKey, EpochPublic, LedgerError};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of one slot: a whole block, so that writing one slot can't tear the other.
pub const SLOT_SIZE: usize = 4096;
/// Bytes of the file: slot 0, slot 1.
pub const FILE_SIZE: usize = 2 * SLOT_SIZE;

const MAGIC: &[u8; 8] = b"SCEAUEPK";
const VERSION: u32 = 1;
/// Where the SHA-256 of everything before it in the slot lies, in every version of the format.
const CHECKSUM: usize = SLOT_SIZE - 32;

/// One epoch key as it lies in the file. The seed is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which slot of the file, 0 or 1; it begins at byte `place × SLOT_SIZE`.
    pub place: u8,
    /// Counts up by one with each slot written. The higher of two is the newer.
    pub sequence: u64,
    /// The key's epoch.
    pub epoch: u64,
    /// The key's Ed25519 seed.
    pub seed: Zeroizing<[u8; 32]>,
}

impl Slot {
    /// The key in the slot.
    #[must_use]
    pub fn key(&self) -> EpochKey {
        EpochKey::from_seed(self.epoch, &self.seed)
    }

    /// The slot for the next epoch's key: the other place, the next sequence number.
    #[must_use]
    pub fn next(&self, key: &EpochKey) -> Slot {
        Slot { place: 1 - self.place.min(1), sequence: self.sequence + 1, epoch: key.epoch(), seed: key.seed() }
    }

    /// The very first slot of a new key directory.
    #[must_use]
    pub fn first(key: &EpochKey) -> Slot {
        Slot { place: 0, sequence: 0, epoch: key.epoch(), seed: key.seed() }
    }

    /// Whether it is the first of its key directory, which has sealed nothing.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.sequence == 0 && self.epoch == 0
    }

    /// Where the slot begins in the file, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        u64::from(self.place) * SLOT_SIZE as u64
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot(place {}, sequence {}, epoch {}, redacted)", self.place, self.sequence, self.epoch)
    }
}

/// The bytes of a slot, to be written at [`Slot::offset`].
#[must_use]
pub fn encode(slot: &Slot) -> Zeroizing<[u8; SLOT_SIZE]> {
    let mut bytes = Zeroizing::new([0u8; SLOT_SIZE]);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    bytes[12..20].copy_from_slice(&slot.sequence.to_be_bytes());
    bytes[20..28].copy_from_slice(&slot.epoch.to_be_bytes());
    bytes[28..60].copy_from_slice(slot.seed.as_slice());
    let checksum = Sha256::digest(&bytes[..CHECKSUM]);
    bytes[CHECKSUM..].copy_from_slice(&checksum);
    bytes
}

/// The bytes of a slot without a key, which overwrite a destroyed one.
#[must_use]
pub fn wiped() -> [u8; SLOT_SIZE] {
    [0; SLOT_SIZE]
}

/// Reads the key file. A slot that was being written or wiped when the machine stopped is left out as long as the other
/// one is good. The oldest key comes first.
///
/// # Errors
/// [`LedgerError::KeyFileSize`], [`LedgerError::KeyFileVersion`] for an intact slot of a newer version,
/// [`LedgerError::KeyFileUnreadable`] if no slot holds a key.
pub fn decode(file: &[u8]) -> Result<Vec<Slot>, LedgerError> {
    if file.len() != FILE_SIZE {
        return Err(LedgerError::KeyFileSize { found: file.len(), expected: FILE_SIZE });
    }
    let mut slots = Vec::new();
    let mut damaged = false;
    for (bytes, place) in file.chunks_exact(SLOT_SIZE).zip(0u8..) {
        match decode_slot(bytes, place)? {
            Some(slot) => slots.push(slot),
            None => damaged |= bytes.iter().any(|byte| *byte != 0),
        }
    }
    slots.sort_by_key(|slot| slot.sequence);
    match slots.as_slice() {
        [] if damaged => Err(LedgerError::KeyFileUnreadable("damaged")),
        [] => Err(LedgerError::KeyFileUnreadable("both are empty")),
        [older, newer] if older.sequence == newer.sequence => {
            Err(LedgerError::KeyFileUnreadable("both claim the same sequence number"))
        }
        _ => Ok(slots),
    }
}

fn decode_slot(bytes: &[u8], place: u8) -> Result<Option<Slot>, LedgerError> {
    let (content, checksum) = bytes.split_at(CHECKSUM);
    if content.get(..8) != Some(MAGIC.as_slice()) || Sha256::digest(content).as_slice() != checksum {
        return Ok(None);
    }
    let number = |from: usize| {
        let bytes = content.get(from..from + 8).unwrap_or_default();
        bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let version = (number(8) >> 32) as u32;
    if version != VERSION {
        return Err(LedgerError::KeyFileVersion { found: version, known: VERSION });
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    seed.copy_from_slice(content.get(28..60).unwrap_or(&[0; 32]));
    Ok(Some(Slot { place, sequence: number(12), epoch: number(20), seed }))
}

/// Which key is the present epoch's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The key to go on with.
    pub slot: Slot,
    /// The place that must be overwritten with [`wiped`] before anything is sealed: it may hold a spent key, or a torn
    /// or unused one.
    pub wipe: u8,
}

/// Picks the present epoch's key among the slots that [`decode`] found.
///
/// `epoch` and `public` are what the store asks for: one more than the last stored seal's epoch and the `next` key of
/// that seal; without any seal 0 and the first public key noted at `init`. While another writer seals, epochs go by that
/// its slots know nothing of: so a key is known by itself, and given the epoch that it is used for.
///
/// # Errors
/// [`LedgerError::KeyFileOther`] if no slot holds that key: store and key directory don't belong together, or one of
/// them was rolled back.
pub fn choose(slots: &[Slot], epoch: u64, public: &EpochPublic) -> Result<Chosen, LedgerError> {
    if let Some(slot) = slots.iter().find(|slot| slot.epoch <= epoch && slot.key().public() == *public) {
        return Ok(Chosen { slot: Slot { epoch, ..slot.clone() }, wipe: 1 - slot.place.min(1) });
    }
    let held: Vec<String> = slots.iter().map(|slot| slot.epoch.to_string()).collect();
    let newest = slots.iter().map(|slot| slot.epoch).max().unwrap_or(0);
    let reason = match newest.cmp(&epoch) {
        std::cmp::Ordering::Greater => "the store's last seals are missing",
        std::cmp::Ordering::Less => "the key directory is an old copy",
        std::cmp::Ordering::Equal => "they belong to different logs or chains",
    };
    Err(LedgerError::KeyFileOther { wanted: epoch, held: held.join(", "), reason })
}
