//! Time zones of sources whose times don't tell theirs.

use crate::error::MetaError;
use crate::time::{Civil, Micros};
use jiff::tz::TimeZoneDatabase;
use std::sync::LazyLock;

/// The zone rules compiled into the program, never those of the machine.
static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone: an IANA name or a fixed offset.
///
/// The rules of named zones come with the program (never from the machine), so that a record
/// stays the same wherever it is derived.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(jiff::tz::TimeZone),
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Kind::Fixed(0));

    /// Reads an IANA name (`Europe/Paris`) or an offset (`+01:00`, `+0100`, `+01`, `Z`, `UTC`).
    ///
    /// # Errors
    /// The name is not in the zone database and the offset is not one.
    pub fn parse(text: &str) -> Result<Self, MetaError> {
        if matches!(text, "Z" | "z" | "UTC" | "GMT") {
            return Ok(Self::UTC);
        }
        if let Some(seconds) = offset_seconds(text) {
            return Ok(Self(Kind::Fixed(seconds)));
        }
        BUNDLED
            .get(text)
            .map(|zone| Self(Kind::Named(zone)))
            .map_err(|_| MetaError::Zone(text.chars().take(64).collect()))
    }

    /// The moment at which clocks of this zone show `civil`. Shown twice: the first; skipped: as
    /// if the clock had not been put forward (RFC 5545, section 3.3.5).
    pub(crate) fn moment(&self, civil: Civil) -> Option<Micros> {
        let local = civil.as_utc();
        match &self.0 {
            Kind::Fixed(seconds) => Some(Micros(local.0 - i64::from(*seconds) * 1_000_000)),
            Kind::Named(zone) => {
                let near = jiff::Timestamp::from_microsecond(local.0).ok()?;
                let wall = jiff::tz::TimeZone::UTC.to_datetime(near);
                zone.to_ambiguous_timestamp(wall).compatible().ok().map(|t| Micros(t.as_microsecond()))
            }
        }
    }

    /// The year that clocks of this zone show at `moment`.
    pub(crate) fn year_at(&self, moment: Micros) -> i64 {
        let east = match &self.0 {
            Kind::Fixed(seconds) => *seconds,
            Kind::Named(zone) => {
                jiff::Timestamp::from_microsecond(moment.0).map_or(0, |at| zone.to_offset(at).seconds())
            }
        };
        Civil::from_utc(Micros(moment.0.saturating_add(i64::from(east) * 1_000_000))).year
    }
}

/// `+01:00`, `-0330` or `+01` as seconds east of UTC.
pub(crate) fn offset_seconds(text: &str) -> Option<i32> {
    let b = text.as_bytes();
    let sign = match b.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| -> Option<i32> {
        let (h, l) = (b.get(at)?.wrapping_sub(b'0'), b.get(at + 1)?.wrapping_sub(b'0'));
        (h < 10 && l < 10).then(|| i32::from(h) * 10 + i32::from(l))
    };
    let (hours, minutes) = match b.len() {
        3 => (two(1)?, 0),
        5 => (two(1)?, two(3)?),
        6 if b[3] == b':' => (two(1)?, two(4)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
