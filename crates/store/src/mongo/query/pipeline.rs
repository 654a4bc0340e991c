//! The four questions.

use mongodb::bson::{Bson, Document, doc};
use sceau_event::{Field, Keyword, MAX_COUNT, Number};

use super::{both, condition::condition, expression, matching};
use crate::{
    bounds::{self, MAX_ROWS},
    mongo::names,
    query::{Cursor, Order, Page, Query, Test},
};

/// A page of hits and one more: `_id`, event time and entry.
#[must_use]
pub fn page(query: &Query, page: &Page) -> Vec<Document> {
    let direction = match page.order {
        Order::Newest => -1,
        Order::Oldest => 1,
    };
    let behind = page.after.map(|cursor| behind(page.order, cursor)).unwrap_or_default();
    // One more than asked for tells whether there is a next page.
    let wanted = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
    vec![
        doc! { "$match": both([behind, matching(query)]) },
        doc! { "$sort": { names::TIME_MICROS: direction, names::ID: direction } },
        doc! { "$limit": wanted },
        doc! { "$project": { names::TIME_MICROS: 1, names::ENTRY: 1 } },
    ]
}

/// What comes behind a place. The first part says nothing new: it tells the index where to begin.
fn behind(order: Order, cursor: Cursor) -> Document {
    let (farther, not_before) = match order {
        Order::Newest => ("$lt", "$lte"),
        Order::Oldest => ("$gt", "$gte"),
    };
    let index = i64::try_from(cursor.index).unwrap_or(i64::MAX);
    doc! {
        names::TIME_MICROS: { not_before: cursor.time },
        "$or": [
            { names::TIME_MICROS: { farther: cursor.time } },
            { names::TIME_MICROS: cursor.time, names::ID: { farther: index } },
        ],
    }
}

/// One row: entries `e`, occurrences `o`.
#[must_use]
pub fn count(query: &Query) -> Vec<Document> {
    vec![doc! { "$match": matching(query) }, group(Bson::Null)]
}

/// One row an interval and value: `_id` (`s`tart, `b`y), `e`, `o`; one more than an answer may have.
#[must_use]
pub fn histogram(query: &Query, interval: i64, by: Option<&Field>) -> Vec<Document> {
    let mut stages = vec![doc! { "$match": matching(query) }];
    let value = match by {
        None => None,
        Some(Field::Other(name)) => {
            stages.extend(each_value(name, true));
            Some(Bson::from(format!("${VALUE}")))
        }
        Some(field) => Some(value(field)),
    };
    let mut key = doc! { "s": start(interval) };
    if let Some(value) = value {
        key.insert("b", doc! { "$ifNull": [value, Bson::Null] });
    }
    let most = i64::try_from(MAX_ROWS).unwrap_or(i64::MAX);
    stages.extend([group(key), doc! { "$limit": most.saturating_add(1) }]);
    stages
}

/// One row a value: `v`, `e`, `o`, and in each how many values there are, `n`; none if there are none.
#[must_use]
pub fn top(query: &Query, field: &Field, rows: usize) -> Vec<Document> {
    // Fields without a column are rare ones, and there is an index of who has them.
    let has = match field {
        Field::Other(_) => condition(field, &Test::Exists),
        _ => Document::new(),
    };
    let mut stages = vec![doc! { "$match": both([matching(query), has]) }];
    let value = match field {
        Field::Other(name) => {
            stages.extend(each_value(name, false));
            Bson::from(format!("${VALUE}"))
        }
        field => value(field),
    };
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    // Of the same groups both the best and the number, in one pass. The table is unwound again within the server, since
    // one document of all its rows could be too long to be sent.
    let both = doc! {
        "rows": [{ "$sort": { "o": -1, names::ID: 1 } }, { "$limit": rows }],
        "all": [{ "$count": "n" }],
    };
    stages.extend([
        group(value),
        doc! { "$match": { names::ID: { "$ne": Bson::Null } } },
        doc! { "$facet": both },
        doc! { "$unwind": "$rows" },
        doc! { "$unwind": "$all" },
        doc! { "$project": { "v": "$rows._id", "e": "$rows.e", "o": "$rows.o", "n": "$all.n" } },
    ]);
    stages
}

/// What a group's value is as text: how documents keep it is not always how the record says it.
#[must_use]
pub fn text_of(field: &Field, value: &Bson) -> Option<String> {
    match (field, value) {
        (Field::Time | Field::Received, Bson::Int64(time)) => Some(sceau_event::Micros(*time).to_string()),
        (Field::Keyword(Keyword::EventOutcome), Bson::String(status)) => {
            Some(names::outcome_of_status(status).to_owned())
        }
        (_, Bson::String(text)) => Some(text.clone()),
        _ => None,
    }
}

const VALUE: &str = "value";

fn group(key: impl Into<Bson>) -> Document {
    let (key, one): (Bson, i64) = (key.into(), 1);
    doc! { "$group": { names::ID: key, "e": { "$sum": one }, "o": { "$sum": weight() } } }
}

/// How many events a document stands for.
fn weight() -> Document {
    let count = format!("${}", names::number(Number::EventCount));
    let one = 1_i64;
    // Within the bounds that records keep to, so that no altered document can make a sum overflow.
    doc! { "$min": [MAX_COUNT, { "$max": [one, { "$ifNull": [count, one] }] }] }
}

/// The value of a field of which a record has one at most; null or absent where it has none.
fn value(field: &Field) -> Bson {
    match field {
        Field::Time => format!("${}", names::TIME_MICROS).into(),
        Field::Received => format!("${}", names::RECEIVED_MICROS).into(),
        Field::Source => format!("${}", names::SOURCE).into(),
        Field::Keyword(column) => format!("${}", names::keyword(*column)).into(),
        // As text, by which equal counts are ordered.
        Field::Number(column) => expression::digits(&format!("${}", names::number(*column))).into(),
        Field::Other(_) => Bson::Null,
    }
}

/// One document for each different value that an entry has under `name`; with `keep_empty` one of null if it has none.
fn each_value(name: &str, keep_empty: bool) -> [Document; 2] {
    let named = doc! { "$eq": [format!("$$x.{}", names::PAIR_KEY), super::literal(name)] };
    let fields = format!("${}", names::FIELDS);
    let list = doc! { "$cond": [{ "$isArray": &fields }, &fields, []] };
    let pairs = doc! { "$filter": { "input": list, "as": "x", "cond": named } };
    let values = doc! { "$map": { "input": pairs, "as": "x", "in": format!("$$x.{}", names::PAIR_VALUE) } };
    // A union with nothing: a set has each value once.
    let distinct = doc! { "$setUnion": [values, []] };
    let values = if keep_empty {
        let kept = doc! { "$cond": [{ "$eq": ["$$values", []] }, [Bson::Null], "$$values"] };
        doc! { "$let": { "vars": { "values": distinct }, "in": kept } }
    } else {
        distinct
    };
    let count = names::number(Number::EventCount);
    [doc! { "$project": { names::TIME_MICROS: 1, count: 1, VALUE: values } }, doc! { "$unwind": format!("${VALUE}") }]
}

/// The start of the interval that the event time lies in. All of it is Int64: the remainder has the sign of the time, and
/// no step leaves the range that times and intervals have.
fn start(interval: i64) -> Document {
    let phase = bounds::phase(interval);
    let time = format!("${}", names::TIME_MICROS);
    let zero = 0_i64;
    let time: Bson = if phase == 0 { time.into() } else { doc! { "$subtract": [time, phase] }.into() };
    let floor = doc! { "$subtract": [
        { "$subtract": [&time, "$$rest"] },
        { "$cond": [{ "$lt": ["$$rest", zero] }, interval, zero] },
    ] };
    let start = if phase == 0 {
        floor
    } else {
        doc! { "$add": [floor, phase] }
    };
    doc! { "$let": { "vars": { "rest": { "$mod": [time, interval] } }, "in": start } }
}
