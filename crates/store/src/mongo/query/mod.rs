//! Questions as aggregation pipelines.
//!
//! Conditions on fields are plain operators, which indexes serve. Where a condition needs more (phrases, patterns), an
//! `$expr` looks for bytes: regular expressions are not used, since theirs can't hold NUL, are limited in length and in
//! steps, and need an anchor or a pass over each text anyway.

mod condition;
mod expression;
mod pipeline;
mod words;

use mongodb::bson::{Bson, Document, doc};

pub use pipeline::{count, histogram, page, text_of, top};

use super::names;
use crate::query::{Filter, Query};

/// How the product's own sources begin.
const INTERNAL: &str = "sceau.";

/// What an entry's document must be like for the query to accept it.
#[must_use]
pub fn matching(query: &Query) -> Document {
    let mut all = Vec::new();
    let mut times = Document::new();
    if let Some(from) = query.from {
        times.insert("$gte", from);
    }
    if let Some(to) = query.to {
        times.insert("$lt", to);
    }
    if !times.is_empty() {
        all.push(doc! { names::TIME_MICROS: times });
    }
    if !query.internal {
        all.push(not(doc! { names::SOURCE: beginning(INTERNAL) }));
    }
    all.push(filter(&query.filter));
    both(all)
}

fn filter(wanted: &Filter) -> Document {
    match wanted {
        Filter::All => Document::new(),
        Filter::And(filters) => both(filters.iter().map(filter)),
        Filter::Or(filters) => either(filters.iter().map(filter).collect()),
        Filter::Not(inner) => not(filter(inner)),
        Filter::Is(field, test) => condition::condition(field, test),
        Filter::Text(phrase) => words::anywhere(phrase),
    }
}

/// Accepts nothing; the server knows so without looking at a document.
fn never() -> Document {
    doc! { names::ID: { "$in": [] } }
}

/// All of them, side by side as long as they are about different fields: so they are written, and so they are read in
/// Compass.
fn both(conditions: impl IntoIterator<Item = Document>) -> Document {
    let (mut together, mut apart) = (Document::new(), Vec::new());
    for condition in conditions {
        if condition.keys().any(|key| together.contains_key(key)) {
            apart.push(condition);
        } else {
            together.extend(condition);
        }
    }
    if apart.is_empty() {
        return together;
    }
    if together.contains_key("$and") {
        apart.insert(0, std::mem::take(&mut together));
    }
    together.insert("$and", apart);
    together
}

fn either(mut any: Vec<Document>) -> Document {
    match any.len() {
        0 => never(),
        1 => any.remove(0),
        _ if any.iter().any(Document::is_empty) => Document::new(),
        _ => doc! { "$or": any },
    }
}

fn not(mut condition: Document) -> Document {
    if condition.is_empty() {
        return never();
    }
    // Alternatives are denied without a level of their own: servers limit how deep a question may be.
    match condition.remove("$or") {
        Some(any) if condition.is_empty() => return doc! { "$nor": any },
        Some(any) => drop(condition.insert("$or", any)),
        None => {}
    }
    doc! { "$nor": [condition] }
}

/// Texts that begin so, as a range: it is exact, since texts are ordered by their bytes, and those of UTF-8 by its
/// characters' numbers.
fn beginning(prefix: &str) -> Document {
    let mut range = doc! { "$gte": prefix };
    if let Some(end) = behind(prefix) {
        range.insert("$lt", end);
    }
    range
}

/// The least text that is greater than all that begin with `prefix`.
fn behind(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // A range of characters steps over those that are none.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// A constant within an expression, whatever it looks like.
fn literal(value: impl Into<Bson>) -> Bson {
    doc! { "$literal": value.into() }.into()
}

#[cfg(test)]
mod tests;
