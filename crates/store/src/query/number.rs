//! Numbers in texts.

use std::{cmp::Ordering, fmt};

/// A number as queries compare it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    /// A whole number that 64 bits hold; compared exactly.
    Whole(i64),
    /// Any other finite number.
    Real(f64),
}

impl Num {
    /// A number in decimal notation, with or without fraction and exponent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        // Rust also reads `inf` and `nan`, which no query means.
        let real: f64 = text.parse().ok().filter(|real: &f64| real.is_finite())?;
        let exact = real.fract() == 0.0 && real.abs() < 9_007_199_254_740_992.0;
        Some(if exact { Self::Whole(real as i64) } else { Self::Real(real) })
    }

    /// As a floating-point number.
    #[must_use]
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// How a whole number compares to this one.
    #[must_use]
    pub fn order_of(self, value: i64) -> Ordering {
        match self {
            Self::Whole(whole) => value.cmp(&whole),
            // Finite, so there always is an order.
            Self::Real(real) => (value as f64).partial_cmp(&real).unwrap_or(Ordering::Equal),
        }
    }
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            // With a point or an exponent: without, a large one would be read back as a whole number.
            Self::Real(real) => write!(f, "{real:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let texts = ["7", "-0.0", "1e3", "0.1", "9007199254740992.0", "2220222263355245457.", "-1e300", "5e-324"];
        for text in texts {
            let number = Num::parse(text);
            let again = number.and_then(|number| Num::parse(&number.to_string()));
            assert!(number.is_some() && again == number, "{text}: {number:?}, then {again:?}");
        }
    }
}
