//! Which rows a filter accepts, column by column.
//!
//! Every step is told which rows are still open and looks only at those: what is cheap comes first and leaves few rows
//! to what is dear.

mod pruning;

use std::collections::BTreeSet;

use datafusion::arrow::{
    array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, Datum, Int64Array, RecordBatch, StringArray},
    buffer::BooleanBuffer,
    compute::{and, kernels::cmp},
    datatypes::{Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use sceau_event::{Field, Keyword};

pub use pruning::{Prune, prune};

use super::write::{column, text, times};
use crate::{
    error::StoreError,
    query::{
        Filter, Query, Test,
        value::{Integers, ValueTest},
        words::{Matcher, Phrase},
    },
    schema,
};

/// The columns that [`evaluate`] looks at.
pub fn columns(filter: &Filter) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    collect_columns(filter, &mut names);
    names
}

fn collect_columns(filter: &Filter, names: &mut BTreeSet<&'static str>) {
    match filter {
        Filter::All => {}
        Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|f| collect_columns(f, names)),
        Filter::Not(filter) => collect_columns(filter, names),
        Filter::Is(field, _) => {
            names.insert(schema::column(field));
        }
        Filter::Text(_) => {
            names.extend(Keyword::ALL.iter().map(|keyword| keyword.name()));
            names.insert(schema::FIELDS);
        }
    }
}

/// Which rows a query accepts. A condition whose column was left out holds for all of them.
pub fn accept(query: &Query, rows: &RecordBatch) -> Result<BooleanArray, StoreError> {
    let mut mask: Option<BooleanArray> = None;
    let mut also = |next: BooleanArray| -> Result<(), StoreError> {
        mask = Some(match mask.take() {
            Some(mask) => and(&mask, &next)?,
            None => next,
        });
        Ok(())
    };
    if (query.from.is_some() || query.to.is_some()) && rows.column_by_name(schema::TIME).is_some() {
        let (from, to) = (query.from.unwrap_or(i64::MIN), query.to);
        let times = times(rows, schema::TIME)?;
        also(times.iter().map(|&time| Some(time >= from && to.is_none_or(|to| time < to))).collect())?;
    }
    if !query.internal && rows.column_by_name(schema::SOURCE).is_some() {
        let sources = text(rows, schema::SOURCE)?;
        also(sources.iter().map(|source| Some(source.is_none_or(|source| !source.starts_with("sceau.")))).collect())?;
    }
    also(evaluate(&query.filter, rows)?)?;
    Ok(mask.unwrap_or_else(|| BooleanArray::from(vec![true; rows.num_rows()])))
}

/// Which rows the filter accepts; the result has no nulls.
///
/// # Errors
/// A column is missing or of another type than [`schema::records`] says.
pub fn evaluate(filter: &Filter, batch: &RecordBatch) -> Result<BooleanArray, StoreError> {
    let all = BooleanBuffer::new_set(batch.num_rows());
    Ok(BooleanArray::new(among(&all, filter, batch)?, None))
}

/// Those of the open rows that the filter accepts.
fn among(open: &BooleanBuffer, filter: &Filter, batch: &RecordBatch) -> Result<BooleanBuffer, StoreError> {
    match filter {
        Filter::All => Ok(open.clone()),
        Filter::And(filters) => {
            let mut left = open.clone();
            for filter in by_cost(filters) {
                if left.count_set_bits() == 0 {
                    break;
                }
                left = among(&left, filter, batch)?;
            }
            Ok(left)
        }
        Filter::Or(filters) => {
            let mut left = open.clone();
            for filter in by_cost(filters) {
                if left.count_set_bits() == 0 {
                    break;
                }
                left = without(&left, &among(&left, filter, batch)?);
            }
            Ok(without(open, &left))
        }
        Filter::Not(filter) => Ok(without(open, &among(open, filter, batch)?)),
        Filter::Is(field, test) => field_among(open, field, test, batch),
        Filter::Text(phrase) => text_among(open, phrase, batch),
    }
}

fn without(rows: &BooleanBuffer, taken: &BooleanBuffer) -> BooleanBuffer {
    rows & &!taken
}

fn by_cost(filters: &[Filter]) -> Vec<&Filter> {
    let mut ordered: Vec<&Filter> = filters.iter().collect();
    ordered.sort_by_key(|filter| cost(filter));
    ordered
}

/// A rough order of dearness.
fn cost(filter: &Filter) -> u32 {
    match filter {
        Filter::All => 0,
        Filter::And(filters) | Filter::Or(filters) => filters.iter().map(cost).max().unwrap_or(0),
        Filter::Not(filter) => cost(filter),
        Filter::Is(Field::Other(_), _) => 4,
        Filter::Is(_, Test::Exists | Test::Equals(_) | Test::Range { .. }) => 1,
        Filter::Is(_, Test::Wildcard(_) | Test::Cidr(_)) => 2,
        Filter::Is(_, Test::Words(_)) => 3,
        Filter::Text(_) => 5,
    }
}

/// Those of the open rows for which `holds`.
fn pick(open: &BooleanBuffer, mut holds: impl FnMut(usize) -> bool) -> BooleanBuffer {
    let mut found = none(open.len());
    for row in open.set_indices() {
        if holds(row) {
            found.set_bit(row, true);
        }
    }
    found.finish()
}

/// So few open rows that going through them beats a pass over the whole column.
fn sparse(open: &BooleanBuffer) -> bool {
    open.count_set_bits() < open.len() / 8
}

fn field_among(
    open: &BooleanBuffer,
    field: &Field,
    test: &Test,
    batch: &RecordBatch,
) -> Result<BooleanBuffer, StoreError> {
    match field {
        Field::Time | Field::Received => {
            let name = schema::column(field);
            let times = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>();
            let times = times.ok_or_else(|| StoreError::Damaged(format!("the column {name} holds no times")))?;
            integers_among(open, &times.reinterpret_cast::<Int64Type>(), test)
        }
        Field::Number(number) => {
            let numbers = column(batch, number.name())?.as_primitive_opt::<Int64Type>();
            let numbers =
                numbers.ok_or_else(|| StoreError::Damaged(format!("the column {} holds no numbers", number.name())))?;
            integers_among(open, numbers, test)
        }
        Field::Source | Field::Keyword(_) => texts_among(open, text(batch, schema::column(field))?, test),
        Field::Other(name) => {
            let pairs = Pairs::of(batch)?;
            let test = ValueTest::new(test);
            Ok(pick(open, |row| pairs.of_row(row).any(|(key, value)| key == name && test.holds(value))))
        }
    }
}

fn integers_among(open: &BooleanBuffer, numbers: &Int64Array, test: &Test) -> Result<BooleanBuffer, StoreError> {
    let open = present(open, numbers);
    let Some(test) = Integers::new(test) else {
        let test = ValueTest::new(test);
        return Ok(pick(&open, |row| test.holds(&numbers.value(row).to_string())));
    };
    let values = numbers.values();
    match test {
        Integers::Exists => Ok(open),
        Integers::Equals(wanted) if !sparse(&open) => kernel(&open, cmp::eq, numbers, &Int64Array::new_scalar(wanted)),
        Integers::Between(low, high) if !sparse(&open) => {
            let above = kernel(&open, cmp::gt_eq, numbers, &Int64Array::new_scalar(low))?;
            kernel(&above, cmp::lt_eq, numbers, &Int64Array::new_scalar(high))
        }
        Integers::Equals(wanted) => Ok(pick(&open, |row| values[row] == wanted)),
        Integers::Between(low, high) => Ok(pick(&open, |row| (low..=high).contains(&values[row]))),
        Integers::Never => Ok(BooleanBuffer::new_unset(open.len())),
    }
}

fn texts_among(open: &BooleanBuffer, texts: &StringArray, test: &Test) -> Result<BooleanBuffer, StoreError> {
    let open = present(open, texts);
    match test {
        Test::Exists => Ok(open),
        Test::Equals(wanted) if !sparse(&open) => {
            kernel(&open, cmp::eq, texts, &StringArray::new_scalar(wanted.as_str()))
        }
        Test::Words(phrase) => Ok(words_among(&open, texts, phrase)),
        test => {
            let test = ValueTest::new(test);
            Ok(pick(&open, |row| test.holds(texts.value(row))))
        }
    }
}

/// Those of the open rows that aren't null.
fn present(open: &BooleanBuffer, column: &dyn Array) -> BooleanBuffer {
    column.nulls().map_or_else(|| open.clone(), |nulls| open & nulls.inner())
}

fn kernel(
    open: &BooleanBuffer,
    compare: fn(&dyn Datum, &dyn Datum) -> Result<BooleanArray, ArrowError>,
    column: &dyn Datum,
    scalar: &dyn Datum,
) -> Result<BooleanBuffer, StoreError> {
    // What the kernel says of nulls doesn't matter: open rows aren't null.
    Ok(open & compare(column, scalar)?.values())
}

fn words_among(open: &BooleanBuffer, texts: &StringArray, phrase: &Phrase) -> BooleanBuffer {
    let matcher = phrase.matcher();
    if sparse(open) {
        return pick(open, |row| matcher.matches(texts.value(row)));
    }
    let mut found = none(open.len());
    matcher.matching(texts.value_data(), texts.value_offsets(), |row| texts.value(row), |row| found.set_bit(row, true));
    open & &found.finish()
}

fn none(rows: usize) -> BooleanBufferBuilder {
    let mut found = BooleanBufferBuilder::new(rows);
    found.append_n(rows, false);
    found
}

/// Free text: the message first, since it is where most phrases are, then every other text.
fn text_among(open: &BooleanBuffer, phrase: &Phrase, batch: &RecordBatch) -> Result<BooleanBuffer, StoreError> {
    let mut left = open.clone();
    let others = Keyword::ALL.into_iter().filter(|keyword| *keyword != Keyword::Message);
    for keyword in std::iter::once(Keyword::Message).chain(others) {
        let texts = text(batch, keyword.name())?;
        let present = present(&left, texts);
        if present.count_set_bits() > 0 {
            left = without(&left, &words_among(&present, texts, phrase));
        }
    }
    let pairs = Pairs::of(batch)?;
    let matcher = phrase.matcher();
    let found = if sparse(&left) {
        pick(&left, |row| pairs.of_row(row).any(|(_, value)| matcher.matches(value)))
    } else {
        pairs.matching(&matcher)
    };
    left = without(&left, &found);
    Ok(without(open, &left))
}

/// The column of all other fields, opened.
struct Pairs<'a> {
    offsets: &'a [i32],
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Pairs<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, StoreError> {
        let open = || {
            let list = column(batch, schema::FIELDS).ok()?.as_list_opt::<i32>()?;
            let pairs = list.values().as_struct_opt()?;
            let member = |name| pairs.column_by_name(name)?.as_string_opt::<i32>();
            Some(Self { offsets: list.value_offsets(), keys: member("k")?, values: member("v")? })
        };
        open().ok_or_else(|| StoreError::Damaged(format!("the column {} is no list of pairs", schema::FIELDS)))
    }

    fn of_row(&self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (keys, values) = (self.keys, self.values);
        (self.offsets[row]..self.offsets[row + 1]).map(move |at| (keys.value(at as usize), values.value(at as usize)))
    }

    /// The rows with a value that matches.
    fn matching(&self, matcher: &Matcher<'_>) -> BooleanBuffer {
        let rows = self.offsets.len() - 1;
        let (first, last) = (self.offsets[0] as usize, self.offsets[rows] as usize);
        let (mut found, mut row) = (none(rows), 0);
        let bounds = &self.values.value_offsets()[first..=last];
        matcher.matching(
            self.values.value_data(),
            bounds,
            |value| self.values.value(first + value),
            |value| {
                while self.offsets[row + 1] as usize <= first + value {
                    row += 1;
                }
                found.set_bit(row, true);
            },
        );
        found.finish()
    }
}

#[cfg(test)]
mod tests;
