//! Times: microseconds since 1970, how they are written, and the many ways that logs write them.

mod civil;
mod epoch;
mod parse;
mod query;

pub(crate) use civil::Civil;
pub(crate) use parse::parse_prefix;
pub use parse::parse_time;
pub use query::parse_query_time;

use crate::error::TimeError;
use crate::zone::Zone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::str::FromStr;

/// A moment: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Shown in RFC 3339 with exactly six digits of fraction and `Z`; read from any RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Micros(pub i64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = Civil::from_utc(*self);
        if (0..=9999).contains(&c.year) {
            let text = self.text();
            return f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?);
        }
        // Beyond RFC 3339: the expanded years of ISO 8601.
        write!(
            f,
            "{:+07}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            c.year, c.month, c.day, c.hour, c.minute, c.second, c.micro
        )
    }
}

impl Micros {
    /// The first moment that RFC 3339 can write, 0000-01-01T00:00:00Z.
    pub const FIRST: Self = Self(-62_167_219_200_000_000);
    /// The last one, 9999-12-31T23:59:59.999999Z.
    pub const LAST: Self = Self(253_402_300_799_999_999);

    /// The 27 bytes of the RFC 3339 form, for years 0 to 9999.
    pub(crate) fn text(self) -> [u8; 27] {
        let c = Civil::from_utc(self);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, width: usize, mut value: u32| {
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        };
        put(0, 4, u32::try_from(c.year).unwrap_or(0));
        put(5, 2, c.month.into());
        put(8, 2, c.day.into());
        put(11, 2, c.hour.into());
        put(14, 2, c.minute.into());
        put(17, 2, c.second.into());
        put(20, 6, c.micro);
        text
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Micros {
    type Err = TimeError;

    /// Reads RFC 3339; digits beyond the microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse::rfc3339(text.as_bytes(), &Zone::UTC, true).ok_or_else(|| TimeError(text.chars().take(64).collect()))
    }
}
