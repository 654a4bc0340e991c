//! Whether a row group's word filter hides something that is there. What [`super::write::hashes`] lists is asked for
//! as it comes, in memory that stays in the processor's caches, without making the list.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use sceau_event::Keyword;

use super::{filter::WordFilter, write};
use crate::{
    error::StoreError,
    query::words::{self, Rules},
    schema,
};

/// Hashes and texts that are remembered, each in the one place that it can have.
const PLACES: usize = 1 << 13;

/// Whether the filter lacks something that the rows' texts need.
pub fn hides(filter: &WordFilter, rules: Rules, rows: &[RecordBatch]) -> Result<bool, StoreError> {
    let mut asked = Asked { filter, rules, held: vec![0; PLACES], hides: false };
    // The hash 0 belongs in place 0, where it would look as if it had been asked for.
    asked.held[0] = u64::MAX;
    for keyword in Keyword::ALL {
        let exact = write::EXACT.contains(&keyword);
        let mut known = Known::default();
        for batch in rows {
            let values = write::text(batch, keyword.name())?;
            let none = values.null_count() == values.len();
            for value in values.iter().take(if none { 0 } else { values.len() }).flatten() {
                if !known.repeats(value) {
                    asked.text(value);
                    if exact {
                        asked.hash(words::value_hash(keyword.name(), value));
                    }
                }
            }
        }
    }
    let mut known = Known::default();
    for batch in rows {
        for value in values(batch)? {
            if !known.repeats(value) {
                asked.text(value);
            }
        }
    }
    Ok(asked.hides)
}

/// The values of all further fields.
fn values(batch: &RecordBatch) -> Result<impl Iterator<Item = &str>, StoreError> {
    let list = write::column(batch, schema::FIELDS)?.as_list_opt::<i32>();
    let found = list.and_then(|list| {
        let (from, to) = (list.value_offsets().first().copied()?, list.value_offsets().last().copied()?);
        let values = list.values().as_struct_opt()?.column_by_name("v")?.as_string_opt::<i32>()?;
        let place = |offset: i32| offset.unsigned_abs() as usize;
        Some(values.iter().skip(place(from)).take(place(to).saturating_sub(place(from))).flatten())
    });
    found.ok_or_else(|| StoreError::Damaged("the column fields is no list of pairs".into()))
}

struct Asked<'f> {
    filter: &'f WordFilter,
    rules: Rules,
    /// What the filter was asked for already.
    held: Vec<u64>,
    hides: bool,
}

impl Asked<'_> {
    fn text(&mut self, text: &str) {
        let rules = self.rules;
        words::tokens(text, |token| {
            if let Some(hash) = token.under(rules) {
                self.hash(hash);
            }
        });
    }

    #[inline]
    fn hash(&mut self, hash: u64) {
        let held = &mut self.held[(hash >> 51) as usize];
        if *held != hash {
            *held = hash;
            self.hides |= !self.filter.holds(hash);
        }
    }
}

/// Texts of one column that were asked for already.
struct Known<'t>(Vec<Option<&'t str>>);

impl Default for Known<'_> {
    fn default() -> Self {
        Self(vec![None; PLACES])
    }
}

impl<'t> Known<'t> {
    /// Whether the text was seen before; what has been forgotten is asked for again.
    #[inline]
    fn repeats(&mut self, text: &'t str) -> bool {
        let known = &mut self.0[place(text.as_bytes())];
        known.replace(text) == Some(text)
    }
}

/// The place of a text, by its length and its outer bytes.
#[inline]
fn place(text: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map(|bytes| u64::from_le_bytes(*bytes));
    let (first, last) = (word(text.first_chunk()), word(text.last_chunk()));
    let outer = match (first, last) {
        (Some(first), Some(last)) => first ^ last.rotate_left(29),
        _ => text.iter().fold(0, |outer, byte| outer << 8 | u64::from(*byte)),
    };
    let mixed = (outer ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 51) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, io::Write as _, sync::Arc};

    use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

    use super::*;
    use crate::{
        batch::BatchBuilder,
        embedded::{filter, segment::Pread},
    };

    fn rows(from: usize) -> RecordBatch {
        let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
        let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
        for n in from..from + 20 {
            let event = format!(
                "{{\"user\":\"u {}\",\"ip\":\"10.0.0.{n}\",\"host\":\"\",\"x\":{},\"message\":\"Grüße an {n} de 10.1.2.{n}\"}}",
                n % 3,
                n / 2
            );
            builder.push_json(&framer, event.as_bytes()).unwrap();
        }
        builder.push_json(&framer, b"{\"user\":\"\",\"deep\":{\"er\":[\"a b\",\"c\"]}}").unwrap();
        builder.finish().unwrap().records().clone()
    }

    #[test]
    fn every_single_hash_is_asked_for() {
        // Parts of batches too: their lists don't begin at 0.
        let rows = [rows(0), rows(10).slice(3, 18)];
        let (mut checked, mut passed) = (0, 0);
        for rules in [Rules::Words, Rules::Addresses] {
            let all: BTreeSet<u64> = write::hashes(&rows, rules).unwrap().into_iter().collect();
            let hides = |hashes: Vec<u64>| {
                let bytes = filter::encode(hashes).unwrap();
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                let place = (0, bytes.len() as u64);
                let filter = WordFilter::load(&Pread::open(file.path()).unwrap(), Rules::NEWEST, place).unwrap();
                hides(&filter, rules, &rows).unwrap()
            };
            assert!(!hides(all.iter().copied().collect()));
            for missing in &all {
                checked += 1;
                passed += usize::from(!hides(all.iter().copied().filter(|hash| hash != missing).collect()));
            }
        }
        // The filter itself says of one in 65,536 that it is there.
        assert!(checked > 150 && passed <= 1, "{passed} of {checked}");
    }
}
