//! The log as it lies on disk, for the auditor: read straight from SQLite and the files, past everything in memory,
//! and as much of it as can still be read.

mod batches;

use bytes::Bytes;
use datafusion::arrow::{
    array::{Array, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch},
    buffer::Buffer,
    compute::{cast, concat_batches, filter_record_batch},
};
use parquet::arrow::arrow_reader::RowSelection;
use sceau_ledger::{Fault, FaultKind};

use super::{Inner, db, hidden, ledger::usize_of, prune, segment::Segment, tail, write};
use crate::{error::StoreError, leaves, schema, traits::AuditChunk};
use batches::{effective_end, tail_chunk};

/// Rows of one chunk of the tail.
const CHUNK: usize = 65_536;
/// Bytes of the tail's batches from which on no more are read, or inflated, at once. A blob of a few KB may inflate to any
/// number of them.
const CHUNK_BYTES: usize = 64 << 20;
/// Batches of the tail that are read at once.
const TAIL_ROWS: usize = 256;
/// Rows that are given up together where a file can't be read.
const SLICE: usize = 256;

/// A stretch of the log from `first`, or from the next index that the store holds something for (the auditor names
/// what was passed over); empty behind everything. Each call passes over at least one row or row group that is really
/// there, so that no number in a table can keep a verification going for ever.
pub fn chunk(inner: &Inner, first: u64) -> Result<AuditChunk, StoreError> {
    // The blobs of the tail are large, and not asked for as long as segments hold what is wanted.
    match stretch(inner, first, false)? {
        Some(chunk) => Ok(chunk),
        None => Ok(stretch(inner, first, true)?.unwrap_or_else(|| AuditChunk { first, ..Default::default() })),
    }
}

/// The same; `None` if that can't be told without the blobs of the tail.
fn stretch(inner: &Inner, mut first: u64, blobs: bool) -> Result<Option<AuditChunk>, StoreError> {
    // One moment of the database: between two, the tail may have become a segment.
    let (catalogue, spans, rows, leaves, pruned) = inner.db.read_moment(|connection| {
        let spans = if first == 0 { db::tail_spans(connection)? } else { Vec::new() };
        let leaves = prune::rows(connection, first / 256, CHUNK / 256)?;
        let pruned = prune::end(connection)?;
        let rows = if blobs { db::odd_tail_rows(connection, first, TAIL_ROWS, CHUNK_BYTES)? } else { Vec::new() };
        Ok((db::segments(connection)?, spans, rows, leaves, pruned))
    })?;
    if !blobs && !leaves.is_empty() {
        return Ok(None);
    }
    let mut faults = if first == 0 { structure(pruned, &catalogue, &spans) } else { Vec::new() };
    // Where entries are there as well, they count.
    let there = catalogue.iter().map(|row| row.first).chain(rows.iter().map(|row| row.first)).min();
    let chunk = leaves::chunk(first, there.unwrap_or(u64::MAX), &leaves);
    if !chunk.is_empty() {
        return Ok(Some(with(faults, chunk)));
    }
    for (at, row) in catalogue.iter().enumerate() {
        // A count that reaches into the next segment must not hide what is there.
        let next = catalogue.get(at + 1).map_or(u64::MAX, |next| next.first);
        let end = end_of(row.first, row.count).min(next);
        if end <= first {
            continue;
        }
        if row.first > first && !blobs {
            return Ok(None);
        }
        if row.first > first && rows.iter().any(|tail| tail.first <= first && effective_end(tail) > first) {
            break;
        }
        match Segment::inspect(&inner.dir, row.clone()) {
            Ok(segment) if segment.intact() => {
                let first = first.max(row.first);
                return Ok(Some(with(faults, from(first, segment_chunk(&segment, first)))));
            }
            Ok(segment) => {
                let what = "has another number of rows than it should; its columns were not compared";
                faults.push(Fault::range(FaultKind::Segment, row.first, end - 1, format!("{} {what}", row.file)));
                if let Some(chunk) = loose_chunk(&segment, first.max(row.first), end) {
                    return Ok(Some(with(faults, chunk)));
                }
            }
            Err(error) => {
                let detail = format!("the segment {} can't be used: {error}", row.file);
                faults.push(Fault::range(FaultKind::Segment, first.max(row.first), end - 1, detail));
            }
        }
        first = end;
    }
    Ok(blobs.then(|| with(faults, tail_chunk(first, &rows))))
}

/// Somebody may have put any numbers into the tables.
fn end_of(first: u64, count: u64) -> u64 {
    first.saturating_add(count)
}

/// What segments and batches say of themselves must be gapless and without overlap.
fn structure(pruned: u64, catalogue: &[db::SegmentRow], spans: &[(u64, u64)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut next = pruned;
    for row in catalogue {
        if row.file.contains('/') || !row.file.starts_with("seg-") {
            faults.push(Fault::at(FaultKind::Segment, row.first, format!("{:?} is no segment's name", row.file)));
        }
        if row.first != next || row.count == 0 {
            let detail = format!("the catalogue names {} here, where entry {next} was expected", row.file);
            faults.push(Fault::at(FaultKind::Segment, row.first, detail));
        }
        next = end_of(row.first, row.count);
    }
    for (first, count) in spans {
        if *first != next || *count == 0 {
            let detail = format!("a batch of the tail begins here, where entry {next} was expected");
            faults.push(Fault::at(FaultKind::Order, *first, detail));
        }
        next = end_of(*first, *count);
    }
    faults
}

fn with(mut faults: Vec<Fault>, mut chunk: AuditChunk) -> AuditChunk {
    faults.append(&mut chunk.faults);
    AuditChunk { faults, ..chunk }
}

/// The part of a chunk from `first` on: a segment may have taken the place of a batch since the last call, so that a
/// chunk begins before what is wanted.
fn from(first: u64, mut chunk: AuditChunk) -> AuditChunk {
    let skip = usize_of(first.saturating_sub(chunk.first)).min(chunk.entries.len());
    if skip > 0 {
        chunk.first = first;
        chunk.entries.drain(..skip);
        chunk.prefixes.drain(..skip);
        chunk.records = chunk.records.map(|(rows, deriver)| (behind(rows, skip), deriver));
    }
    chunk
}

/// The rows without the first `skip`.
fn behind(batches: Vec<RecordBatch>, mut skip: usize) -> Vec<RecordBatch> {
    let mut kept = Vec::with_capacity(batches.len());
    for rows in batches {
        let passed = skip.min(rows.num_rows());
        skip -= passed;
        if passed < rows.num_rows() {
            kept.push(rows.slice(passed, rows.num_rows() - passed));
        }
    }
    kept
}

/// The rest of the row group that holds `first`.
fn segment_chunk(segment: &Segment, first: u64) -> AuditChunk {
    let mut group = 0;
    let mut start = segment.row.first;
    while start + segment.groups[group].rows <= first {
        start += segment.groups[group].rows;
        group += 1;
    }
    let count = usize_of(segment.groups[group].rows);
    match whole(segment, group) {
        Ok(rows) => {
            let mut chunk = placed(segment, group, start, count, &rows, true);
            if chunk.faults.is_empty() && counted(&rows) == count {
                check_derived(segment, group, start, &rows, &mut chunk);
                chunk.records = records_of(&rows).ok().map(|records| (records, segment.deriver.clone()));
            }
            chunk
        }
        Err(error) => salvaged(segment, group, start, count, &error),
    }
}

/// A row group with all columns, in the types that they should have: a file that another tool wrote again may spell
/// the same type otherwise, and its values must still be compared.
fn whole(segment: &Segment, group: usize) -> Result<Vec<RecordBatch>, StoreError> {
    let all: Vec<&str> = schema::rows().fields().iter().map(|field| static_name(field.name())).collect();
    let conformed = segment.pages(group, &all)?.map(|rows| {
        let rows = rows?;
        let columns = schema::rows()
            .fields()
            .iter()
            .map(|field| Ok(cast(write::column(&rows, field.name())?, field.data_type())?))
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(RecordBatch::try_new(schema::rows(), columns)?)
    });
    conformed.collect()
}

fn counted(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// What a segment holds from `first` on that was given or robbed of rows: as far as one row group goes and below `end`, by
/// the index that each row says it has. `None`: nothing more.
fn loose_chunk(segment: &Segment, first: u64, end: u64) -> Option<AuditChunk> {
    for group in 0..segment.counted_groups() {
        let Ok(rows) = whole(segment, group).and_then(|rows| Ok(concat_batches(&schema::rows(), &rows)?)) else {
            continue;
        };
        let Ok(indexes) = super::scan::indexes(&rows) else { continue };
        let wanted = |index: &u64| (first..end).contains(index);
        let Some(start) = indexes.iter().copied().filter(wanted).min() else { continue };
        // Indexes that lie far apart are given in further calls, each from the next one that is there.
        let reach = start.saturating_add(2 * rows.num_rows() as u64);
        let kept: BooleanArray = indexes.iter().map(|index| Some((start..reach).contains(index))).collect();
        let last = indexes.iter().copied().filter(|index| (start..reach.min(end)).contains(index)).max()?;
        let rows = filter_record_batch(&rows, &kept).ok()?;
        return Some(placed(segment, group, start, usize_of(last + 1 - start), &[rows], false));
    }
    None
}

/// The static name of a column, as projections want it.
fn static_name(name: &str) -> &'static str {
    let columns = [schema::INDEX, schema::LEAF, schema::TIME, schema::RECEIVED, schema::SOURCE, schema::FIELDS];
    let keywords = sceau_event::Keyword::ALL.iter().map(|keyword| keyword.name());
    let numbers = sceau_event::Number::ALL.iter().map(|number| number.name());
    columns.into_iter().chain(keywords).chain(numbers).find(|known| *known == name).unwrap_or(schema::ENTRY)
}

/// Rows by the index that each says it has, so that a missing or added row is named and the others keep their place.
fn placed(
    segment: &Segment,
    group: usize,
    start: u64,
    count: usize,
    rows: &[RecordBatch],
    in_order: bool,
) -> AuditChunk {
    let mut chunk =
        AuditChunk { first: start, entries: vec![None; count], prefixes: vec![None; count], ..Default::default() };
    if rows.iter().any(|rows| super::scan::indexes(rows).is_err() || tail::entries(rows).is_err()) {
        let detail = format!("columns of {} are not what they should be", segment.row.file);
        chunk.faults.push(Fault::range(FaultKind::Segment, start, start + count as u64 - 1, detail));
        return chunk;
    }
    let mut passed = 0;
    for batch in rows {
        let (Ok(indexes), Ok(entries)) = (super::scan::indexes(batch), tail::entries(batch)) else { continue };
        let leaves = batch.column_by_name(schema::LEAF).and_then(|column| column.as_fixed_size_binary_opt());
        let entries = Values::of(entries);
        for (at, &index) in indexes.iter().enumerate() {
            let row = passed + at;
            let said = || format!("row {row} of row group {group} of {} says index {index}", segment.row.file);
            let place = index.checked_sub(start).map(usize_of).filter(|&place| place < count);
            if in_order && place.is_some_and(|place| place != row) {
                // A search reads rows by their place: whoever exchanges two makes it show one for the other.
                misplaced(&mut chunk.faults, start + row as u64, said);
            }
            match place {
                Some(place) if chunk.entries[place].is_none() => {
                    chunk.entries[place] = entries.get(at);
                    chunk.prefixes[place] = leaves.and_then(|leaves| leaves.value(at).try_into().ok());
                }
                _ => misplaced(&mut chunk.faults, start + row as u64, said),
            }
        }
        passed += indexes.len();
    }
    chunk
}

/// The values of a column, to be shared one by one without a copy.
struct Values<'a> {
    column: &'a BinaryArray,
    all: Bytes,
}

impl<'a> Values<'a> {
    fn of(column: &'a BinaryArray) -> Self {
        /// Lets the column's memory be shared.
        struct Owner(Buffer);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Self { column, all: Bytes::from_owner(Owner(column.values().clone())) }
    }

    fn get(&self, row: usize) -> Option<Bytes> {
        self.column.is_valid(row).then(|| self.all.slice_ref(self.column.value(row)))
    }
}

/// Names a row that is not where it belongs, together with those in front of it.
fn misplaced(faults: &mut Vec<Fault>, at: u64, detail: impl FnOnce() -> String) {
    match faults.last_mut() {
        Some(Fault { last: Some(last), .. }) if *last == at => {}
        Some(Fault { last: Some(last), .. }) if last.checked_add(1) == Some(at) => *last = at,
        _ => faults.push(Fault::at(FaultKind::Order, at, detail())),
    }
}

fn records_of(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, StoreError> {
    let records = batches.iter().map(|rows| {
        let places: Vec<usize> = (2..rows.num_columns() - 1).collect();
        Ok(rows.project(&places)?)
    });
    records.collect()
}

/// What pruning relies on must hold of the rows, or a search would pass over entries that are there.
fn check_derived(segment: &Segment, group: usize, start: u64, rows: &[RecordBatch], chunk: &mut AuditChunk) {
    let last = start + counted(rows) as u64 - 1;
    let facts = &segment.groups[group];
    let words_hold = match segment.rules() {
        // Without a filter nothing is hidden, and filters by other rules are not used.
        Some(rules) if facts.words.1 > 0 => segment
            .loaded_words(group)
            .is_some_and(|words| hidden::hides(&words, rules, rows).is_ok_and(|hides| !hides)),
        _ => true,
    };
    if !words_hold {
        let detail = format!("the word filter of {} hides words from searches; run `sceau rebuild`", segment.row.file);
        chunk.faults.push(Fault::range(FaultKind::Record, start, last, detail));
    }
    if !segment.pages_hold(group, rows) {
        let detail = format!("pages of {} hold other rows than they say; run `sceau rebuild`", segment.row.file);
        chunk.faults.push(Fault::range(FaultKind::Record, start, last, detail));
    }
    let described = write::describe(rows).map(|mut described| {
        described.words = facts.words;
        described == *facts
    });
    if !described.unwrap_or(false) {
        let detail = format!("what {} says of its rows' times is wrong; run `sceau rebuild`", segment.row.file);
        chunk.faults.push(Fault::range(FaultKind::Record, start, last, detail));
    }
}

/// Where a row group can't be read whole: the entries slice by slice, and which columns fail.
fn salvaged(segment: &Segment, group: usize, start: u64, count: usize, error: &StoreError) -> AuditChunk {
    tracing::debug!(file = segment.row.file, group, %error, "reading a damaged row group piece by piece");
    let mut chunk =
        AuditChunk { first: start, entries: vec![None; count], prefixes: vec![None; count], ..Default::default() };
    let last = start + count as u64 - 1;
    let mut entries_fail = false;
    for from in (0..count).step_by(SLICE) {
        let to = (from + SLICE).min(count);
        if let Some(leaves) = slice(segment, group, count, schema::LEAF, from, to) {
            let leaves = leaves.column(0).as_any().downcast_ref::<FixedSizeBinaryArray>().cloned();
            for (offset, place) in chunk.prefixes[from..to].iter_mut().enumerate() {
                *place = leaves.as_ref().and_then(|leaves| leaves.value(offset).try_into().ok());
            }
        }
        let read = slice(segment, group, count, schema::ENTRY, from, to);
        match read.as_ref().and_then(|rows| rows.column(0).as_binary_opt::<i32>()) {
            Some(entries) => {
                for (place, entry) in chunk.entries[from..to].iter_mut().zip(entries.iter()) {
                    *place = entry.map(Bytes::copy_from_slice);
                }
            }
            None => {
                entries_fail = true;
                let detail = format!("the entries can't be read from {}", segment.row.file);
                let (first, behind) = (start + from as u64, start + to as u64);
                chunk.faults.push(Fault::range(FaultKind::EntryUnreadable, first, behind - 1, detail));
            }
        }
    }
    for field in schema::rows().fields() {
        let name = static_name(field.name());
        if !(name == schema::ENTRY && entries_fail) && segment.rows(group, &[name]).is_err() {
            let detail = format!("the column {name} of {} can't be read", segment.row.file);
            chunk.faults.push(Fault::range(FaultKind::Record, start, last, detail));
        }
    }
    if chunk.faults.is_empty() {
        // Each column can be read, yet not together as the rows they should be: never pass that over in silence.
        let detail = format!("the columns of {} were not compared: {error}", segment.row.file);
        chunk.faults.push(Fault::range(FaultKind::Record, start, last, detail));
    }
    chunk
}

fn slice(segment: &Segment, group: usize, count: usize, column: &str, from: usize, to: usize) -> Option<RecordBatch> {
    let selection = RowSelection::from_consecutive_ranges(std::iter::once(from..to), count);
    let rows: Vec<RecordBatch> =
        segment.read(group, &[column], None, Some(selection)).ok()?.collect::<Result<_, _>>().ok()?;
    let rows = concat_batches(&rows.first()?.schema(), &rows).ok()?;
    (rows.num_rows() == to - from).then_some(rows)
}
