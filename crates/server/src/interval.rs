//! The width of a histogram's bars.

use std::{fmt, str::FromStr};

use crate::error::ServerError;

const SECOND: i64 = 1_000_000;
const UNITS: [(char, i64); 5] =
    [('w', 7 * 86_400 * SECOND), ('d', 86_400 * SECOND), ('h', 3_600 * SECOND), ('m', 60 * SECOND), ('s', SECOND)];
/// The widths that are chosen from, in seconds.
const STEPS: [i64; 17] = [
    1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000, 7_776_000, 31_536_000,
];
/// The most bars that are chosen by ourselves.
const CHOSEN: i64 = 100;

/// A number of microseconds, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(i64);

impl Default for Interval {
    fn default() -> Self {
        Self(60 * SECOND)
    }
}

impl Interval {
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The narrowest that gives at most a hundred bars from `first` to `last`.
    pub fn for_span(first: i64, last: i64) -> Self {
        let steps = STEPS.into_iter().map(|seconds| Self(seconds * SECOND));
        let widest = Self(31_536_000 * SECOND);
        let fits = steps.into_iter().find(|interval| interval.bars(first, last) <= CHOSEN);
        fits.unwrap_or_else(|| Self(widest.0.saturating_mul(1 + widest.bars(first, last) / CHOSEN)))
    }

    fn bars(self, first: i64, last: i64) -> i64 {
        last.div_euclid(self.0).saturating_sub(first.div_euclid(self.0)).saturating_add(1)
    }
}

/// A length of time as on the command line: a whole number and `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// [`ServerError::Parameter`].
pub fn duration(text: &str) -> Result<std::time::Duration, ServerError> {
    let interval: Interval = text.parse()?;
    Ok(std::time::Duration::from_micros(interval.0.unsigned_abs()))
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, length)| self.0 % length == 0);
        let (name, length) = unit.copied().unwrap_or(('s', SECOND));
        write!(f, "{}{name}", self.0 / length)
    }
}

impl FromStr for Interval {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let wrong = || ServerError::parameter("interval", "must be a number and one of s m h d w, such as 10m");
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number = text.strip_suffix(unit).unwrap_or_default();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let micros = number.checked_mul(length).filter(|micros| *micros > 0).ok_or_else(wrong)?;
        Ok(Self(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["1s", "90s", "10m", "1h", "36h", "1d", "2w"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Interval>().unwrap().to_string(), "1m");
        for text in ["", "m", "0m", "-1m", "+1m", "1", "1.5h", "10 m", "99999999999999999w", "1é"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    #[test]
    fn widths_are_chosen() {
        let day = 86_400 * SECOND;
        assert_eq!(Interval::for_span(0, 50 * SECOND).to_string(), "1s");
        assert_eq!(Interval::for_span(0, day - 1).to_string(), "30m");
        assert_eq!(Interval::for_span(0, 90 * day).to_string(), "1d");
        for (first, last) in [(i64::MIN, i64::MAX), (-5, 5), (0, 400 * 365 * day)] {
            assert!(Interval::for_span(first, last).bars(first, last) <= CHOSEN + 1, "{first} {last}");
        }
    }
}
