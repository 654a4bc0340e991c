//! The newest committed heads: two checksummed slots, overwritten in turn and in place.
//!
//! A stop can tear the slot that was being written, never the other. So a damaged slot is passed over as long as the
//! other one is whole, or was never written; with both damaged nobody knows any more where the log was left.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use sceau_ledger::{Head, RootHash, TreeSize};
use sha2::{Digest as _, Sha256};

use super::open_in_place;
use crate::error::ServerError;

/// Bytes between the slots: a disk sector, so that writing one can't tear the other.
const STRIDE: usize = 512;
/// Bytes of the file.
pub(super) const SIZE: usize = 2 * STRIDE;
/// What a slot of every version begins with; the byte behind it is the version.
const MAGIC: &[u8; 7] = b"SCEAUHD";
const VERSION: u8 = b'1';
const CONTENT: usize = 8 + 8 + 8 + 32;
const SLOT: usize = CONTENT + 32;

/// The file of heads.
#[derive(Debug)]
pub struct Heads {
    file: File,
    sequence: u64,
    newest: Option<Head>,
}

/// What is in a slot.
enum Slot {
    /// Nothing yet.
    Empty,
    Note(u64, Head),
    Damaged,
    /// A note by a newer version.
    Newer(char),
}

impl Heads {
    /// Opens the file; `None` if neither slot holds what was written into it.
    ///
    /// # Errors
    /// It can't be read, or a newer version wrote it.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, ServerError> {
        let mut heads = Self { file: open_in_place(path)?, sequence: 0, newest: None };
        let mut damaged = 0;
        for place in 0..2u64 {
            let mut bytes = [0; SLOT];
            let slot = match heads.file.read_exact_at(&mut bytes, place * STRIDE as u64) {
                Ok(()) => decode(&bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Slot::Damaged,
                Err(error) => return Err(ServerError::io(format!("reading {}", path.display()))(error)),
            };
            match slot {
                Slot::Empty => {}
                Slot::Damaged => damaged += 1,
                Slot::Newer(version) => {
                    let reason = format!("has format {version}, this version reads up to 1; use a newer sceau");
                    return Err(ServerError::KeyDir { path: path.to_owned(), reason });
                }
                Slot::Note(sequence, head) if sequence > heads.sequence => {
                    heads.sequence = sequence;
                    heads.newest = Some(head);
                }
                Slot::Note(..) => {}
            }
        }
        Ok((damaged < 2).then_some(heads))
    }

    /// The newest head noted.
    pub fn newest(&self) -> Option<Head> {
        self.newest
    }

    pub(super) fn write(&mut self, head: &Head) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.write_all_at(&encode(sequence, head), (sequence % 2) * STRIDE as u64)?;
        self.sequence = sequence;
        self.newest = Some(*head);
        Ok(())
    }
}

fn encode(sequence: u64, head: &Head) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..7].copy_from_slice(MAGIC);
    bytes[7] = VERSION;
    bytes[8..16].copy_from_slice(&sequence.to_be_bytes());
    bytes[16..24].copy_from_slice(&head.size.0.to_be_bytes());
    bytes[24..CONTENT].copy_from_slice(&head.root.0);
    let checksum = Sha256::digest(&bytes[..CONTENT]);
    bytes[CONTENT..].copy_from_slice(&checksum);
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let (content, checksum) = bytes.split_at(CONTENT);
    match content[7] {
        VERSION => {}
        // Where the checksum of another version stands is not known. Only a slot that was never written before has a 0.
        version if version != 0 && &content[..7] == MAGIC => return Slot::Newer(char::from(version)),
        _ => return Slot::Damaged,
    }
    if &content[..7] != MAGIC || Sha256::digest(content).as_slice() != checksum {
        return Slot::Damaged;
    }
    let number = |from: usize| content[from..from + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let root = content[24..].try_into().unwrap_or([0; 32]);
    Slot::Note(number(8), Head { size: TreeSize(number(16)), root: RootHash(root) })
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    fn head(size: u64) -> Head {
        Head { size: TreeSize(size), root: RootHash([size as u8; 32]) }
    }

    /// A new file with so many notes, open for whoever damages it.
    fn noted(count: u64) -> (NamedTempFile, Heads) {
        let file = NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&[0; SIZE], 0).unwrap();
        let mut heads = Heads::open(file.path()).unwrap().unwrap();
        assert_eq!(heads.newest(), None);
        for size in 1..=count {
            heads.write(&head(size)).unwrap();
            assert_eq!(newest(&file), Some(head(size)));
        }
        (file, heads)
    }

    fn newest(file: &NamedTempFile) -> Option<Head> {
        Heads::open(file.path()).unwrap().unwrap().newest()
    }

    fn put(file: &NamedTempFile, place: u64, bytes: &[u8]) {
        file.as_file().write_all_at(bytes, place * STRIDE as u64).unwrap();
    }

    #[test]
    fn a_torn_write_leaves_the_note_before() {
        // Of the first note ever there is none before.
        for (count, left) in [(1, None), (2, Some(head(1))), (5, Some(head(4)))] {
            for torn in [1, 7, 8, 16, 20, CONTENT, SLOT - 1] {
                let (file, heads) = noted(count);
                let whole = encode(count, &head(count));
                let mut bytes = if count > 2 { encode(count - 2, &head(count - 2)) } else { [0; SLOT] };
                bytes[..torn].copy_from_slice(&whole[..torn]);
                put(&file, heads.sequence % 2, &bytes);
                let mut again = Heads::open(file.path()).unwrap().unwrap();
                assert_eq!(again.newest(), left, "{count} notes, {torn} bytes of the last");
                // It goes on in the torn slot.
                again.write(&head(9)).unwrap();
                assert_eq!(newest(&file), Some(head(9)));
            }
        }
    }

    #[test]
    fn garbage_in_one_slot_leaves_the_other_and_in_both_nothing() {
        let (file, _) = noted(5);
        put(&file, 0, &[0xA5; SLOT]);
        assert_eq!(newest(&file), Some(head(5)));
        put(&file, 1, &[0xA5; SLOT]);
        assert!(Heads::open(file.path()).unwrap().is_none());
        file.as_file().set_len(0).unwrap();
        assert!(Heads::open(file.path()).unwrap().is_none());
    }

    #[test]
    fn a_newer_note_is_refused_by_name_wherever_it_stands() {
        for place in 0..2 {
            let (file, _) = noted(5);
            put(&file, place, b"SCEAUHD2");
            let refused = Heads::open(file.path()).unwrap_err().to_string();
            assert!(refused.contains("format 2") && refused.contains("newer sceau"), "{refused}");
        }
    }
}
