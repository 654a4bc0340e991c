//! What clocks show at a record's time.

use crate::error::DetectError;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use sceau_event::Micros;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const HOURS: [&str; 24] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20",
    "21", "22", "23",
];
const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The zone of the settings; its rules come with the program, so that every machine finds the same.
#[derive(Debug)]
pub(super) struct Clock {
    zone: Option<TimeZone>,
}

impl Clock {
    pub fn new(zone: &str) -> Result<Self, DetectError> {
        if zone == "UTC" {
            return Ok(Self { zone: None });
        }
        let known = TimeZoneDatabase::bundled().get(zone).map_err(|_| DetectError::Zone(zone.to_owned()))?;
        Ok(Self { zone: Some(known) })
    }

    /// What clocks show, as if it were UTC.
    fn shown(&self, time: Micros) -> i64 {
        let Some(zone) = &self.zone else { return time.0 };
        match jiff::Timestamp::from_microsecond(time.0) {
            Ok(stamp) => time.0.saturating_add(i64::from(zone.to_offset(stamp).seconds()) * 1_000_000),
            // Beyond the years that zones have rules for.
            Err(_) => time.0,
        }
    }

    /// 0 to 23.
    pub fn hour(&self, time: Micros) -> i64 {
        self.shown(time).rem_euclid(DAY) / HOUR
    }

    /// [`Self::hour`] as text.
    pub fn hour_text(&self, time: Micros) -> &'static str {
        usize::try_from(self.hour(time)).ok().and_then(|hour| HOURS.get(hour)).copied().unwrap_or(HOURS[0])
    }

    /// `monday` to `sunday`.
    pub fn weekday(&self, time: Micros) -> &'static str {
        // 1970-01-01 was a Thursday.
        let day = (self.shown(time).div_euclid(DAY) + 3).rem_euclid(7);
        usize::try_from(day).ok().and_then(|day| NAMES.get(day)).copied().unwrap_or(NAMES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_days() {
        let at = |text: &str| text.parse::<Micros>().unwrap();
        let (utc, paris) = (Clock::new("UTC").unwrap(), Clock::new("Europe/Paris").unwrap());
        for (text, hour, day, there) in [
            ("2026-11-22T00:00:00Z", 0, "sunday", (1, "sunday")),
            ("2026-11-22T04:59:59.999999Z", 4, "sunday", (5, "sunday")),
            ("2026-11-22T23:30:00Z", 23, "sunday", (0, "monday")),
            ("2026-07-01T22:00:00Z", 22, "wednesday", (0, "thursday")),
            ("2026-03-29T00:59:59Z", 0, "sunday", (1, "sunday")),
            ("2026-03-29T01:00:00Z", 1, "sunday", (3, "sunday")),
            ("1969-12-31T23:00:00Z", 23, "wednesday", (0, "thursday")),
        ] {
            let time = at(text);
            assert_eq!(
                (utc.hour_text(time), paris.hour_text(time)),
                (&*hour.to_string(), &*there.0.to_string()),
                "{text}"
            );
            assert_eq!((utc.hour(time), utc.weekday(time)), (hour, day), "{text}");
            assert_eq!((paris.hour(time), paris.weekday(time)), there, "{text}");
        }
        assert_eq!(Clock::new("Mars/Phobos").unwrap_err(), DetectError::Zone("Mars/Phobos".to_owned()));
    }
}
