//! Times as numbers: seconds, milli-, micro- or nanoseconds since 1970.

use super::Micros;

/// Reads a decimal number of seconds, milli-, micro- or nanoseconds since 1970. Its size tells
/// which: below 10^11 seconds, 10^14 milliseconds, 10^17 microseconds, above nanoseconds, so
/// each unit reaches from 1973 to 5138 (nanoseconds from 1973 to 2286). Numbers too small for
/// that are durations, counters or dates without dashes far more often than moments of the
/// early seventies: none.
pub(crate) fn parse_number(text: &str) -> Option<Micros> {
    let (digits, point) = significant(text)?;
    // `digits` × 10^-point, as whole units and millionths of a millionth, exactly.
    let whole = scale(digits, -point)?;
    let shift = match whole {
        0..100_000_000 => return None,
        100_000_000..100_000_000_000 => 6,
        100_000_000_000..100_000_000_000_000 => 3,
        100_000_000_000_000..100_000_000_000_000_000 => 0,
        100_000_000_000_000_000..10_000_000_000_000_000_000 => -3,
        _ => return None,
    };
    i64::try_from(scale(digits, shift - point)?).ok().map(Micros)
}

/// `digits` × 10^`power`, cut off to a whole number.
fn scale(digits: u128, power: i32) -> Option<u128> {
    let factor = 10_u128.checked_pow(power.unsigned_abs());
    if power < 0 { Some(factor.map_or(0, |f| digits / f)) } else { digits.checked_mul(factor?) }
}

/// The number as an integer and how many of its digits are behind the point.
fn significant(text: &str) -> Option<(u128, i32)> {
    if text.len() > 40 {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || (fraction.is_empty() && mantissa.len() != whole.len()) {
        return None;
    }
    let mut digits = 0_u128;
    for b in whole.bytes().chain(fraction.bytes()) {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        digits = digits.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some((digits, i32::try_from(fraction.len()).ok()? - i32::from(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let at = Some(Micros(1_795_334_400_123_456));
        for text in [
            "1795334400.123456",
            "1795334400.1234567",
            "1795334400123.456",
            "1795334400123456",
            "1795334400123456789",
            "1.795334400123456e9",
            "1795334400123456e-6",
        ] {
            assert_eq!(parse_number(text), at, "{text}");
        }
        assert_eq!(parse_number("1795334400"), Some(Micros(1_795_334_400_000_000)));
        for text in
            ["", "0", "-1", "0.35", "20261122", "1e400", "1e-400", "x", "1.", ".5", "1e99999", "99999999999999999999"]
        {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
