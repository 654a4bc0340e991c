//! The newest committed heads: two checksummed slots, overwritten in turn and in place.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use sceau_ledger::{Head, RootHash, TreeSize};
use sha2::{Digest as _, Sha256};

/// Bytes between the slots: a disk sector, so that writing one can't tear the other.
const STRIDE: usize = 512;
/// Bytes of the file.
pub(super) const SIZE: usize = 2 * STRIDE;
const MAGIC: &[u8; 8] = b"SCEAUHD1";
const CONTENT: usize = 8 + 8 + 8 + 32;
const SLOT: usize = CONTENT + 32;

/// The file of heads.
#[derive(Debug)]
pub struct Heads {
    file: File,
    sequence: u64,
    newest: Option<Head>,
}

impl Heads {
    pub(super) fn open(file: File) -> Result<Self, crate::ServerError> {
        let mut heads = Self { file, sequence: 0, newest: None };
        for place in 0..2u64 {
            let mut bytes = [0; SLOT];
            match heads.file.read_exact_at(&mut bytes, place * STRIDE as u64) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(source) => {
                    return Err(crate::ServerError::Io { context: "reading the noted heads".into(), source });
                }
            }
            if let Some((sequence, head)) = decode(&bytes).filter(|(sequence, _)| *sequence > heads.sequence) {
                heads.sequence = sequence;
                heads.newest = Some(head);
            }
        }
        Ok(heads)
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
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&sequence.to_be_bytes());
    bytes[16..24].copy_from_slice(&head.size.0.to_be_bytes());
    bytes[24..CONTENT].copy_from_slice(&head.root.0);
    let checksum = Sha256::digest(&bytes[..CONTENT]);
    bytes[CONTENT..].copy_from_slice(&checksum);
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Option<(u64, Head)> {
    let (content, checksum) = bytes.split_at(CONTENT);
    if &content[..8] != MAGIC || Sha256::digest(content).as_slice() != checksum {
        return None;
    }
    let number = |from: usize| content[from..from + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let root = content[24..].try_into().ok()?;
    Some((number(8), Head { size: TreeSize(number(16)), root: RootHash(root) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: u64) -> Head {
        Head { size: TreeSize(size), root: RootHash([size as u8; 32]) }
    }

    #[test]
    fn the_newest_whole_note_counts() {
        let file = tempfile::tempfile().unwrap();
        let mut heads = Heads::open(file.try_clone().unwrap()).unwrap();
        assert_eq!(heads.newest(), None);
        for size in 1..6 {
            heads.write(&head(size)).unwrap();
            assert_eq!(Heads::open(file.try_clone().unwrap()).unwrap().newest(), Some(head(size)));
        }
        // A torn write of the newest slot leaves the one before.
        file.write_all_at(b"torn", (heads.sequence % 2) * STRIDE as u64 + 20).unwrap();
        assert_eq!(Heads::open(file).unwrap().newest(), Some(head(4)));
    }
}
