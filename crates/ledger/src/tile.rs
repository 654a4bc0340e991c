//! Tile paths and entry bundles (C2SP tlog-tiles).
//!
//! `tlog_tiles` has the paths of the Go checksum database (with a height, and `data` for entries) and panics on some
//! malformed ones, so the C2SP paths are parsed here.

use crate::LedgerError;
use std::fmt;
use std::str::FromStr;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// The longest entry in bytes: an entry bundle has 16 bits for a length.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of this level, 0 (leaves) to 63.
    Level(u8),
    /// The entries themselves.
    Entries,
}

/// The path of a tile below `/log/tile/`: `0/x001/x234/067.p/12`, `entries/000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TilePath {
    /// Level, or entries.
    pub kind: TileKind,
    /// Number of the tile within its level.
    pub n: u64,
    /// Width of a partial tile, 1 to 255; `None` for a full one.
    pub width: Option<u8>,
}

impl TilePath {
    /// Hashes or entries in the tile: 1 to 256.
    #[must_use]
    pub fn len(&self) -> u16 {
        self.width.map_or(TILE_WIDTH, u16::from)
    }

    /// Never: there are no empty tiles.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Level(level) => write!(f, "{level}")?,
            TileKind::Entries => f.write_str("entries")?,
        }
        let mut divisor = 1u64;
        while self.n / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "/x{:03}", self.n / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "/{:03}", self.n % 1000)?;
        self.width.map_or(Ok(()), |width| write!(f, ".p/{width}"))
    }
}

impl FromStr for TilePath {
    type Err = LedgerError;

    /// Accepts the canonical form only: what is displayed again must be equal to `text`.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let error = || LedgerError::TilePath(text.chars().take(80).collect());
        let path = parse_path(text).ok_or_else(error)?;
        if path.to_string() == text { Ok(path) } else { Err(error()) }
    }
}

fn parse_path(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Level(level.parse().ok().filter(|level| *level < 64)?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, Some(width.parse().ok().filter(|width| *width > 0)?)),
        None => (rest, None),
    };
    let mut n = 0u64;
    for digits in number.split('/') {
        let digits: u16 = digits.trim_start_matches('x').parse().ok().filter(|digits| *digits < 1000)?;
        n = n.checked_mul(1000)?.checked_add(u64::from(digits))?;
    }
    Some(TilePath { kind, n, width })
}

/// Writes entries as a C2SP entry bundle: each with its length before it, 16 bits, big-endian.
///
/// # Errors
/// [`LedgerError::EntryTooLong`] for an entry of more than [`MAX_ENTRY_BYTES`].
pub fn bundle(entries: &[&[u8]]) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
    for (position, entry) in entries.iter().enumerate() {
        let too_long = |_| LedgerError::EntryTooLong { position, length: entry.len() };
        let length = u16::try_from(entry.len()).map_err(too_long)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}
