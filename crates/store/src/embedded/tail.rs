//! The newest entries: one compressed blob per committed batch on disk, coalesced Arrow batches in memory.

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray as _, BinaryArray, FixedSizeBinaryArray, RecordBatch, UInt64Array},
    buffer::Buffer,
    compute::{concat, concat_batches},
    datatypes::DataType,
};
use sceau_event::Deriver;
use sceau_ledger::LeafHash;

use super::{db::TailRow, write};
use crate::{
    batch::{Batch, BatchBuilder, nothing},
    error::StoreError,
    schema,
};

/// Rows of a coalesced chunk, beyond which nothing more is merged into it.
const CHUNK_ROWS: usize = 8192;
/// The same in bytes of entries and text.
const CHUNK_BYTES: usize = 16 << 20;
/// No honest blob inflates beyond this; a damaged one must not make us allocate more.
const MAX_BLOB: usize = 256 << 20;

/// Consecutive rows in memory.
#[derive(Debug)]
pub struct Chunk {
    /// Index of the first row.
    pub first: u64,
    /// Columns as [`schema::rows`].
    pub rows: RecordBatch,
    /// Earliest event time, microseconds since the epoch.
    pub earliest: i64,
    /// Latest event time.
    pub latest: i64,
    /// The bytes of entries and of all text in the records, as [`Batch::weight`].
    pub bytes: usize,
}

impl Chunk {
    fn new(first: u64, rows: RecordBatch) -> Result<Self, StoreError> {
        let rows = lean(&rows)?;
        let times = write::times(&rows, schema::TIME)?;
        let (earliest, latest) =
            times.iter().fold((i64::MAX, i64::MIN), |(low, high), &time| (low.min(time), high.max(time)));
        let bytes = weight(&rows)?;
        Ok(Self { first, rows, earliest, latest, bytes })
    }

    /// The index behind the last row.
    pub fn end(&self) -> u64 {
        self.first + self.rows.num_rows() as u64
    }

    /// The part from `index` on.
    pub fn from(&self, index: u64) -> Result<Self, StoreError> {
        let skip = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.rows.num_rows());
        Self::new(self.first + skip as u64, self.rows.slice(skip, self.rows.num_rows() - skip))
    }
}

/// The same rows; columns that hold nothing, as most do in most logs, share their buffers.
fn lean(rows: &RecordBatch) -> Result<RecordBatch, StoreError> {
    let count = rows.num_rows();
    let columns = rows.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8 | DataType::Int64 if column.null_count() == count => nothing(column.data_type(), count),
        _ => column.clone(),
    });
    Ok(RecordBatch::try_new(rows.schema(), columns.collect())?)
}

/// From the first to the last of a column's offsets.
fn span(offsets: &[i32]) -> usize {
    (offsets.last().copied().unwrap_or(0) - offsets.first().copied().unwrap_or(0)).unsigned_abs() as usize
}

/// The bytes of entries and of all text in the records: of columns, and of names and values of further fields.
pub fn weight(rows: &RecordBatch) -> Result<usize, StoreError> {
    let damaged = || StoreError::Damaged("the column fields is not a list of pairs".into());
    let lists = write::column(rows, schema::FIELDS)?.as_list_opt::<i32>().ok_or_else(damaged)?;
    let offsets = lists.value_offsets();
    let first = offsets.first().copied().unwrap_or(0).unsigned_abs() as usize;
    let pairs = lists.values().as_struct_opt().ok_or_else(damaged)?.slice(first, span(offsets));
    let texts = rows.columns().iter().chain(pairs.columns()).filter_map(|column| column.as_string_opt::<i32>());
    Ok(span(entries(rows)?.value_offsets()) + texts.map(|text| span(text.value_offsets())).sum::<usize>())
}

/// The entries' column of some rows.
pub fn entries(rows: &RecordBatch) -> Result<&BinaryArray, StoreError> {
    write::column(rows, schema::ENTRY)?
        .as_any()
        .downcast_ref()
        .ok_or_else(|| StoreError::Damaged("the column entry is not binary".into()))
}

/// The rows of some batches that are committed at `first`.
pub fn rows(first: u64, batches: &[Arc<Batch>]) -> Result<RecordBatch, StoreError> {
    let count: usize = batches.iter().map(|batch| batch.len()).sum();
    let index = UInt64Array::from_iter_values(first..first + count as u64);
    let leaves: Vec<u8> = prefixes(batches.iter().flat_map(|batch| batch.leaves()));
    let leaf = FixedSizeBinaryArray::try_new(4, Buffer::from_vec(leaves), None)?;
    let (records, entries): (RecordBatch, ArrayRef) = match batches {
        [batch] => (batch.records().clone(), Arc::new(batch.entries().clone())),
        _ => {
            let entries: Vec<_> = batches.iter().map(|batch| batch.entries() as _).collect();
            (concat_batches(&schema::records(), batches.iter().map(|batch| batch.records()))?, concat(&entries)?)
        }
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(index), Arc::new(leaf)];
    columns.extend(records.columns().iter().cloned());
    columns.push(entries);
    Ok(RecordBatch::try_new(schema::rows(), columns)?)
}

/// The first four bytes of each leaf, back to back.
pub fn prefixes<'a>(leaves: impl IntoIterator<Item = &'a LeafHash>) -> Vec<u8> {
    leaves.into_iter().flat_map(|leaf| [leaf.0[0], leaf.0[1], leaf.0[2], leaf.0[3]]).collect()
}

/// The database's row for some rows.
pub fn encode(first: u64, rows: &RecordBatch) -> Result<TailRow, StoreError> {
    let entries = entries(rows)?;
    let offsets = entries.value_offsets();
    let size = (offsets[offsets.len() - 1] - offsets[0]).unsigned_abs() as usize;
    let mut lines = Vec::with_capacity(size + entries.len());
    for entry in entries.iter().flatten() {
        lines.extend_from_slice(entry);
        lines.push(b'\n');
    }
    let leaf = write::column(rows, schema::LEAF)?
        .as_any()
        .downcast_ref::<FixedSizeBinaryArray>()
        .ok_or_else(|| StoreError::Damaged("the column leaf is not binary".into()))?;
    let prefixes = leaf.iter().flatten().flatten().copied().collect();
    let data = zstd::bulk::compress(&lines, 1)
        .map_err(|source| StoreError::Io { context: "compressing a batch".into(), source })?;
    Ok(TailRow { first, count: entries.len() as u64, prefixes, data })
}

/// The lines of a blob, as far as it can be inflated, and whether that was all of it.
pub fn inflate(data: &[u8]) -> (Vec<u8>, bool) {
    use std::io::Read as _;
    let mut lines = Vec::new();
    let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(data) else {
        return (lines, false);
    };
    let whole = decoder.take(MAX_BLOB as u64).read_to_end(&mut lines).is_ok();
    (lines, whole)
}

/// The entries of an inflated blob.
pub fn lines(inflated: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = inflated.strip_suffix(b"\n").unwrap_or(inflated);
    let empty = body.is_empty();
    body.split(|&byte| byte == b'\n').filter(move |_| !empty)
}

/// Reads a batch back into rows, deriving its records; any difference to what was committed is an error.
pub fn decode(row: &TailRow, deriver: &Arc<Deriver>) -> Result<RecordBatch, StoreError> {
    let damaged = |detail: &str| {
        StoreError::Damaged(format!("the batch of {} entries from {} on {detail}", row.count, row.first))
    };
    let (inflated, whole) = inflate(&row.data);
    if !whole {
        return Err(damaged("can't be inflated"));
    }
    let count = usize::try_from(row.count).map_err(|_| damaged("is too large"))?;
    // What the row says of itself may be false; an entry has a byte at least.
    let mut builder = BatchBuilder::with_capacity(deriver.clone(), count.min(inflated.len()), inflated.len());
    for (offset, line) in lines(&inflated).enumerate() {
        let index = row.first + offset as u64;
        builder.push_entry(line).map_err(|error| StoreError::Entry { index, detail: error.to_string() })?;
    }
    let batch = builder.finish()?;
    if batch.len() != count || row.prefixes.len() != 4 * count {
        return Err(damaged("holds another number of entries than it says"));
    }
    for (offset, (leaf, prefix)) in batch.leaves().iter().zip(row.prefixes.chunks_exact(4)).enumerate() {
        if leaf.0[..4] != *prefix {
            let index = row.first + offset as u64;
            return Err(StoreError::Entry { index, detail: "was changed: its hash is not the one committed".into() });
        }
    }
    rows(row.first, &[Arc::new(batch)])
}

/// Adds rows to a list of chunks, merging small neighbours so that each row is copied a few times at most.
pub fn push(chunks: &mut Vec<Arc<Chunk>>, first: u64, rows: RecordBatch) -> Result<(), StoreError> {
    let mut chunk = Chunk::new(first, rows)?;
    while let Some(last) = chunks.last() {
        let (before, now) = (last.rows.num_rows(), chunk.rows.num_rows());
        if before > 2 * now || before + now > CHUNK_ROWS || last.bytes + chunk.bytes > CHUNK_BYTES {
            break;
        }
        let merged = concat_batches(&schema::rows(), [&last.rows, &chunk.rows])?;
        chunk = Chunk::new(last.first, merged)?;
        chunks.pop();
    }
    chunks.push(Arc::new(chunk));
    Ok(())
}

#[cfg(test)]
mod tests;
