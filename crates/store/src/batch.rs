//! A request's events as entries, leaves and columns, made once at ingest and then only passed on.

use std::sync::Arc;

use datafusion::arrow::{
    array::{
        Array, ArrayRef, BinaryArray, Int64Builder, ListArray, RecordBatch, StringBuilder, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    error::ArrowError,
};
use sceau_event::{Deriver, EntryError, EventError, Framer, Keyword, Number, Record};
use sceau_ledger::{LeafHash, leaf_hash};

use crate::schema;

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
        self.entries.values().len()
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

    /// How many lines no parser understood.
    pub fn unparsed(&self) -> usize {
        self.unparsed
    }
}

/// Builds a [`Batch`]: each event is scanned once, its entry written once, and its record goes straight into columns.
#[derive(Debug)]
pub struct BatchBuilder {
    deriver: Arc<Deriver>,
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
        let Self { deriver, arena, columns, .. } = self;
        columns.push(&deriver.push_json(framer, event, arena)?);
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

#[derive(Debug)]
struct Columns {
    time: Vec<i64>,
    received: Vec<i64>,
    source: StringBuilder,
    keywords: Vec<StringBuilder>,
    numbers: Vec<Int64Builder>,
    pair_ends: Vec<i32>,
    keys: StringBuilder,
    values: StringBuilder,
    received_span: Option<(i64, i64)>,
    unparsed: usize,
    text_bytes: usize,
}

impl Columns {
    fn with_capacity(events: usize) -> Self {
        let text = |bytes: usize| StringBuilder::with_capacity(events, events * bytes);
        let mut pair_ends = Vec::with_capacity(events + 1);
        pair_ends.push(0);
        Self {
            time: Vec::with_capacity(events),
            received: Vec::with_capacity(events),
            source: text(8),
            keywords: Keyword::ALL.iter().map(|_| text(12)).collect(),
            numbers: Number::ALL.iter().map(|_| Int64Builder::with_capacity(events)).collect(),
            pair_ends,
            keys: text(12),
            values: text(12),
            received_span: None,
            unparsed: 0,
            text_bytes: 0,
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        self.time.push(record.time.0);
        self.received.push(record.received.0);
        let received = record.received.0;
        self.received_span = Some(
            self.received_span
                .map_or((received, received), |(earliest, latest)| (earliest.min(received), latest.max(received))),
        );
        self.text_bytes += record.source.len();
        self.source.append_value(&record.source);
        for (builder, value) in self.keywords.iter_mut().zip(&record.keywords) {
            self.text_bytes += value.as_ref().map_or(0, |value| value.len());
            builder.append_option(value.as_deref());
        }
        for (builder, value) in self.numbers.iter_mut().zip(&record.numbers) {
            builder.append_option(*value);
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

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let times =
            |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
        let mut arrays = vec![times(self.time), times(self.received), text(&mut self.source)];
        arrays.extend(self.keywords.iter_mut().map(text));
        arrays.extend(self.numbers.iter_mut().map(|builder| fitting(builder.finish())));
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

fn text(builder: &mut StringBuilder) -> ArrayRef {
    fitting(builder.finish())
}

/// A column without the memory that it was given in vain.
fn fitting(mut column: impl Array + 'static) -> ArrayRef {
    column.shrink_to_fit();
    Arc::new(column)
}
