//! How things are changed: in the database, in a batch of the tail, in a segment's file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use rusqlite::params;
use sceau_ledger::leaf_hash;
use sceau_store::{
    embedded::{
        db::SegmentRow,
        segment::{DIRECTORY, Segment},
        write::write_segment,
    },
    schema,
};

use crate::victim::{GROUP, SEGMENT, database};

/// Runs statements, each of which must change something.
pub fn sql(data: &Path, statements: &str) {
    let connection = database(data);
    for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
        let changed = connection.execute(statement, []).unwrap();
        assert!(changed > 0, "{statement} changed nothing");
    }
}

/// A batch of the tail.
#[derive(Clone)]
pub struct Batch {
    pub first: u64,
    pub lines: Vec<Vec<u8>>,
    pub prefixes: Vec<u8>,
}

/// The batch of the tail that holds an entry.
pub fn batch(data: &Path, index: u64) -> Batch {
    let row = database(data).query_row(
        "SELECT first, prefixes, data FROM tail WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        [i64::try_from(index).unwrap()],
        |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?)),
    );
    let (first, prefixes, data) = row.unwrap();
    let text = zstd::decode_all(data.as_slice()).unwrap();
    let lines = text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    Batch { first, lines, prefixes }
}

/// Puts a batch into the tail, in place of the one that begins where it does.
pub fn put_batch(data: &Path, batch: &Batch) {
    let mut text = batch.lines.join(&b'\n');
    text.push(b'\n');
    let packed = zstd::encode_all(text.as_slice(), 1).unwrap();
    let (first, count) = (i64::try_from(batch.first).unwrap(), i64::try_from(batch.prefixes.len() / 4).unwrap());
    let statement = "INSERT OR REPLACE INTO tail VALUES (?1, ?2, ?3, ?4)";
    database(data).execute(statement, params![first, count, batch.prefixes, packed]).unwrap();
}

/// Rewrites the batch that holds an entry; the change is told the entry's place in it.
pub fn edit_tail(data: &Path, index: u64, change: impl FnOnce(usize, &mut Batch)) {
    let mut batch = batch(data, index);
    let place = usize::try_from(index - batch.first).unwrap();
    assert!(place < batch.lines.len(), "no batch holds entry {index}");
    change(place, &mut batch);
    put_batch(data, &batch);
}

pub fn replace(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(line)).unwrap();
    assert!(text.contains(from), "{text}");
    *line = text.replace(from, to).into_bytes();
}

pub fn prefix(entry: &[u8]) -> [u8; 4] {
    leaf_hash(entry).0[..4].try_into().unwrap()
}

/// The file of the segment that begins with an entry.
pub fn segment_file(data: &Path, first: u64) -> PathBuf {
    let query = "SELECT file FROM segment WHERE first = ?1";
    let name: String = database(data).query_row(query, [i64::try_from(first).unwrap()], |row| row.get(0)).unwrap();
    data.join(DIRECTORY).join(name)
}

/// A segment, opened as the store does.
pub fn segment(data: &Path, first: u64) -> Segment {
    let file = segment_file(data, first).file_name().unwrap().to_str().unwrap().to_owned();
    Segment::open(data, SegmentRow { first, count: SEGMENT, file }).unwrap()
}

/// All rows of a segment.
pub fn rows(data: &Path, first: u64) -> RecordBatch {
    let segment = segment(data, first);
    let columns: Vec<&str> = [schema::INDEX, schema::LEAF, schema::TIME, schema::RECEIVED, schema::SOURCE]
        .into_iter()
        .chain(sceau_event::Keyword::ALL.iter().map(|keyword| keyword.name()))
        .chain(sceau_event::Number::ALL.iter().map(|number| number.name()))
        .chain([schema::FIELDS, schema::ENTRY])
        .collect();
    let groups = (0..segment.groups.len()).flat_map(|group| segment.rows(group, &columns).unwrap());
    concat_batches(&schema::rows(), &groups.collect::<Vec<_>>()).unwrap()
}

/// Writes the segment that begins with an entry anew, filters and keys all made to fit, as only we could.
pub fn put_rows(data: &Path, first: u64, rows: RecordBatch) {
    let deriver = segment(data, first).deriver.clone();
    let path = segment_file(data, first);
    let name = path.file_name().unwrap().to_str().unwrap();
    write_segment(data, name, first, &deriver, &[rows], usize::try_from(GROUP).unwrap()).unwrap();
}

/// Reads, changes and writes a segment.
pub fn edit_rows(data: &Path, first: u64, change: impl FnOnce(RecordBatch) -> RecordBatch) {
    put_rows(data, first, change(rows(data, first)));
}

/// The rows in another order, some left out or repeated.
pub fn taken(rows: &RecordBatch, places: impl IntoIterator<Item = usize>) -> RecordBatch {
    let places: UInt32Array = places.into_iter().map(|place| u32::try_from(place).unwrap()).collect::<Vec<_>>().into();
    take_record_batch(rows, &places).unwrap()
}

pub fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let place = rows.schema().index_of(name).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[place] = column;
    RecordBatch::try_new(schema::rows(), columns).unwrap()
}

/// With another text in an entry; its stored prefix too, if wanted.
pub fn with_entry(rows: &RecordBatch, place: usize, from: &str, to: &str, prefix_too: bool) -> RecordBatch {
    let entries: &BinaryArray = rows.column_by_name(schema::ENTRY).unwrap().as_binary();
    let mut values: Vec<Vec<u8>> = entries.iter().flatten().map(<[u8]>::to_vec).collect();
    replace(&mut values[place], from, to);
    let rows = with_column(rows, schema::ENTRY, Arc::new(BinaryArray::from_iter_values(&values)));
    if prefix_too { with_prefix(&rows, place, prefix(&values[place])) } else { rows }
}

pub fn with_prefix(rows: &RecordBatch, place: usize, prefix: [u8; 4]) -> RecordBatch {
    let leaves = rows.column_by_name(schema::LEAF).unwrap();
    let leaves: &FixedSizeBinaryArray = leaves.as_any().downcast_ref().unwrap();
    let mut prefixes: Vec<Vec<u8>> = leaves.iter().flatten().map(<[u8]>::to_vec).collect();
    prefixes[place] = prefix.to_vec();
    with_column(rows, schema::LEAF, Arc::new(FixedSizeBinaryArray::try_from_iter(prefixes.into_iter()).unwrap()))
}

/// With another value in a text column.
pub fn with_text(rows: &RecordBatch, name: &str, place: usize, value: &str) -> RecordBatch {
    let values: &StringArray = rows.column_by_name(name).unwrap().as_string();
    let values = (0..values.len())
        .map(|row| if row == place { Some(value) } else { values.is_valid(row).then(|| values.value(row)) });
    with_column(rows, name, Arc::new(values.collect::<StringArray>()))
}
