//! One entry as a BSON document, straight from the columns of its record, and back.

pub(super) mod bytes;
mod read;
pub mod shadow;

use std::sync::Arc;

use bytes::Writer;
use datafusion::arrow::{
    array::{Array, AsArray as _, Int64Array, RecordBatch, StringArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use mongodb::bson::RawDocumentBuf;
use sceau_event::{Deriver, Keyword, Micros, Number};
use shadow::Shadow;

pub use read::{Stored, difference, entry, from_hex, index};

use super::{insert::Inserts, names};
use crate::{batch::Batch, error::StoreError, schema};

/// What a document holds besides its record.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The entry's index.
    pub index: u64,
    /// The entry's exact bytes.
    pub entry: &'a [u8],
    /// Its leaf hash.
    pub leaf: &'a [u8],
    /// Its HMAC.
    pub tag: Option<&'a [u8]>,
    /// The [`version`] that made the document.
    pub deriver: &'a str,
}

/// What stands between the version of the deriver and that of the shadow's rules; neither holds one.
const BESIDES: char = '/';

/// By which rules a document is made: `2/1-unicode-17.0.0`, the deriver's version, then that of the shadow. A document that
/// names others was made by another version of the product, and is made anew by a rebuild.
#[must_use]
pub fn version(deriver: &Deriver) -> String {
    format!("{}{BESIDES}{}", deriver.version(), shadow::version())
}

/// The deriver's part of a [`version`].
#[must_use]
pub fn deriver_version(version: &str) -> &str {
    version.rsplit_once(BESIDES).map_or(version, |(deriver, _)| deriver)
}

/// The commands that insert the documents of consecutive entries from `first` on. There is one tag an entry.
///
/// # Errors
/// The columns are not those of a record, or the tags don't fit the entries.
pub fn documents(
    first: u64,
    batches: &[Arc<Batch>],
    tags: &[[u8; 32]],
    deriver: &str,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let count: usize = batches.iter().map(|batch| batch.len()).sum();
    if tags.len() != count {
        let detail = format!("a commit brings {} codes for {count} entries", tags.len());
        return Err(StoreError::Internal(detail));
    }
    let mut tags = tags.iter();
    let (mut inserts, mut index) = (Inserts::new(names::LOGS), first);
    let mut shadow = Shadow::default();
    for batch in batches {
        let columns = Columns::of(batch.records())?;
        for (row, leaf) in batch.leaves().iter().enumerate() {
            let tag = tags.next().map(<[u8; 32]>::as_slice);
            let sealed = Sealed { index, entry: batch.entries().value(row), leaf: &leaf.0, tag, deriver };
            inserts.push(|writer| columns.write(row, &sealed, &mut shadow, writer));
            index += 1;
        }
    }
    inserts.finish()
}

/// The columns of a batch of records, opened.
#[derive(Debug)]
pub struct Columns<'a> {
    times: &'a [i64],
    received: &'a [i64],
    source: &'a StringArray,
    keywords: Vec<(Keyword, &'a StringArray)>,
    numbers: Vec<(Number, &'a Int64Array)>,
    offsets: &'a [i32],
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Columns<'a> {
    /// Opens a batch of [`schema::records`].
    ///
    /// # Errors
    /// It has other columns.
    pub fn of(records: &'a RecordBatch) -> Result<Self, StoreError> {
        Self::open(records).ok_or_else(|| StoreError::Internal("the columns are not those of records".into()))
    }

    fn open(records: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| records.column_by_name(name)?.as_string_opt::<i32>();
        let times = |name: &str| {
            let column = records.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(&column.values()[..])
        };
        let number = |name: &str| records.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let list = records.column_by_name(schema::FIELDS)?.as_list_opt::<i32>()?;
        let pairs = list.values().as_struct_opt()?;
        // A column without a value costs nothing a row.
        let filled = |column: &dyn Array| column.null_count() < column.len();
        let keywords = Keyword::ALL.into_iter().map(|keyword| Some((keyword, text(keyword.name())?)));
        let numbers = Number::ALL.into_iter().map(|found| Some((found, number(found.name())?)));
        Some(Self {
            times: times(schema::TIME)?,
            received: times(schema::RECEIVED)?,
            source: text(schema::SOURCE)?,
            keywords: keywords.collect::<Option<Vec<_>>>()?.into_iter().filter(|(_, column)| filled(column)).collect(),
            numbers: numbers.collect::<Option<Vec<_>>>()?.into_iter().filter(|(_, column)| filled(column)).collect(),
            offsets: list.value_offsets(),
            keys: pairs.column_by_name(names::PAIR_KEY)?.as_string_opt()?,
            values: pairs.column_by_name(names::PAIR_VALUE)?.as_string_opt()?,
        })
    }

    /// The document of a row.
    ///
    /// # Errors
    /// It would be no BSON, which the limits of entries exclude.
    pub fn document(&self, row: usize, sealed: &Sealed<'_>, shadow: &mut Shadow) -> Result<RawDocumentBuf, StoreError> {
        let mut writer = Writer::with_capacity(1_024 + 4 * sealed.entry.len());
        let document = writer.begin();
        self.write(row, sealed, shadow, &mut writer);
        writer.end(document);
        RawDocumentBuf::from_bytes(writer.into_bytes()).map_err(|error| StoreError::Internal(error.to_string()))
    }

    /// The fields of the document of a row.
    fn write(&self, row: usize, sealed: &Sealed<'_>, shadow: &mut Shadow, writer: &mut Writer) {
        shadow.clear();
        // Indexes beyond 2^63 can't come into being, see `embedded::db::number`.
        writer.int64(names::ID, i64::try_from(sealed.index).unwrap_or(i64::MAX));
        let (time, received) = (self.times[row], self.received[row]);
        writer.string(names::TIMESTAMP, &Micros(time).to_string());
        writer.date(names::TIME, time);
        self.write_texts(row, writer, shadow);
        for (number, column) in self.numbers.iter().filter(|(_, column)| column.is_valid(row)) {
            writer.int64(names::number(*number), column.value(row));
        }
        writer.date(names::RECEIVED, received);
        let first = self.write_pairs(row, writer, shadow);
        match std::str::from_utf8(sealed.entry) {
            Ok(text) => writer.string(names::ENTRY, text),
            // An entry is UTF-8; should it ever be something else, its bytes are kept all the same.
            Err(_) => writer.binary(names::ENTRY, sealed.entry),
        }
        writer.hex(names::HASH, sealed.leaf);
        if let Some(tag) = sealed.tag {
            writer.hex(names::HMAC, tag);
        }
        writer.string(names::DERIVER, sealed.deriver);
        writer.int64(names::TIME_MICROS, time);
        writer.int64(names::RECEIVED_MICROS, received);
        shadow.write(writer, |number| self.keys.value(first + number));
    }

    fn write_texts(&self, row: usize, writer: &mut Writer, shadow: &mut Shadow) {
        let source = self.source.value(row);
        writer.string(names::SOURCE, source);
        shadow.source(source);
        for (keyword, column) in self.keywords.iter().filter(|(_, column)| column.is_valid(row)) {
            let text = column.value(row);
            shadow.keyword(*keyword, text);
            let shown = if *keyword == Keyword::EventOutcome { names::status_of_outcome(text) } else { text };
            writer.string(names::keyword(*keyword), shown);
        }
    }

    /// Gives the place of the row's first pair.
    fn write_pairs(&self, row: usize, writer: &mut Writer, shadow: &mut Shadow) -> usize {
        let place = |at: usize| self.offsets[at].unsigned_abs() as usize;
        let (first, last) = (place(row), place(row + 1));
        if first < last {
            let list = writer.array(names::FIELDS);
            for at in first..last {
                let (key, value) = (self.keys.value(at), self.values.value(at));
                let item = writer.item(at - first);
                writer.string(names::PAIR_KEY, key);
                writer.string(names::PAIR_VALUE, value);
                writer.end(item);
                shadow.pair(at - first, key, value);
            }
            writer.end(list);
        }
        first
    }
}

#[cfg(test)]
mod tests;
