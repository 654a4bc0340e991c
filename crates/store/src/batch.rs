//! A request's events as entries, leaves and columns, made once at ingest and then only passed on.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::{
    array::{
        Array, ArrayBuilder, ArrayRef, AsArray as _, BinaryArray, Int64Builder, ListArray, RecordBatch, StringBuilder,
        StructArray, TimestampMicrosecondArray, new_null_array,
    },
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    compute::{max, min},
    datatypes::{DataType, TimestampMicrosecondType},
    error::ArrowError,
};
use sceau_event::{Deriver, EntryError, EventError, Framer, Keyword, Memory, Number, Record};
use sceau_ledger::{LeafHash, leaf_hash};

use crate::{embedded::eval, error::StoreError, query::Query, schema};

/// Entries without indexes yet, with their leaves and records.
#[derive(Clone, Debug)]
pub struct Batch {
    entries: BinaryArray,
    leaves: Vec<LeafHash>,
    records: RecordBatch,
    received: Option<(i64, i64)>,
    unparsed: usize,
    text_bytes: usize,
}

impl Batch {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The entries' bytes in all.
    pub fn bytes(&self) -> usize {
        span(self.entries.value_offsets())
    }

    /// The entries' bytes and those of all text in the records, which can be several times as many: what limits of
    /// memory count.
    pub fn weight(&self) -> usize {
        self.bytes() + self.text_bytes
    }

    /// One leaf an entry.
    pub fn leaves(&self) -> &[LeafHash] {
        &self.leaves
    }

    /// The entries, one value each.
    pub fn entries(&self) -> &BinaryArray {
        &self.entries
    }

    /// The records, columns as [`schema::records`].
    pub fn records(&self) -> &RecordBatch {
        &self.records
    }

    /// Earliest and latest receive time, microseconds since the epoch; `None` when empty.
    pub fn received(&self) -> Option<(i64, i64)> {
        self.received
    }

    /// The places in it of the entries that a query accepts: what a search would find, before they are searched.
    ///
    /// # Errors
    /// The columns are not those of [`schema::records`].
    pub fn matching(&self, query: &Query) -> Result<Vec<usize>, StoreError> {
        Ok(eval::accept(query, &self.records)?.values().set_indices().collect())
    }

    /// How many lines no parser understood.
    pub fn unparsed(&self) -> usize {
        self.unparsed
    }

    /// `len` of its entries from `offset` on, or as many as there are. They share its memory.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let offset = offset.min(self.len());
        let len = len.min(self.len() - offset);
        let records = self.records.slice(offset, len);
        let (text_bytes, unparsed) = records.columns().iter().fold((0, 0), |(bytes, unparsed), column| {
            let pairs = column.as_list_opt::<i32>().and_then(pairs);
            let more = pairs.as_ref().map_or_else(|| text_of(column), |(keys, values)| text_of(keys) + text_of(values));
            (bytes + more, unparsed + pairs.as_ref().map_or(0, |(keys, values)| unparsed_in(keys, values)))
        });
        let received = records.column_by_name(schema::RECEIVED);
        let received = received.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let received = received.and_then(|received| min(received).zip(max(received)));
        let leaves = self.leaves.get(offset..offset + len).unwrap_or_default().to_vec();
        Self { entries: self.entries.slice(offset, len), leaves, records, received, unparsed, text_bytes }
    }
}

/// From the first to the last of some offsets.
fn span(offsets: &[i32]) -> usize {
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    usize::try_from(last.saturating_sub(first)).unwrap_or(0)
}

/// The bytes of a column of text; none of any other.
fn text_of(column: &ArrayRef) -> usize {
    column.as_string_opt::<i32>().map_or(0, |texts| span(texts.value_offsets()))
}

/// Keys and values of the further fields of some rows.
fn pairs(lists: &ListArray) -> Option<(ArrayRef, ArrayRef)> {
    let first = usize::try_from(lists.value_offsets().first().copied()?).ok()?;
    let pairs = lists.values().as_struct_opt()?.slice(first, span(lists.value_offsets()));
    match pairs.columns() {
        [keys, values] => Some((keys.clone(), values.clone())),
        _ => None,
    }
}

/// How many of them say that no parser understood a line.
fn unparsed_in(keys: &ArrayRef, values: &ArrayRef) -> usize {
    let (Some(keys), Some(values)) = (keys.as_string_opt::<i32>(), values.as_string_opt::<i32>()) else { return 0 };
    keys.iter().zip(values.iter()).filter(|pair| *pair == (Some("tags"), Some("unparsed"))).count()
}

/// Builds a [`Batch`]: each event is scanned once, its entry written once, and its record goes straight into columns.
#[derive(Debug)]
pub struct BatchBuilder {
    deriver: Arc<Deriver>,
    memory: Memory,
    arena: Vec<u8>,
    offsets: Vec<i32>,
    leaves: Vec<LeafHash>,
    columns: Columns,
}

impl BatchBuilder {
    /// A builder that expects few events.
    pub fn new(deriver: Arc<Deriver>) -> Self {
        Self::with_capacity(deriver, 1, 512)
    }

    /// A builder with room for `events` entries of `bytes` bytes in all.
    pub fn with_capacity(deriver: Arc<Deriver>, events: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(events + 1);
        offsets.push(0);
        Self {
            deriver,
            memory: Memory::learning(),
            arena: Vec::with_capacity(bytes),
            offsets,
            leaves: Vec::with_capacity(events),
            columns: Columns::with_capacity(events),
        }
    }

    /// Adds one JSON object.
    ///
    /// # Errors
    /// The event is refused; the batch is as before.
    pub fn push_json(&mut self, framer: &Framer, event: &[u8]) -> Result<(), EventError> {
        let Self { deriver, memory, arena, columns, .. } = self;
        columns.push(&deriver.push_next_json(framer, event, memory, arena)?);
        self.seal_last();
        Ok(())
    }

    /// Adds one line of text.
    ///
    /// # Errors
    /// The event is refused; the batch is as before.
    pub fn push_line(&mut self, framer: &Framer, line: &[u8]) -> Result<(), EventError> {
        let Self { deriver, arena, columns, .. } = self;
        columns.push(&deriver.push_line(framer, line, arena)?);
        self.seal_last();
        Ok(())
    }

    /// Adds a stored entry, deriving its record again.
    ///
    /// # Errors
    /// The bytes are no entry; the batch is as before.
    pub fn push_entry(&mut self, entry: &[u8]) -> Result<(), EntryError> {
        self.columns.push(&self.deriver.derive(entry)?);
        self.arena.extend_from_slice(entry);
        self.seal_last();
        Ok(())
    }

    /// How many entries so far.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// [`Batch::weight`] so far.
    pub fn weight(&self) -> usize {
        self.arena.len() + self.columns.text_bytes
    }

    /// The finished batch.
    ///
    /// # Errors
    /// Only if a batch outgrows Arrow's 2 GiB a column, which the limits of requests and commits exclude.
    pub fn finish(mut self) -> Result<Batch, ArrowError> {
        // A batch may stay in the tail for long: what was reserved in vain must not.
        self.arena.shrink_to_fit();
        let entries = BinaryArray::try_new(
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            Buffer::from_vec(self.arena),
            None,
        )?;
        let (received, unparsed) = (self.columns.received_span, self.columns.unparsed);
        let text_bytes = self.columns.text_bytes;
        Ok(Batch { entries, leaves: self.leaves, records: self.columns.finish()?, received, unparsed, text_bytes })
    }

    fn seal_last(&mut self) {
        let start = self.offsets.last().map_or(0, |&end| end as usize);
        self.leaves.push(leaf_hash(&self.arena[start..]));
        // `limits of requests` keep an arena far below 2 GiB; `finish` refuses a wrapped offset.
        self.offsets.push(i32::try_from(self.arena.len()).unwrap_or(i32::MAX));
    }
}

/// Records on their way into columns.
#[derive(Debug)]
pub(crate) struct Columns {
    /// Rows that there will be, as far as known.
    expected: usize,
    time: Vec<i64>,
    received: Vec<i64>,
    source: StringBuilder,
    keywords: [Sparse<StringBuilder>; Keyword::COUNT],
    numbers: [Sparse<Int64Builder>; Number::COUNT],
    pair_ends: Vec<i32>,
    keys: StringBuilder,
    values: StringBuilder,
    received_span: Option<(i64, i64)>,
    unparsed: usize,
    text_bytes: usize,
}

impl Columns {
    pub(crate) fn with_capacity(events: usize) -> Self {
        let text = |bytes: usize| StringBuilder::with_capacity(events, events * bytes);
        let mut pair_ends = Vec::with_capacity(events + 1);
        pair_ends.push(0);
        Self {
            expected: events,
            time: Vec::with_capacity(events),
            received: Vec::with_capacity(events),
            source: text(8),
            keywords: Default::default(),
            numbers: Default::default(),
            pair_ends,
            keys: text(12),
            values: text(12),
            received_span: None,
            unparsed: 0,
            text_bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let row = self.time.len();
        self.time.push(record.time.0);
        self.received.push(record.received.0);
        let received = record.received.0;
        self.received_span = Some(
            self.received_span
                .map_or((received, received), |(earliest, latest)| (earliest.min(received), latest.max(received))),
        );
        self.text_bytes += record.source.len();
        self.source.append_value(&record.source);
        // Most columns of most logs hold nothing: those cost nothing.
        for (column, value) in self.keywords.iter_mut().zip(&record.keywords) {
            if let Some(value) = value {
                self.text_bytes += value.len();
                column.up_to(row, self.expected, value.len()).append_value(value);
            }
        }
        for (column, value) in self.numbers.iter_mut().zip(&record.numbers) {
            if let Some(value) = value {
                column.up_to(row, self.expected, 0).append_value(*value);
            }
        }
        for (key, value) in &record.fields {
            self.text_bytes += key.len() + value.len();
            self.keys.append_value(key);
            self.values.append_value(value);
            if key == "tags" && value == "unparsed" {
                self.unparsed += 1;
            }
        }
        let pairs = self.pair_ends.last().copied().unwrap_or(0);
        self.pair_ends.push(pairs + i32::try_from(record.fields.len()).unwrap_or(i32::MAX - pairs));
    }

    pub(crate) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.time.len();
        let times =
            |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
        let mut arrays = vec![times(self.time), times(self.received), text(&mut self.source)];
        arrays.extend(self.keywords.iter_mut().map(|column| column.finish(rows)));
        arrays.extend(self.numbers.iter_mut().map(|column| column.finish(rows)));
        let pairs =
            StructArray::try_new(schema::pair_members(), vec![text(&mut self.keys), text(&mut self.values)], None)?;
        let fields = ListArray::try_new(
            schema::pair_item(),
            OffsetBuffer::new(ScalarBuffer::from(self.pair_ends)),
            Arc::new(pairs),
            None,
        )?;
        arrays.push(Arc::new(fields));
        RecordBatch::try_new(schema::records(), arrays)
    }
}

/// A column that may hold nothing, and is made by its first value.
#[derive(Debug, Default)]
struct Sparse<B> {
    builder: Option<B>,
}

/// What the builders of columns with nulls have in common.
trait Nullable: ArrayBuilder {
    const TYPE: DataType;
    /// For so many rows with values of about `size` bytes.
    fn for_rows(rows: usize, size: usize) -> Self;
    fn append_nulls(&mut self, count: usize);
    fn fitted(&mut self) -> ArrayRef;
}

impl Nullable for StringBuilder {
    const TYPE: DataType = DataType::Utf8;

    fn for_rows(rows: usize, size: usize) -> Self {
        // One long value must not reserve room for many.
        Self::with_capacity(rows, rows.saturating_mul(size.min(64)).min(1 << 20))
    }

    fn append_nulls(&mut self, count: usize) {
        Self::append_nulls(self, count);
    }

    fn fitted(&mut self) -> ArrayRef {
        text(self)
    }
}

impl Nullable for Int64Builder {
    const TYPE: DataType = DataType::Int64;

    fn for_rows(rows: usize, _: usize) -> Self {
        Self::with_capacity(rows)
    }

    fn append_nulls(&mut self, count: usize) {
        Self::append_nulls(self, count);
    }

    fn fitted(&mut self) -> ArrayRef {
        fitting(self.finish())
    }
}

impl<B: Nullable> Sparse<B> {
    /// The builder for the value of a row, with nothing in the rows before it that have got no value. It is made for
    /// `rows` of the first value's `size`.
    #[inline]
    fn up_to(&mut self, row: usize, rows: usize, size: usize) -> &mut B {
        let builder = self.builder.get_or_insert_with(|| B::for_rows(rows, size));
        let missing = row - builder.len();
        if missing > 0 {
            builder.append_nulls(missing);
        }
        builder
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        match self.builder {
            None => nothing(&B::TYPE, rows),
            Some(_) => self.up_to(rows, rows, 0).fitted(),
        }
    }
}

/// Rows of the columns that [`nothing`] cuts its own from.
const EMPTY_ROWS: usize = 65_536;

/// A column without values; all such share their memory.
pub(crate) fn nothing(data_type: &DataType, rows: usize) -> ArrayRef {
    static TEXT: LazyLock<ArrayRef> = LazyLock::new(|| new_null_array(&DataType::Utf8, EMPTY_ROWS));
    static NUMBER: LazyLock<ArrayRef> = LazyLock::new(|| new_null_array(&DataType::Int64, EMPTY_ROWS));
    match data_type {
        DataType::Utf8 if rows <= EMPTY_ROWS => TEXT.slice(0, rows),
        DataType::Int64 if rows <= EMPTY_ROWS => NUMBER.slice(0, rows),
        _ => new_null_array(data_type, rows),
    }
}

fn text(builder: &mut StringBuilder) -> ArrayRef {
    fitting(builder.finish())
}

/// A column without the memory that it was given in vain.
fn fitting(mut column: impl Array + 'static) -> ArrayRef {
    column.shrink_to_fit();
    Arc::new(column)
}
