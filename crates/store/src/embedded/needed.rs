//! What a row group's word filter must hold: the writer puts it in, and the auditor asks for it.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use sceau_event::Keyword;

use super::write;
use crate::{
    error::StoreError,
    query::words::{self, Rules},
    schema,
};

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
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, sync::Arc};

    use proptest::prelude::*;
    use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

    use super::*;
    use crate::batch::BatchBuilder;

    /// Row by row, without leaving anything out.
    pub fn naive(batches: &[RecordBatch], rules: Rules) -> BTreeSet<u64> {
        let mut all = BTreeSet::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let mut words = |text: &str| words::tokens(text, |token| all.extend(token.under(rules)));
                for keyword in Keyword::ALL {
                    let column = write::text(batch, keyword.name()).unwrap();
                    column.is_valid(row).then(|| words(column.value(row)));
                }
                let pairs = write::column(batch, schema::FIELDS).unwrap().as_list::<i32>().value(row);
                let values = pairs.as_struct().column_by_name("v").unwrap().clone();
                values.as_string::<i32>().iter().flatten().for_each(&mut words);
                for keyword in write::EXACT {
                    let column = write::text(batch, keyword.name()).unwrap();
                    column.is_valid(row).then(|| all.insert(words::value_hash(keyword.name(), column.value(row))));
                }
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_word_and_no_value_is_left_out(
            values in prop::collection::vec(("[ab]{0,2}|[a-z0-9]{7,9}", "(from )?10\\.0\\.[0-9]\\.[0-9]|\\PC{0,12}"), 0..200),
            times in 1..12_usize,
            cut in 0..2_000_usize,
        ) {
            let framer = Framer::new(Micros(0), &SourceId::parse("vpn").unwrap(), &Meta::default());
            let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
            for (user, message) in values.iter().cycle().take(times * values.len()) {
                let event = serde_json::json!({"user": user, "x": user, "y": message, "message": message});
                builder.push_json(&framer, event.to_string().as_bytes()).unwrap();
            }
            let rows = builder.finish().unwrap().records().clone();
            let cut = cut.min(rows.num_rows());
            // Parts of batches: their lists don't begin at 0.
            let parts = [rows.slice(0, cut), rows.slice(cut, rows.num_rows() - cut)];
            for rules in [Rules::Words, Rules::Addresses] {
                for parts in [&parts[..1], &parts[1..], &parts[..]] {
                    let mut found = BTreeSet::new();
                    needed(parts, rules, &mut Recent::new(1 << 6), |hash| { found.insert(hash); }).unwrap();
                    prop_assert_eq!(found, naive(parts, rules));
                }
            }
        }
    }
}
