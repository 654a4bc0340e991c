//! One condition on one value, for every backend.

use std::{cmp::Ordering, net::IpAddr};

use memchr::memmem;

use super::{Bound, Network, Test, number::Num, words::Matcher};

/// A [`Test`] made ready for many texts.
pub(crate) enum ValueTest<'a> {
    Exists,
    Equals(&'a str),
    Wildcard(&'a [String]),
    Words(Matcher<'a>),
    Numbers(End<Num>, End<Num>),
    Texts(End<&'a str>, End<&'a str>),
    Cidr(Network),
}

impl<'a> ValueTest<'a> {
    pub fn new(test: &'a Test) -> Self {
        match test {
            Test::Exists => Self::Exists,
            Test::Equals(wanted) => Self::Equals(wanted),
            Test::Wildcard(pieces) => Self::Wildcard(pieces),
            Test::Words(phrase) => Self::Words(phrase.matcher()),
            Test::Cidr(network) => Self::Cidr(*network),
            Test::Range { low, high } => match (numeric(low), numeric(high)) {
                (Some(low), Some(high)) => Self::Numbers(low, high),
                _ => Self::Texts(textual(low), textual(high)),
            },
        }
    }

    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(wanted) => value == *wanted,
            Self::Wildcard(pieces) => wildcard(pieces, value),
            Self::Words(matcher) => matcher.matches(value),
            Self::Cidr(network) => value.parse().is_ok_and(|address: IpAddr| network.contains(address)),
            Self::Texts(low, high) => {
                low.admits(|bound| value.cmp(bound), Ordering::Greater)
                    && high.admits(|bound| value.cmp(bound), Ordering::Less)
            }
            Self::Numbers(low, high) => Num::parse(value).is_some_and(|value| {
                low.admits(|bound| order(value, *bound), Ordering::Greater)
                    && high.admits(|bound| order(value, *bound), Ordering::Less)
            }),
        }
    }
}

fn order(value: Num, bound: Num) -> Ordering {
    match value {
        Num::Whole(value) => bound.order_of(value),
        // Both are finite, so there always is an order.
        Num::Real(value) => value.partial_cmp(&bound.real()).unwrap_or(Ordering::Equal),
    }
}

/// One end of a range.
#[derive(Clone, Copy)]
pub(crate) enum End<T> {
    Open,
    Closed(T),
    Beyond(T),
}

impl<T> End<T> {
    /// The same end, its bound said otherwise.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> End<U> {
        match self {
            Self::Open => End::Open,
            Self::Closed(bound) => End::Closed(change(bound)),
            Self::Beyond(bound) => End::Beyond(change(bound)),
        }
    }

    /// Does a value lie on the right side, given how it compares to the bound?
    fn admits(&self, compare: impl Fn(&T) -> Ordering, right: Ordering) -> bool {
        match self {
            Self::Open => true,
            Self::Closed(bound) => matches!(compare(bound), order if order == right || order == Ordering::Equal),
            Self::Beyond(bound) => compare(bound) == right,
        }
    }
}

fn numeric(bound: &Bound) -> Option<End<Num>> {
    Some(match bound {
        Bound::Unbounded => End::Open,
        Bound::Inclusive(text) => End::Closed(Num::parse(text)?),
        Bound::Exclusive(text) => End::Beyond(Num::parse(text)?),
    })
}

fn textual(bound: &Bound) -> End<&str> {
    match bound {
        Bound::Unbounded => End::Open,
        Bound::Inclusive(text) => End::Closed(text),
        Bound::Exclusive(text) => End::Beyond(text),
    }
}

fn wildcard(pieces: &[String], value: &str) -> bool {
    let [first, inner @ .., last] = pieces else {
        return pieces.iter().all(|only| only == value);
    };
    let Some(mut rest) = value.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
        return false;
    };
    for piece in inner {
        // The leftmost place leaves most to the pieces behind it.
        match memmem::find(rest.as_bytes(), piece.as_bytes()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// A [`Test`] on whole numbers, where it can be told without their text.
pub(crate) enum Integers {
    Exists,
    Never,
    Equals(i64),
    Between(i64, i64),
}

impl Integers {
    /// None for tests that look at a number's decimal text.
    pub fn new(test: &Test) -> Option<Self> {
        match test {
            Test::Exists => Some(Self::Exists),
            Test::Equals(text) => Some(match Num::parse(text) {
                Some(Num::Whole(wanted)) => Self::Equals(wanted),
                _ => Self::Never,
            }),
            Test::Range { low, high } => {
                let (Some(low), Some(high)) = (numeric(low), numeric(high)) else { return Some(Self::Never) };
                let least = match low {
                    End::Open => Some(i64::MIN),
                    End::Closed(bound) => least_with(|value| bound.order_of(value) != Ordering::Less),
                    End::Beyond(bound) => least_with(|value| bound.order_of(value) == Ordering::Greater),
                };
                let beyond = match high {
                    End::Open => None,
                    End::Closed(bound) => least_with(|value| bound.order_of(value) == Ordering::Greater),
                    End::Beyond(bound) => least_with(|value| bound.order_of(value) != Ordering::Less),
                };
                let greatest = match beyond {
                    None => i64::MAX,
                    Some(beyond) => match beyond.checked_sub(1) {
                        Some(greatest) => greatest,
                        None => return Some(Self::Never),
                    },
                };
                Some(least.map_or(Self::Never, |least| Self::Between(least, greatest)))
            }
            Test::Wildcard(_) | Test::Words(_) | Test::Cidr(_) => None,
        }
    }
}

/// The least number for which `holds`, which holds for all greater ones too: bounds that are no whole numbers become
/// whole ones without any rounding that the comparison itself doesn't do.
fn least_with(holds: impl Fn(i64) -> bool) -> Option<i64> {
    if !holds(i64::MAX) {
        return None;
    }
    let (mut low, mut high) = (i64::MIN, i64::MAX);
    while low < high {
        // Rounded down, unlike `midpoint`, so that the interval always shrinks.
        let middle = ((i128::from(low) + i128::from(high)) >> 1) as i64;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high)
}
