//! The query model once more, as plainly as can be: one record at a time, no columns, no hurry.
//!
//! The unit tests of the embedded backend use it too; whoever includes it names the query model `model`.

use std::net::IpAddr;

use sceau_event::{Field, Record};

use super::model::{Bound, Filter, Query, Test, words::Phrase};

/// Does the query accept this record?
pub fn finds(query: &Query, record: &Record<'_>) -> bool {
    query.from.is_none_or(|from| record.time.0 >= from)
        && query.to.is_none_or(|to| record.time.0 < to)
        && (query.internal || !record.source.starts_with("sceau."))
        && accepts(&query.filter, record)
}

/// Does the filter accept this record?
pub fn accepts(filter: &Filter, record: &Record<'_>) -> bool {
    match filter {
        Filter::All => true,
        Filter::And(filters) => filters.iter().all(|filter| accepts(filter, record)),
        Filter::Or(filters) => filters.iter().any(|filter| accepts(filter, record)),
        Filter::Not(filter) => !accepts(filter, record),
        Filter::Text(phrase) => {
            let keywords = record.keywords.iter().flatten();
            keywords.chain(record.fields.iter().map(|(_, value)| value)).any(|text| says(text, phrase))
        }
        Filter::Is(field, test) => match field {
            Field::Time => number_passes(record.time.0, test),
            Field::Received => number_passes(record.received.0, test),
            Field::Source => passes(&record.source, test),
            Field::Keyword(keyword) => record.keyword(*keyword).is_some_and(|value| passes(value, test)),
            Field::Number(number) => record.number(*number).is_some_and(|value| number_passes(value, test)),
            Field::Other(name) => record.others(name).any(|value| passes(value, test)),
        },
    }
}

fn says(text: &str, phrase: &Phrase) -> bool {
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.windows(phrase.words.len()).any(|window| {
        window.iter().zip(&phrase.words).enumerate().all(|(number, (found, wanted))| {
            let open = phrase.last_is_prefix && number + 1 == phrase.words.len();
            if open { found.starts_with(wanted.as_str()) } else { found == wanted }
        })
    })
}

fn like(pattern: &str, value: &str) -> bool {
    match pattern.chars().next() {
        None => value.is_empty(),
        Some('*') => {
            let mut ends = (0..=value.len()).filter(|at| value.is_char_boundary(*at));
            ends.any(|at| like(&pattern[1..], &value[at..]))
        }
        Some(c) => value.strip_prefix(c).is_some_and(|rest| like(&pattern[c.len_utf8()..], rest)),
    }
}

fn within<T: PartialOrd>(value: &T, low: &Bound, high: &Bound, read: impl Fn(&str) -> T) -> bool {
    let above = match low {
        Bound::Unbounded => true,
        Bound::Inclusive(bound) => *value >= read(bound),
        Bound::Exclusive(bound) => *value > read(bound),
    };
    let below = match high {
        Bound::Unbounded => true,
        Bound::Inclusive(bound) => *value <= read(bound),
        Bound::Exclusive(bound) => *value < read(bound),
    };
    above && below
}

fn numeric(low: &Bound, high: &Bound) -> bool {
    [low, high].into_iter().all(|bound| match bound {
        Bound::Unbounded => true,
        Bound::Inclusive(text) | Bound::Exclusive(text) => text.parse::<f64>().is_ok(),
    })
}

fn float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn passes(value: &str, test: &Test) -> bool {
    match test {
        Test::Exists => true,
        Test::Equals(wanted) => value == wanted,
        Test::Wildcard(pieces) => like(&pieces.join("*"), value),
        Test::Words(phrase) => says(value, phrase),
        Test::Cidr(network) => {
            let bits = |address: IpAddr| match address {
                IpAddr::V4(v4) => format!("{:032b}", v4.to_bits()),
                IpAddr::V6(v6) => format!("{:0128b}", v6.to_bits()),
            };
            value.parse::<IpAddr>().is_ok_and(|address| {
                let (found, wanted) = (bits(address.to_canonical()), bits(network.address));
                found.len() == wanted.len() && found[..network.prefix.into()] == wanted[..network.prefix.into()]
            })
        }
        Test::Range { low, high } if numeric(low, high) => {
            value.parse::<f64>().is_ok_and(|value| within(&value, low, high, float))
        }
        Test::Range { low, high } => within(&value.to_owned(), low, high, str::to_owned),
    }
}

fn number_passes(value: i64, test: &Test) -> bool {
    match test {
        Test::Equals(wanted) => wanted.parse::<f64>().is_ok_and(|wanted| wanted == value as f64),
        Test::Range { low, high } => numeric(low, high) && within(&(value as f64), low, high, float),
        test => passes(&value.to_string(), test),
    }
}
