//! The set of a row group's tokens, of which a look takes a few bytes from the file, however large it is.
//!
//! A binary fuse filter (Graf and Lemire 2022) as the crate `xorf` builds it: seed (u64), segment length, its mask and
//! the length of all segments but two (u32), then the fingerprints; all little-endian.

use parquet::file::reader::ChunkReader as _;
use xorf::{BinaryFuse16, DmaSerializable as _};

use super::segment::Pread;
use crate::{
    error::StoreError,
    query::words::{Rules, Token},
};

/// Bytes before the fingerprints.
const HEADER: usize = BinaryFuse16::DESCRIPTOR_LEN;

/// The filter's bytes for a set of hashes, by the newest rules; none for the empty set.
pub fn encode(mut hashes: Vec<u64>) -> Result<Vec<u8>, StoreError> {
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let filter = BinaryFuse16::try_from(&hashes)
        .map_err(|error| StoreError::Internal(format!("a word filter could not be built: {error}")))?;
    Ok(written(&filter))
}

fn written(filter: &BinaryFuse16) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    filter.dma_copy_descriptor_to(&mut bytes);
    bytes.extend(filter.fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()));
    bytes
}

/// A filter that can be asked. There are no false negatives; one in 256 of what is not there is said to be there under
/// [`Rules::Words`], one in 65,536 under the newer rules.
#[derive(Debug)]
pub struct WordFilter {
    rules: Rules,
    seed: u64,
    segment: u64,
    counted: u64,
    fingerprints: Fingerprints,
}

#[derive(Debug)]
enum Fingerprints {
    /// In the file, from an offset on.
    File(Pread, u64),
    /// All of them.
    Memory(bytes::Bytes),
}

impl WordFilter {
    /// The filter at some place of a file, to be asked now and then. `None` if it can't be used, so that everything may
    /// match.
    pub fn open(file: &Pread, rules: Rules, place: (u64, u64)) -> Option<Self> {
        Self::at(file, rules, place, |offset, _| Some(Fingerprints::File(file.clone(), offset)))
    }

    /// The same to be asked often: all of it is read now.
    pub fn load(file: &Pread, rules: Rules, place: (u64, u64)) -> Option<Self> {
        Self::at(file, rules, place, |offset, length| Some(Fingerprints::Memory(file.get_bytes(offset, length).ok()?)))
    }

    fn at(
        file: &Pread,
        rules: Rules,
        (offset, length): (u64, u64),
        fingerprints: impl FnOnce(u64, usize) -> Option<Fingerprints>,
    ) -> Option<Self> {
        let mut header = [0; HEADER];
        let length = usize::try_from(length).ok()?.checked_sub(HEADER)?;
        file.read_exact_at(&mut header, offset).ok()?;
        let part = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(u64::MAX, |bytes| u64::from(u32::from_le_bytes(bytes)))
        };
        let (segment, mask, counted) = (part(8), part(12), part(16));
        // A file that somebody altered must not make us look elsewhere.
        let shaped = segment.is_power_of_two() && mask == segment - 1 && counted.is_multiple_of(segment);
        if !shaped || (counted + 2 * segment) * width(rules) > length as u64 {
            return None;
        }
        let seed = part(4) << 32 | part(0);
        let fingerprints = fingerprints(offset.checked_add(HEADER as u64)?, length)?;
        Some(Self { rules, seed, segment, counted, fingerprints })
    }

    /// Whether the token may be in the set. What can't be read may be there.
    pub fn contains(&self, token: Token) -> bool {
        token.under(self.rules).is_none_or(|hash| self.holds(hash))
    }

    /// Whether the hash of a token may be in the set.
    pub fn holds(&self, hash: u64) -> bool {
        let hash = mix(hash.wrapping_add(self.seed));
        let places = self.places(hash);
        let wanted = (hash ^ (hash >> 32)) & (u64::MAX >> (64 - 8 * width(self.rules)));
        let found = places.into_iter().try_fold(0, |found, place| Some(found ^ self.fingerprint(place)?));
        found.is_none_or(|found| found == wanted)
    }

    fn places(&self, hash: u64) -> [u64; 3] {
        let first = ((u128::from(hash) * u128::from(self.counted)) >> 64) as u64;
        let mask = self.segment - 1;
        [first, (first + self.segment) ^ ((hash >> 18) & mask), (first + 2 * self.segment) ^ (hash & mask)]
    }

    fn fingerprint(&self, place: u64) -> Option<u64> {
        let width = width(self.rules);
        let at = place * width;
        match (&self.fingerprints, width) {
            (Fingerprints::Memory(all), 1) => all.get(usize::try_from(at).ok()?).map(|byte| u64::from(*byte)),
            (Fingerprints::Memory(all), _) => {
                let bytes = all.get(usize::try_from(at).ok()?..)?.first_chunk()?;
                Some(u64::from(u16::from_le_bytes(*bytes)))
            }
            (Fingerprints::File(file, from), width) => {
                let mut bytes = [0; 8];
                file.read_exact_at(bytes.get_mut(..width as usize)?, from.checked_add(at)?).ok()?;
                Some(u64::from_le_bytes(bytes))
            }
        }
    }
}

/// Bytes of a fingerprint.
fn width(rules: Rules) -> u64 {
    match rules {
        Rules::Words => 1,
        Rules::Addresses => 2,
    }
}

/// MurmurHash3's finaliser, as `xorf` has it.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use xorf::{BinaryFuse8, DmaSerializable, Filter};

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, Pread) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(b"behind").unwrap();
        let opened = Pread::open(file.path()).unwrap();
        (file, opened)
    }

    fn keys(count: u64) -> Vec<u64> {
        (0..count).map(|n| mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    }

    /// What version 1 wrote.
    fn encode_8(hashes: &[u64]) -> (Vec<u8>, BinaryFuse8) {
        let filter = BinaryFuse8::try_from(hashes).unwrap();
        let mut bytes = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(filter.dma_fingerprints());
        (bytes, filter)
    }

    #[test]
    fn answers_are_those_of_the_crate_that_builds_it() {
        for count in [1, 2, 7, 100, 30_000] {
            let keys = keys(count);
            let asked: Vec<u64> = keys.iter().copied().chain((0..20_000).map(|n| n << 40 | 5)).collect();
            let (old, old_filter) = encode_8(&keys);
            let new_filter = BinaryFuse16::try_from(&keys).unwrap();
            for (rules, bytes, wanted) in [
                (Rules::Words, old, &old_filter as &dyn Filter<u64>),
                (Rules::Addresses, written(&new_filter), &new_filter),
            ] {
                let (_file, opened) = file(&bytes);
                let place = (6, bytes.len() as u64);
                let probed = WordFilter::open(&opened, rules, place).unwrap();
                let loaded = WordFilter::load(&opened, rules, place).unwrap();
                for hash in &asked {
                    let wanted = wanted.contains(hash);
                    assert_eq!((probed.holds(*hash), loaded.holds(*hash)), (wanted, wanted), "{rules:?} {count}");
                }
            }
        }
    }

    #[test]
    fn older_filters_don_t_know_addresses() {
        let (bytes, _) = encode_8(&keys(1_000));
        let (_file, opened) = file(&bytes);
        let filter = WordFilter::open(&opened, Rules::Words, (6, bytes.len() as u64)).unwrap();
        let absent: Vec<u64> = (1..2_000).map(|n| n << 32).collect();
        assert!(absent.iter().all(|hash| filter.contains(Token::Address(*hash))));
        assert!(absent.iter().filter(|hash| filter.contains(Token::Word(**hash))).count() < 100);
    }

    #[test]
    fn altered_filters_hide_nothing_and_stop_nobody() {
        let bytes = encode(keys(1_000)).unwrap();
        let (_file, opened) = file(&bytes);
        let length = bytes.len() as u64;
        for place in [(0, 0), (6, 19), (6, length - 2), (u64::MAX, length), (length + 100, length)] {
            assert!(WordFilter::open(&opened, Rules::Addresses, place).is_none(), "{place:?}");
        }
        for at in 8..20 {
            let mut altered = bytes.clone();
            altered[at] ^= 0x55;
            let (_file, opened) = file(&altered);
            if let Some(filter) = WordFilter::open(&opened, Rules::Addresses, (6, length)) {
                keys(100).into_iter().for_each(|hash| {
                    filter.holds(hash);
                });
            }
        }
        // Cut behind us.
        let (file, opened) = file(&bytes);
        let filter = WordFilter::open(&opened, Rules::Addresses, (6, length)).unwrap();
        file.as_file().set_len(40).unwrap();
        assert!((1..100).all(|hash| filter.holds(hash << 50)));
    }
}
