//! The indexes of `logs`, and which question each is for.

use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use sceau_event::{Keyword, Number};

use super::names;

/// An index: its name, what it is on, and the field without which a document is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// The name, under which explanations show it.
    pub name: &'static str,
    /// The keys in order, all ascending: an index can be walked from both ends.
    pub keys: Document,
    /// Only documents with this field are listed: most have no user, and a question for one names it.
    pub only_with: Option<&'static str>,
}

impl Index {
    /// As the driver creates it.
    #[must_use]
    pub fn model(&self) -> IndexModel {
        let filter = self.only_with.map(|field| doc! { field: { "$exists": true } });
        let options = IndexOptions::builder().name(self.name.to_owned()).partial_filter_expression(filter).build();
        IndexModel::builder().keys(self.keys.clone()).options(options).build()
    }
}

/// All of them. Behind its own keys each has event time and index, so that a page comes in order without being sorted.
#[must_use]
pub fn of_logs() -> Vec<Index> {
    let words = format!("{}.{}", names::SHADOW, names::WORDS);
    let (key, value) =
        (format!("{}.{}", names::FIELDS, names::PAIR_KEY), format!("{}.{}", names::FIELDS, names::PAIR_VALUE));
    let column = |name, keyword| {
        let field = names::keyword(keyword);
        Index { name, keys: doc! { field: 1, names::TIME_MICROS: 1, names::ID: 1 }, only_with: Some(field) }
    };
    vec![
        // The newest entries; histograms and counts of a stretch of time, for which it holds all that they need.
        Index {
            name: "by_time",
            keys: doc! {
                names::TIME_MICROS: 1, names::ID: 1, names::SOURCE: 1, names::number(Number::EventCount): 1,
            },
            only_with: None,
        },
        // What people filter by who click on a date.
        Index { name: "by_date", keys: doc! { names::TIME: 1 }, only_with: None },
        // What one address, one user did; who logged in; what failed.
        column("by_ip", Keyword::SourceIp),
        column("by_user", Keyword::UserName),
        column("by_action", Keyword::EventAction),
        column("by_status", Keyword::EventOutcome),
        // What one source sent.
        Index {
            name: "by_source",
            keys: doc! { names::SOURCE: 1, names::TIME_MICROS: 1, names::ID: 1 },
            only_with: None,
        },
        // Words and the beginnings of words, wherever they stand.
        Index { name: "by_word", keys: doc! { words: 1, names::TIME_MICROS: 1, names::ID: 1 }, only_with: None },
        // Fields that have no column of their own.
        Index {
            name: "by_field",
            keys: doc! { key: 1, value: 1, names::TIME_MICROS: 1, names::ID: 1 },
            only_with: None,
        },
    ]
}

/// Kinds of BSON that a key can be of without being a number, by their codes. An array, a regular expression or what is
/// undefined is refused as a key by the server.
const NO_NUMBERS: [i32; 14] = [2, 3, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, -1, 127];

/// What documents of `logs` have as a key that is no index, but fractions, which lie among the indexes. Each is a stretch of
/// the index on `_id`: a denial (`$not`) would read the whole log.
#[must_use]
pub fn no_index() -> [Document; 3] {
    let key = |condition: Document| doc! { names::ID: condition };
    [key(doc! { "$type": NO_NUMBERS.to_vec() }), key(doc! { "$lt": 0_i64 }), key(doc! { "$eq": f64::NAN })]
}
