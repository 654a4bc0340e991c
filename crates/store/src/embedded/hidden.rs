//! What a row group's word filter must hold, and whether it hides something that is there.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use sceau_event::Keyword;

use super::{filter::WordFilter, write};
use crate::{
    error::StoreError,
    query::words::{self, Rules},
    schema,
};

/// Whether the filter lacks something that the rows' texts need.
pub fn hides(filter: &WordFilter, rules: Rules, rows: &[RecordBatch]) -> Result<bool, StoreError> {
    let mut hides = false;
    needed(rows, rules, &mut Recent::new(1 << 13), |hash| hides |= !filter.holds(hash))?;
    Ok(hides)
}

/// Gives each hash that the rows need at least once, and those that come again soon only once: `recent` remembers them.
pub fn needed(
    rows: &[RecordBatch],
    rules: Rules,
    recent: &mut Recent,
    mut each: impl FnMut(u64),
) -> Result<(), StoreError> {
    let mut hash = |hash| {
        if recent.is_new(hash) {
            each(hash);
        }
    };
    for keyword in Keyword::ALL {
        let exact = write::EXACT.contains(&keyword);
        let mut repeats = Repeats::default();
        for batch in rows {
            let values = write::text(batch, keyword.name())?;
            if values.null_count() == values.len() {
                continue;
            }
            for value in values.iter().flatten().filter(|value| repeats.is_new(value)) {
                words::tokens(value, |token| token.under(rules).into_iter().for_each(&mut hash));
                if exact {
                    hash(words::value_hash(keyword.name(), value));
                }
            }
        }
    }
    let mut repeats = Repeats::default();
    for batch in rows {
        for value in values(batch)?.filter(|value| repeats.is_new(value)) {
            words::tokens(value, |token| token.under(rules).into_iter().for_each(&mut hash));
        }
    }
    Ok(())
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

/// Hashes that came lately, each in the one place that it can have: what has been forgotten is merely new once more.
pub struct Recent {
    hashes: Vec<u64>,
    shift: u32,
}

impl Recent {
    /// One that remembers so many, a power of two greater than 1.
    pub fn new(places: usize) -> Self {
        let mut hashes = vec![0; places];
        // The hash 0 belongs in place 0, where it would look as if it had come.
        if let Some(first) = hashes.first_mut() {
            *first = u64::MAX;
        }
        Self { hashes, shift: 64 - places.trailing_zeros() }
    }

    #[inline]
    fn is_new(&mut self, hash: u64) -> bool {
        let place = &mut self.hashes[(hash >> self.shift) as usize];
        std::mem::replace(place, hash) != hash
    }
}

/// Values that [`Repeats`] remembers, a power of two.
const PLACES: usize = 1 << 12;

/// Tells values of one column that came lately: a comparison is cheaper than cutting them into words again. In columns
/// where next to nothing is repeated it gives up.
struct Repeats<'v> {
    recent: Vec<Option<&'v str>>,
    looked: usize,
    known: usize,
}

impl Default for Repeats<'_> {
    fn default() -> Self {
        Self { recent: vec![None; PLACES], looked: 0, known: 0 }
    }
}

impl<'v> Repeats<'v> {
    /// After so many values, fewer than one in eight of them known, nothing more is looked up.
    const TRIAL: usize = 1 << 12;

    #[inline]
    fn is_new(&mut self, value: &'v str) -> bool {
        if self.looked >= Self::TRIAL && self.known < self.looked / 8 {
            return true;
        }
        self.looked += 1;
        let place = &mut self.recent[words::glance(value) & (PLACES - 1)];
        let known = place.replace(value) == Some(value);
        self.known += usize::from(known);
        !known
    }
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
