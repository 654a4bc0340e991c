//! When a certificate ends: the one thing in it that an operator must be told in time. Everything else about certificates is
//! for `rustls`.

use sceau_event::Micros;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The moment from which a certificate (X.509, DER) is no longer valid; `None` if it can't be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<Micros> {
    let (whole, _) = content(certificate, SEQUENCE)?;
    let (mut signed, _) = content(whole, SEQUENCE)?;
    if signed.first() == Some(&EXPLICIT_0) {
        signed = skip(signed)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed = skip(signed)?;
    }
    let (validity, _) = content(signed, SEQUENCE)?;
    let ends = skip(validity)?;
    match *ends.first()? {
        UTC_TIME => {
            let (text, _) = content(ends, UTC_TIME)?;
            let text = std::str::from_utf8(text).ok()?;
            // RFC 5280, section 4.1.2.5.1.
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            moment(&format!("{century}{text}"))
        }
        GENERALIZED_TIME => moment(std::str::from_utf8(content(ends, GENERALIZED_TIME)?.0).ok()?),
        _ => None,
    }
}

/// A moment as `20261128053500Z`.
fn moment(text: &str) -> Option<Micros> {
    let part = |range: std::ops::Range<usize>| text.get(range);
    if text.len() != 15 || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

/// The content of the first value, which must have this tag, and what follows it.
fn content(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    if *found != tag {
        return None;
    }
    value(rest)
}

/// What follows the first value.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    value(bytes.get(1..)?).map(|(_, rest)| rest)
}

/// A value behind its tag, and what follows.
fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            let digits = rest.get(..count).filter(|digits| (1..=4).contains(&digits.len()))?;
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest.get(count..)?)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_is_found_in_both_notations() {
        let key = KeyPair::generate().unwrap();
        for (year, shown) in [(2049, "2049-12-31T00:00:00"), (2050, "2050-12-31T00:00:00")] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 12, 31);
            let certificate = params.self_signed(&key).unwrap();
            let end = not_after(certificate.der()).unwrap().to_string();
            assert!(end.starts_with(shown), "{end}");
            for cut in 0..certificate.der().len().min(200) {
                // It must not panic; whether something is found does not matter.
                let _ = not_after(&certificate.der()[..cut]);
            }
        }
        assert_eq!(not_after(b"no certificate"), None);
    }
}
