//! Expressions over texts, by their bytes.

use mongodb::bson::{Bson, Document, doc};

use super::literal;

/// Whether an expression gives a text for which `holds` gives true. Anything else, absent fields and what somebody put
/// in a text's place alike, satisfies nothing instead of making the whole question fail.
pub fn text(value: &str, holds: impl Into<Bson>) -> Document {
    let holds: Bson = holds.into();
    doc! { "$cond": [{ "$eq": [{ "$type": value }, "string"] }, holds, false] }
}

/// The decimal digits of a whole number; null for anything that is none, instead of making the whole question fail.
pub fn digits(value: &str) -> Document {
    doc! { "$convert": { "input": value, "to": "string", "onError": Bson::Null, "onNull": Bson::Null } }
}

/// Whether `part` lies somewhere in the text that `value` gives.
pub fn contains(value: &str, part: &str) -> Document {
    text(value, doc! { "$gte": [{ "$indexOfBytes": [value, literal(part)] }, 0] })
}

/// Whether the text that `value` gives begins so.
pub fn begins(value: &str, part: &str) -> Document {
    doc! { "$eq": [{ "$indexOfBytes": [value, literal(part), 0, length(part)] }, 0] }
}

/// Whether the text that `value` gives consists of these pieces with anything between them.
pub fn like(value: &str, pieces: &[String]) -> Document {
    let [first, inner @ .., last] = pieces else {
        let same = |only: &String| Bson::from(doc! { "$eq": [value, literal(only.as_str())] });
        return text(value, pieces.first().map_or(true.into(), same));
    };
    let mut all = vec![begins(value, first)];
    if !last.is_empty() {
        all.push(doc! { "$eq": [{ "$indexOfBytes": [value, literal(last.as_str()), "$$end"] }, "$$end"] });
    }
    let inner: Vec<&str> = inner.iter().map(String::as_str).filter(|piece| !piece.is_empty()).collect();
    if !inner.is_empty() {
        all.push(doc! { "$gte": [in_order(value, length(first), &inner), 0] });
    }
    let room = doc! { "$subtract": [{ "$strLenBytes": value }, length(last)] };
    let fits = doc! { "$cond": [{ "$lt": ["$$end", length(first)] }, false, { "$and": all }] };
    text(value, doc! { "$let": { "vars": { "end": room }, "in": fits } })
}

/// Where the last of these pieces ends if they lie in this order from `start` to `$$end`, else less than nothing. Each
/// takes the leftmost place, which leaves most to those behind it.
fn in_order(value: &str, start: i32, pieces: &[&str]) -> Document {
    let found = doc! { "$indexOfBytes": [value, "$$this", "$$value", "$$end"] };
    let next = doc! { "$cond": [{ "$lt": ["$$at", 0] }, -1, { "$add": ["$$at", { "$strLenBytes": "$$this" }] }] };
    let step = doc! { "$let": { "vars": { "at": found }, "in": next } };
    // A place beyond the end is an error to some servers, so it is never asked about.
    let step = doc! { "$cond": [{ "$or": [{ "$lt": ["$$value", 0] }, { "$gt": ["$$value", "$$end"] }] }, -1, step] };
    let pieces: Vec<Bson> = pieces.iter().map(|piece| (*piece).into()).collect();
    doc! { "$reduce": { "input": literal(pieces), "initialValue": start, "in": step } }
}

/// Whether any element of a list satisfies an expression on `$$x`.
pub fn any(list: &str, holds: impl Into<Bson>) -> Document {
    let list = doc! { "$cond": [{ "$isArray": list }, list, []] };
    let holds: Bson = holds.into();
    doc! { "$anyElementTrue": [{ "$map": { "input": list, "as": "x", "in": holds } }] }
}

fn length(text: &str) -> i32 {
    // A document has at most 16 MB, so a longer text is in none.
    i32::try_from(text.len()).unwrap_or(i32::MAX)
}
