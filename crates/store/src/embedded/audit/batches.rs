//! The tail for the auditor: batches as they lie in SQLite, whatever they say of themselves.

use std::collections::HashMap;

use bytes::Bytes;
use sceau_ledger::{Fault, FaultKind, leaf_hash};

use super::{
    super::{db, ledger::usize_of, tail},
    CHUNK, CHUNK_BYTES, TAIL_ROWS, from,
};
use crate::traits::AuditChunk;

/// More entries than a commit ever has.
const MOST_ROWS: u64 = 8 * CHUNK as u64;

/// Where a batch really ends: its `count` may say anything.
pub(super) fn effective_end(row: &db::TailRow) -> u64 {
    row.first.saturating_add(row.count.min((row.prefixes.len() / 4) as u64).clamp(1, MOST_ROWS))
}

/// Batches of the tail that hold something from `first` on, as long as they follow each other, up to [`CHUNK`] rows and
/// about [`CHUNK_BYTES`].
pub(super) fn tail_chunk(first: u64, rows: &[db::TailRow]) -> AuditChunk {
    let mut chunk: Option<AuditChunk> = None;
    let mut inflated = 0;
    for row in rows {
        match &chunk {
            None if effective_end(row) <= first => continue,
            Some(begun) => {
                let next = begun.first + begun.entries.len() as u64;
                let rows = (begun.entries.len() as u64).saturating_add(row.count);
                if row.first != next || rows > CHUNK as u64 || inflated >= CHUNK_BYTES {
                    break;
                }
            }
            None => (),
        }
        inflated += add_batch(row, chunk.get_or_insert_with(|| AuditChunk { first: row.first, ..Default::default() }));
    }
    from(first, chunk.unwrap_or_else(|| AuditChunk { first, ..Default::default() }))
}

/// Says how many bytes the batch has, inflated.
fn add_batch(row: &db::TailRow, chunk: &mut AuditChunk) -> usize {
    let (inflated, whole) = tail::inflate(&row.data);
    let inflated = Bytes::from(inflated);
    let count = usize_of(effective_end(row) - row.first);
    // There may be any number of lines and hashes; more than these tell nothing new.
    let most = 2 * count + TAIL_ROWS;
    let mut lines: Vec<&[u8]> = tail::lines(&inflated).take(most).collect();
    let (hashes, rest) = row.prefixes.as_chunks::<4>();
    let stored = hashes.get(..most).unwrap_or(hashes);
    let last = row.first + count as u64 - 1;
    if !whole {
        // The last line is cut somewhere; what came before it can still be compared.
        lines.pop();
        let from = row.first + lines.len().min(count - 1) as u64;
        let detail = "the batch can't be inflated from here on";
        chunk.faults.push(Fault::range(FaultKind::EntryUnreadable, from, last, detail));
    }
    if hashes.len() as u64 != row.count || !rest.is_empty() {
        let detail = format!("the batch says {} entries and keeps {} hashes", row.count, hashes.len());
        chunk.faults.push(Fault::range(FaultKind::Prefix, row.first, last, detail));
    }
    let places =
        if whole && lines.len() != count { align(&lines, stored, row.first, count, chunk) } else { Vec::new() };
    // Of a batch that is not what it says, a few lines must not keep all the others in memory.
    let share = whole && lines.len() == count;
    let held = |line: &[u8]| if share { inflated.slice_ref(line) } else { Bytes::copy_from_slice(line) };
    for place in 0..count {
        let line = if places.is_empty() { lines.get(place).copied() } else { places[place].map(|line| lines[line]) };
        // Where a hash has no entry any more, the entry is missing, not unreadable.
        let taken = line.is_none() && !places.is_empty();
        chunk.entries.push(line.map(held));
        chunk.prefixes.push(stored.get(place).copied().filter(|_| !taken));
    }
    inflated.len()
}

/// Which line belongs to which place, by the stored hashes, where lines were added to or taken out of a batch.
fn align(lines: &[&[u8]], stored: &[[u8; 4]], first: u64, count: usize, chunk: &mut AuditChunk) -> Vec<Option<usize>> {
    let hashes: Vec<[u8; 4]> = lines
        .iter()
        .map(|line| {
            let leaf = leaf_hash(line).0;
            [leaf[0], leaf[1], leaf[2], leaf[3]]
        })
        .collect();
    // The last place of each hash answers "does it come later?" without looking through the rest every time.
    let last_stored: HashMap<&[u8; 4], usize> = stored.iter().enumerate().map(|(place, hash)| (hash, place)).collect();
    let last_line: HashMap<&[u8; 4], usize> = hashes.iter().enumerate().map(|(line, hash)| (hash, line)).collect();
    let mut places = vec![None; count];
    let mut line = 0;
    for (place, found) in places.iter_mut().enumerate() {
        let wanted = stored.get(place);
        let later = |hash: &[u8; 4]| last_stored.get(hash).is_some_and(|last| *last > place);
        while line < lines.len()
            && Some(&hashes[line]) != wanted
            && !later(&hashes[line])
            && wanted.is_some_and(|wanted| last_line.get(wanted).is_some_and(|last| *last > line))
        {
            let detail = "an entry stands here that was never committed";
            chunk.faults.push(Fault::at(FaultKind::EntryExtra, first + place as u64, detail));
            line += 1;
        }
        if line < lines.len() && (Some(&hashes[line]) == wanted || !later(&hashes[line])) {
            *found = Some(line);
            line += 1;
        } else {
            let detail = "the entry was taken out of its batch";
            chunk.faults.push(Fault::at(FaultKind::EntryMissing, first + place as u64, detail));
        }
    }
    if line < lines.len() {
        let detail = format!("{} entries stand behind this one that were never committed", lines.len() - line);
        chunk.faults.push(Fault::at(FaultKind::EntryExtra, first + count as u64 - 1, detail));
    }
    places
}

#[cfg(test)]
mod tests;
