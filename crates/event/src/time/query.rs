//! Times that people write in queries.

use super::{Micros, parse_time};
use crate::error::TimeError;
use crate::zone::Zone;

/// Reads a time of a query: whatever [`parse_time`] reads, in UTC, and `now`, `now-15m`,
/// `now+1h` (units: `s`, `m`, `h`, `d`, `w`).
///
/// # Errors
/// The text is none of these.
pub fn parse_query_time(text: &str, now: Micros) -> Result<Micros, TimeError> {
    let text = text.trim();
    let found = match text.strip_prefix("now") {
        Some("") => Some(now),
        Some(shift) => shifted(now, shift),
        None => parse_time(text, &Zone::UTC, now),
    };
    found.ok_or_else(|| TimeError(text.chars().take(64).collect()))
}

fn shifted(now: Micros, shift: &str) -> Option<Micros> {
    let sign = match shift.as_bytes().first()? {
        b'-' => -1,
        b'+' => 1,
        _ => return None,
    };
    let (amount, unit) = shift.get(1..)?.split_at_checked(shift.len().checked_sub(2)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    if !amount.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = amount.parse::<i64>().ok()?.checked_mul(seconds * 1_000_000 * sign)?;
    now.0.checked_add(micros).map(Micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let now: Micros = "2026-11-22T08:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("now", "2026-11-22T08:00:00.000000Z"),
            ("now-15m", "2026-11-22T07:45:00.000000Z"),
            ("now-7d", "2026-11-15T08:00:00.000000Z"),
            ("now+1h", "2026-11-22T09:00:00.000000Z"),
            ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
            ("2026-11-22T08:00", "2026-11-22T08:00:00.000000Z"),
            ("2026-11-22 08:00:00.25+01:00", "2026-11-22T07:00:00.250000Z"),
            ("1795334400", "2026-11-22T08:00:00.000000Z"),
            ("1795334400000", "2026-11-22T08:00:00.000000Z"),
            ("1795334400000000", "2026-11-22T08:00:00.000000Z"),
            ("1795334400000000000", "2026-11-22T08:00:00.000000Z"),
        ] {
            assert_eq!(parse_query_time(text, now).map(|t| t.to_string()), Ok(wanted.to_owned()), "{text}");
        }
        for text in [
            "",
            "now-",
            "now-m",
            "now15m",
            "now-15y",
            "now-+5m",
            "now-é",
            "yesterday",
            "2026-13-01",
            "now-99999999999999999d",
        ] {
            assert!(parse_query_time(text, now).is_err(), "{text}");
        }
    }
}
