//! A condition on one field.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use sceau_event::{Field, Keyword};

use super::{beginning, both, either, expression, never, words};
use crate::{
    mongo::{document::shadow, names},
    query::{
        Network, Test,
        number::Num,
        value::{End, Integers, ValueTest},
    },
};

pub fn condition(field: &Field, test: &Test) -> Document {
    match field {
        Field::Time => number(names::TIME_MICROS, test),
        Field::Received => number(names::RECEIVED_MICROS, test),
        Field::Number(column) => number(names::number(*column), test),
        Field::Source => match test {
            Test::Words(phrase) => words::within_source(phrase),
            test => text(&Place::Column(names::SOURCE), test),
        },
        Field::Keyword(Keyword::EventOutcome) => outcome(test),
        Field::Keyword(column) => text(&Place::Column(names::keyword(*column)), test),
        Field::Other(name) => text(&Place::Pair(name), test),
    }
}

fn number(field: &str, test: &Test) -> Document {
    match (Integers::new(test), test) {
        (Some(Integers::Exists), _) => doc! { field: { "$exists": true } },
        (Some(Integers::Equals(wanted)), _) => doc! { field: wanted },
        (Some(Integers::Between(low, high)), _) => doc! { field: { "$gte": low, "$lte": high } },
        // Their own decimal digits are no address.
        (Some(Integers::Never), _) | (None, Test::Cidr(_)) => never(),
        (None, Test::Words(phrase)) => words::within_number(field, phrase),
        (None, Test::Wildcard(pieces)) => {
            let digits = expression::digits(&format!("${field}"));
            let like = expression::like("$$digits", pieces);
            doc! { "$expr": { "$let": { "vars": { "digits": digits }, "in": like } } }
        }
        // These can be told without the digits.
        (None, Test::Exists | Test::Equals(_) | Test::Range { .. }) => never(),
    }
}

/// There are two outcomes, and documents spell one of them in another way: the test is made here.
fn outcome(test: &Test) -> Document {
    let test = ValueTest::new(test);
    let accepted = ["failure", "success"].into_iter().filter(|outcome| test.holds(outcome));
    let accepted: Vec<&str> = accepted.map(names::status_of_outcome).collect();
    let status = names::keyword(Keyword::EventOutcome);
    match accepted.as_slice() {
        [] => never(),
        [only] => doc! { status: *only },
        _ => doc! { status: { "$in": accepted } },
    }
}

/// Where texts lie.
enum Place<'a> {
    /// In a field of their own.
    Column(&'static str),
    /// In the list of pairs, under this name, any number of them.
    Pair(&'a str),
}

impl Place<'_> {
    /// A value satisfies these operators.
    fn value(&self, operators: impl Into<Bson>) -> Document {
        let operators: Bson = operators.into();
        match self {
            Self::Column(name) => doc! { *name: operators },
            Self::Pair(name) => {
                let pair = doc! { names::PAIR_KEY: *name, names::PAIR_VALUE: operators };
                doc! { names::FIELDS: { "$elemMatch": pair } }
            }
        }
    }

    /// A value satisfies an expression, which is given what names it.
    fn expression(&self, holds: impl Fn(&str) -> Document) -> Document {
        match self {
            Self::Column(name) => doc! { "$expr": holds(&format!("${name}")) },
            Self::Pair(name) => {
                let named = doc! { "$eq": [format!("$$x.{}", names::PAIR_KEY), super::literal(*name)] };
                let holds = doc! { "$and": [named, holds(&format!("$$x.{}", names::PAIR_VALUE))] };
                doc! { "$expr": expression::any(&format!("${}", names::FIELDS), holds) }
            }
        }
    }

    /// What the shadow keeps under `member` of a value satisfies these operators.
    fn shadow(&self, member: &str, operators: Document) -> Document {
        match self {
            Self::Column(name) => doc! { format!("{}.{member}.{name}", names::SHADOW): operators },
            Self::Pair(name) => {
                let pair = doc! { names::PAIR_KEY: *name, member: operators };
                doc! { format!("{}.{}", names::SHADOW, names::PAIRS): { "$elemMatch": pair } }
            }
        }
    }

    fn tag(&self) -> String {
        match self {
            Self::Column(name) => (*name).to_owned(),
            Self::Pair(name) => shadow::other_tag(name),
        }
    }
}

fn text(place: &Place<'_>, test: &Test) -> Document {
    if let Test::Words(phrase) = test {
        let within = words::Within { tag: &place.tag(), value: &|operators| place.value(operators) };
        return words::within(&within, phrase);
    }
    match ValueTest::new(test) {
        // Words are done with.
        ValueTest::Exists | ValueTest::Words(_) => exists(place),
        ValueTest::Equals(wanted) => place.value(wanted),
        ValueTest::Wildcard(pieces) => wildcard(place, pieces),
        ValueTest::Texts(low, high) => place.value(range(low, high)),
        ValueTest::Numbers(low, high) => numbers(place, test, low, high),
        ValueTest::Cidr(network) => place.shadow(names::ADDRESSES, addresses(&network)),
    }
}

fn exists(place: &Place<'_>) -> Document {
    match place {
        Place::Column(name) => doc! { *name: { "$exists": true } },
        Place::Pair(name) => doc! { format!("{}.{}", names::FIELDS, names::PAIR_KEY): *name },
    }
}

fn wildcard(place: &Place<'_>, pieces: &[String]) -> Document {
    let first = match pieces {
        [] => return exists(place),
        [only] => return place.value(only.as_str()),
        [first, ..] => first,
    };
    // Found by an index, and all there is to say if the rest is open.
    let begins = if first.is_empty() { exists(place) } else { place.value(beginning(first)) };
    if pieces[1..].iter().all(String::is_empty) {
        return begins;
    }
    both([begins, place.expression(|value| expression::like(value, pieces))])
}

fn range<T: Into<Bson>>(low: End<T>, high: End<T>) -> Document {
    let mut range = Document::new();
    match low {
        End::Open => None,
        End::Closed(bound) => range.insert("$gte", bound),
        End::Beyond(bound) => range.insert("$gt", bound),
    };
    match high {
        End::Open => None,
        End::Closed(bound) => range.insert("$lte", bound),
        End::Beyond(bound) => range.insert("$lt", bound),
    };
    range
}

/// Whole numbers are compared exactly, others as floating-point numbers, so the two kinds have their own bounds.
fn numbers(place: &Place<'_>, test: &Test, low: End<Num>, high: End<Num>) -> Document {
    let mut any = Vec::new();
    if let Some(Integers::Between(least, greatest)) = Integers::new(test) {
        any.push(place.shadow(names::NUMBERS, doc! { "$type": "long", "$gte": least, "$lte": greatest }));
    }
    let mut reals = range(low.map(Num::real), high.map(Num::real));
    reals.insert("$type", "double");
    any.push(place.shadow(names::NUMBERS, reals));
    either(any)
}

/// A network as a range.
fn addresses(network: &Network) -> Document {
    let last = match network.address {
        IpAddr::V4(first) => {
            let hosts = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | hosts))
        }
        IpAddr::V6(first) => {
            let hosts = u128::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | hosts))
        }
    };
    let binary = |address| {
        let bytes = match address {
            IpAddr::V4(_) => shadow::packed(address),
            // `::/0` begins with addresses that are of IPv4 when they stand alone.
            IpAddr::V6(v6) => shadow::tagged_v6(v6),
        };
        Binary { subtype: BinarySubtype::Generic, bytes }
    };
    doc! { "$gte": binary(network.address), "$lte": binary(last) }
}
