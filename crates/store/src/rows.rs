//! Rows of columns read back as records: for who follows the log and need not derive again what was derived at ingest.

use std::borrow::Cow;

use datafusion::arrow::{
    array::{Array, AsArray as _, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use sceau_event::{Keyword, Micros, Number, Record};

use crate::{error::StoreError, schema};

/// The columns of [`schema::records`], read row by row.
#[derive(Debug)]
pub struct RecordRows<'a> {
    time: &'a TimestampMicrosecondArray,
    received: &'a TimestampMicrosecondArray,
    source: &'a StringArray,
    /// Only columns with a value in them.
    keywords: Vec<(Keyword, &'a StringArray)>,
    numbers: Vec<(Number, &'a Int64Array)>,
    fields: &'a ListArray,
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> RecordRows<'a> {
    /// Reads columns as [`crate::Batch::records`] gives them.
    ///
    /// # Errors
    /// A column is missing or of another type.
    pub fn new(records: &'a RecordBatch) -> Result<Self, StoreError> {
        let missing = |name: &str| StoreError::Internal(format!("records have no column {name} of the right type"));
        let column = |name: &str| records.column_by_name(name).ok_or_else(|| missing(name));
        let time =
            |name: &str| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| missing(name));
        let text = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| missing(name));
        let (mut keywords, mut numbers) = (Vec::new(), Vec::new());
        for keyword in Keyword::ALL {
            let values = text(keyword.name())?;
            if values.null_count() < values.len() {
                keywords.push((keyword, values));
            }
        }
        for number in Number::ALL {
            let values =
                column(number.name())?.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(number.name()))?;
            if values.null_count() < values.len() {
                numbers.push((number, values));
            }
        }
        let fields = column(schema::FIELDS)?.as_list_opt::<i32>().ok_or_else(|| missing(schema::FIELDS))?;
        let pairs = fields.values().as_struct_opt().map(datafusion::arrow::array::StructArray::columns);
        let Some([keys, values]) = pairs else { return Err(missing(schema::FIELDS)) };
        let keys = keys.as_string_opt::<i32>().ok_or_else(|| missing(schema::FIELDS))?;
        let values = values.as_string_opt::<i32>().ok_or_else(|| missing(schema::FIELDS))?;
        let (time, received, source) = (time(schema::TIME)?, time(schema::RECEIVED)?, text(schema::SOURCE)?);
        Ok(Self { time, received, source, keywords, numbers, fields, keys, values })
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Reads a row into `record`, whose memory is used again; `false` if there is no such row.
    pub fn read(&self, row: usize, record: &mut Record<'a>) -> bool {
        if row >= self.len() {
            return false;
        }
        record.time = Micros(self.time.value(row));
        record.received = Micros(self.received.value(row));
        record.source = Cow::Borrowed(self.source.value(row));
        record.keywords = [const { None }; Keyword::COUNT];
        record.numbers = [None; Number::COUNT];
        for (keyword, values) in &self.keywords {
            if values.is_valid(row) {
                record.keywords[*keyword as usize] = Some(Cow::Borrowed(values.value(row)));
            }
        }
        for (number, values) in &self.numbers {
            if values.is_valid(row) {
                record.numbers[*number as usize] = Some(values.value(row));
            }
        }
        record.fields.clear();
        let offsets = self.fields.value_offsets();
        let bound = |at: usize| offsets.get(at).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
        for at in bound(row)..bound(row + 1) {
            record.fields.push((Cow::Borrowed(self.keys.value(at)), Cow::Borrowed(self.values.value(at))));
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use sceau_event::{Deriver, Framer, Meta, SourceId};

    use super::*;
    use crate::BatchBuilder;

    proptest! {
        /// What a follower reads from memory is what it would derive from the entry.
        #[test]
        fn rows_are_the_records_that_entries_give(
            events in prop::collection::vec(
                prop_oneof![
                    Just(r#"{"timestamp":"2026-11-22T01:02:03Z","ip":"10.0.0.1","user":"ann","action":"login","status":"failed","a":{"b":[1,2]},"bytes":5}"#),
                    Just(r#"{"nothing":"known","tags":["x","y"]}"#),
                    Just(r#"{}"#),
                    Just("Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for invalid user webmaster from 173.234.31.186 port 38926 ssh2"),
                    Just("no syntax at all"),
                ],
                1..40,
            ),
            (from, len) in (0usize..40, 0usize..40),
        ) {
            let deriver = Arc::new(Deriver::builtin());
            let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("test").unwrap(), &Meta::default());
            let mut builder = BatchBuilder::new(deriver.clone());
            for event in &events {
                if event.starts_with('{') {
                    builder.push_json(&framer, event.as_bytes()).unwrap();
                } else {
                    builder.push_line(&framer, event.as_bytes()).unwrap();
                }
            }
            let batch = builder.finish().unwrap().slice(from, len);
            let rows = RecordRows::new(batch.records()).unwrap();
            prop_assert_eq!((rows.len(), rows.is_empty()), (batch.len(), batch.is_empty()));
            let mut record = Record::new(Micros(0), "".into());
            for row in 0..batch.len() {
                prop_assert!(rows.read(row, &mut record));
                prop_assert_eq!(&record, &deriver.derive(batch.entries().value(row)).unwrap());
            }
            prop_assert!(!rows.read(batch.len(), &mut record));
        }
    }
}
