#![allow(clippy::unwrap_used)]

use super::*;

const MIB: usize = 1 << 20;

/// A batch that says it has these lines' leaves, and whose blob is this.
fn row(first: u64, lines: &[&[u8]], blob: &[u8]) -> db::TailRow {
    let leaves: Vec<_> = lines.iter().map(|line| leaf_hash(line)).collect();
    let (count, prefixes) = (lines.len() as u64, tail::prefixes(&leaves));
    db::TailRow { first, count, prefixes, data: zstd::bulk::compress(blob, 1).unwrap() }
}

/// The memory that entries keep from being freed, which many of them may share.
fn held(entries: Vec<Option<Bytes>>) -> usize {
    // The last that holds a buffer gets all of it; taken from behind, that is the first in it.
    let freed = |entry: Bytes| entry.try_into_mut().map_or(0, |buffer| buffer.capacity());
    entries.into_iter().rev().flatten().map(freed).sum()
}

/// Chunk by chunk, as an auditor asks for them.
fn chunks(rows: &[db::TailRow]) -> Vec<AuditChunk> {
    let mut next = 0;
    let chunks = std::iter::from_fn(|| {
        let chunk = tail_chunk(next, rows);
        next = chunk.first + chunk.len() as u64;
        (!chunk.is_empty()).then_some(chunk)
    });
    chunks.collect()
}

#[test]
fn an_honest_batch_is_not_copied() {
    let lines: [&[u8]; 3] = [b"one", b"two", b"three"];
    let chunk = tail_chunk(5, &[row(5, &lines, b"one\ntwo\nthree\n")]);
    assert!(chunk.faults.is_empty());
    let entries: Vec<Bytes> = chunk.entries.into_iter().flatten().collect();
    assert_eq!(entries, lines);
    let behind = |entry: &Bytes| entry.as_ptr() as usize + entry.len() + 1;
    assert!(entries.is_sorted_by(|a, b| behind(a) == b.as_ptr() as usize), "in one buffer");
}

#[test]
fn blobs_that_inflate_to_far_more_than_they_say_are_named_and_take_little_memory() {
    let one: &[u8] = b"an entry as it was sealed";
    let added = [one, &b"\n{}".repeat(MIB)].concat();
    let rows: Vec<_> = (0..90).map(|first| row(first, &[one], &added)).collect();
    assert!(rows.iter().all(|row| row.data.len() < MIB / 64), "bombs");
    let chunks = chunks(&rows);
    assert_eq!(chunks.iter().map(AuditChunk::len).sum::<usize>(), rows.len());
    for chunk in chunks {
        assert!(chunk.len() * added.len() < CHUNK_BYTES + added.len());
        for index in chunk.first..chunk.first + chunk.len() as u64 {
            let named = |fault: &Fault| fault.kind == FaultKind::EntryExtra && fault.first == Some(index);
            assert!(chunk.faults.iter().any(named), "{index}");
        }
        assert!(chunk.entries.iter().all(|entry| entry.as_deref() == Some(one)));
        assert!(held(chunk.entries) < rows.len() * 64, "the added lines are kept");
    }
}

#[test]
fn a_blob_that_breaks_off_far_behind_its_entries_takes_little_memory() {
    let one: &[u8] = b"an entry as it was sealed";
    let mut row = row(0, &[one], &[one, b"\n", &vec![b'x'; 8 * MIB]].concat());
    row.data.truncate(row.data.len() - 3);
    assert!(tail::inflate(&row.data).0.len() > MIB, "some of it can be inflated");
    let chunk = tail_chunk(0, &[row]);
    assert_eq!(chunk.entries[0].as_deref(), Some(one));
    assert!(chunk.faults.iter().any(|fault| fault.kind == FaultKind::EntryUnreadable));
    assert!(held(chunk.entries) < 64);
}

#[test]
fn a_chunk_is_full_by_its_bytes() {
    let long = vec![b'x'; 3 * MIB];
    let rows: Vec<_> = (0..50).map(|first| row(first, &[&long], &long)).collect();
    let chunks = chunks(&rows);
    assert_eq!(chunks.iter().map(AuditChunk::len).sum::<usize>(), rows.len());
    for chunk in chunks {
        assert!(chunk.faults.is_empty() && chunk.entries.iter().all(|entry| entry.as_deref() == Some(&long[..])));
        // A buffer grows by doubling.
        assert!(held(chunk.entries) < 2 * (CHUNK_BYTES + long.len()));
    }
}

#[test]
fn rows_are_read_by_their_bytes_and_never_one_alone() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    let table = "CREATE TABLE tail (first INTEGER PRIMARY KEY, count INTEGER, prefixes BLOB, data BLOB)";
    connection.execute_batch(table).unwrap();
    let transaction = connection.transaction().unwrap();
    for first in 0..20 {
        db::insert_tail(&transaction, &row(first, &[b"{}"], b"{}\n")).unwrap();
    }
    let size = row(0, &[b"{}"], b"{}\n").data.len() + 4;
    for (from, limit, bytes, wanted) in [
        (3, 100, usize::MAX, 3..20),
        (3, 5, usize::MAX, 3..8),
        (3, 100, 7 * size, 3..10),
        (3, 100, 7 * size + 1, 3..11),
        (3, 100, 0, 3..5),
        (30, 100, 0, 19..20),
    ] {
        let read = db::odd_tail_rows(&transaction, from, limit, bytes).unwrap();
        let firsts: Vec<u64> = read.iter().map(|row| row.first).collect();
        assert_eq!(firsts, wanted.collect::<Vec<_>>(), "from {from}, {limit} rows, {bytes} bytes");
    }
}
