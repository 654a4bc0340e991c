//! Times as text.

use super::civil::is_leap;
use super::{Civil, Micros, epoch};
use crate::zone::{Zone, offset_seconds};

/// Reads a time as logs write it:
///
/// - RFC 3339 and ISO 8601 (`2026-11-22T08:00:00.5+01:00`, a space, `/` as the date's separator,
///   a comma before the fraction, `+0100`, no seconds, no clock time, `20261122T080000Z`);
/// - numbers since 1970 in seconds, milli-, micro- or nanoseconds, told apart by their size;
/// - the Common Log Format (`22/Nov/2026:08:00:00 +0100`);
/// - RFC 2822 and RFC 9110 (`Sun, 22 Nov 2026 08:00:00 GMT`);
/// - C's `asctime` (`Sun Nov 22 08:00:00 2026`), with a fraction as Apache writes it;
/// - RFC 3164 (`Nov 22 08:00:00`), which tells no year: the one that puts it nearest to
///   `received` in `zone` is taken, the earlier of two; February 29 only in leap years.
///
/// A time that tells no zone is one of `zone`. None: the text is no time, or one that can't be
/// (February 30, 25 o'clock). Digits beyond the microsecond are cut off.
#[must_use]
pub fn parse_time(text: &str, zone: &Zone, received: Micros) -> Option<Micros> {
    let bytes = text.as_bytes();
    if bytes.get(4) == Some(&b'-')
        && let Some(found) = rfc3339(bytes, zone, false)
    {
        return Some(found);
    }
    let text = text.trim();
    if !text.is_empty()
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && let Some(found) = epoch::parse_number(text)
    {
        return Some(found);
    }
    let (found, rest) = parse_prefix(text, zone, received)?;
    if rest.trim().is_empty() { found } else { None }
}

/// Reads the time at the start of a text; gives what follows it. The moment is none if the text
/// has the shape of a time that can't be, such as February 30.
pub(crate) fn parse_prefix<'t>(text: &'t str, zone: &Zone, received: Micros) -> Option<(Option<Micros>, &'t str)> {
    let mut cursor = Cursor { text, at: 0 };
    let found = if text.as_bytes().first()?.is_ascii_alphabetic() {
        named(&mut cursor, zone, received)?
    } else {
        let (civil, told) = numeric(&mut cursor)?;
        resolve(civil, told, zone)
    };
    Some((found, cursor.rest()))
}

/// The RFC 3339 shape, without looking for any other. `strict` wants the `T` and a zone.
#[inline]
pub(crate) fn rfc3339(b: &[u8], zone: &Zone, strict: bool) -> Option<Micros> {
    if b.len() < 19 || b[4] != b'-' || b[7] != b'-' || b[13] != b':' || b[16] != b':' {
        return None;
    }
    if !matches!(b[10], b'T' | b't') && (strict || b[10] != b' ') {
        return None;
    }
    let civil = Civil {
        year: i64::from(pair(b, 0)?) * 100 + i64::from(pair(b, 2)?),
        month: pair(b, 5)?,
        day: pair(b, 8)?,
        hour: pair(b, 11)?,
        minute: pair(b, 14)?,
        second: pair(b, 17)?,
        micro: 0,
    };
    let mut at = 19;
    let mut micro = 0_u32;
    if matches!(b.get(at), Some(b'.')) || (!strict && matches!(b.get(at), Some(b','))) {
        let digits = b[at + 1..].iter().take_while(|d| d.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..6 {
            micro = micro * 10 + if place < digits { u32::from(b[at + 1 + place] - b'0') } else { 0 };
        }
        at += 1 + digits;
    }
    let civil = Civil { micro, ..civil };
    let told = match &b[at..] {
        [] if strict => return None,
        [] => None,
        [b'Z' | b'z'] => Some(0),
        offset if !strict || offset.len() == 6 => Some(offset_seconds(std::str::from_utf8(offset).ok()?)?),
        _ => return None,
    };
    resolve(civil, told, zone)
}

#[inline]
fn pair(b: &[u8], at: usize) -> Option<u8> {
    let (h, l) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
    (h < 10 && l < 10).then(|| h * 10 + l)
}

/// The moment of a date and clock time whose zone is told (seconds east) or not.
#[inline]
fn resolve(civil: Civil, told: Option<i32>, zone: &Zone) -> Option<Micros> {
    if !civil.is_valid() {
        return None;
    }
    let found = match told {
        Some(seconds) => Micros(civil.as_utc().0 - i64::from(seconds) * 1_000_000),
        None => zone.moment(civil)?,
    };
    // Leap seconds are inserted at midnight of UTC and nowhere else.
    let leap_elsewhere = civil.second == 60 && found.0.div_euclid(1_000_000).rem_euclid(86_400) != 0;
    // A zone can move the first and the last day of RFC 3339's years out of them.
    (!leap_elsewhere && (Micros::FIRST..=Micros::LAST).contains(&found)).then_some(found)
}

/// Shapes that start with a digit.
fn numeric(c: &mut Cursor<'_>) -> Option<(Civil, Option<i32>)> {
    let (first, digits) = c.number()?;
    let mut civil = Civil { year: first, month: 1, day: 1, hour: 0, minute: 0, second: 0, micro: 0 };
    if digits == 4 && (c.eat(b'-') || c.eat(b'/')) {
        civil.month = c.small(2)?;
        if !(c.eat(b'-') || c.eat(b'/')) {
            return None;
        }
        civil.day = c.small(2)?;
        if c.eat(b'T') || c.eat(b't') || c.peek_digit_after_space() {
            c.clock(&mut civil)?;
        }
    } else if digits == 8 {
        civil.year = first / 10_000;
        civil.month = u8::try_from(first / 100 % 100).ok()?;
        civil.day = u8::try_from(first % 100).ok()?;
        if c.eat(b'T') {
            c.clock_basic(&mut civil)?;
        }
    } else if digits <= 2 {
        civil.day = u8::try_from(first).ok()?;
        let slash = c.eat(b'/');
        if !slash {
            c.eat(b'-');
        }
        c.spaces();
        civil.month = c.month()?;
        if !(c.eat(b'/') || c.eat(b'-') || c.eat(b' ')) {
            return None;
        }
        civil.year = c.year()?;
        if !c.eat(b':') {
            c.spaces();
        }
        c.clock(&mut civil)?;
    } else {
        return None;
    }
    Some((civil, c.zone()))
}

/// Shapes that start with the name of a day or a month.
fn named(c: &mut Cursor<'_>, zone: &Zone, received: Micros) -> Option<Option<Micros>> {
    if c.weekday() {
        let comma = c.eat(b',');
        c.spaces();
        if comma || c.peek_digit() {
            let (civil, told) = numeric(c)?;
            return Some(resolve(civil, told, zone));
        }
    }
    let month = c.month()?;
    if c.spaces() == 0 {
        return None;
    }
    let day = c.small(2)?;
    if c.spaces() == 0 {
        return None;
    }
    let mut civil = Civil { year: 0, month, day, hour: 0, minute: 0, second: 0, micro: 0 };
    let mark = c.at;
    if let Some((year, 4)) = c.number()
        && c.spaces() > 0
    {
        civil.year = year;
        c.clock(&mut civil)?;
        let told = c.zone();
        return Some(resolve(civil, told, zone));
    }
    c.at = mark;
    c.clock(&mut civil)?;
    let mark = c.at;
    let mut told = c.zone();
    let spaces = c.spaces();
    if let Some((year, 4)) = c.number()
        && spaces > 0
        && !matches!(c.peek(), Some(b'.' | b':' | b'-' | b'/'))
    {
        civil.year = year;
        if told.is_none() {
            told = c.zone();
        }
        return Some(resolve(civil, told, zone));
    }
    c.at = mark;
    told = c.zone();
    Some(nearest_year(civil, told, zone, received))
}

/// The moment nearest to `received` among the years in which the date exists.
fn nearest_year(civil: Civil, told: Option<i32>, zone: &Zone, received: Micros) -> Option<Micros> {
    let middle = zone.year_at(received);
    // Eight years lie between the leap days around a century's end such as 2100.
    let reach = if civil.month == 2 && civil.day == 29 { 8 } else { 1 };
    (middle - reach..=middle + reach)
        .filter(|year| reach == 1 || is_leap(*year))
        .filter_map(|year| resolve(Civil { year, ..civil }, told, zone))
        .min_by_key(|at| at.0.abs_diff(received.0))
}

/// A place in a text from which parts of a time are read.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn peek_digit(&self) -> bool {
        self.peek().is_some_and(|b| b.is_ascii_digit())
    }

    #[inline]
    fn eat(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    #[inline]
    fn spaces(&mut self) -> usize {
        let start = self.at;
        while self.eat(b' ') {}
        self.at - start
    }

    /// Steps over one space if a digit follows it.
    fn peek_digit_after_space(&mut self) -> bool {
        let digit = self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit);
        digit && self.eat(b' ')
    }

    /// A number and how many digits it has; at most nine, so that it fits.
    #[inline]
    fn number(&mut self) -> Option<(i64, usize)> {
        let start = self.at;
        let mut value = 0_i64;
        while let Some(b @ b'0'..=b'9') = self.peek() {
            value = value * 10 + i64::from(b - b'0');
            self.at += 1;
            if self.at - start > 9 {
                return None;
            }
        }
        (self.at > start).then_some((value, self.at - start))
    }

    #[inline]
    fn small(&mut self, most: usize) -> Option<u8> {
        let (value, digits) = self.number()?;
        if digits > most { None } else { u8::try_from(value).ok() }
    }

    /// Four digits, or two of RFC 850 and RFC 2822, section 4.3.
    fn year(&mut self) -> Option<i64> {
        match self.number()? {
            (year, 4) => Some(year),
            (year, 2) => Some(if year < 50 { 2000 + year } else { 1900 + year }),
            _ => None,
        }
    }

    fn word(&mut self, words: &[&str]) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let found = words
            .iter()
            .position(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes())))?;
        self.at += words[found].len();
        Some(found)
    }

    fn month(&mut self) -> Option<u8> {
        const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        u8::try_from(self.word(&MONTHS)? + 1).ok()
    }

    /// The short or long name of a day, followed by a comma or a space.
    fn weekday(&mut self) -> bool {
        const DAYS: [&str; 14] = [
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
            "sunday",
            "mon",
            "tue",
            "wed",
            "thu",
            "fri",
            "sat",
            "sun",
        ];
        let start = self.at;
        let found = self.word(&DAYS).is_some() && matches!(self.peek(), Some(b',' | b' '));
        if !found {
            self.at = start;
        }
        found
    }

    /// `hh:mm[:ss[.ffffff]]`.
    fn clock(&mut self, civil: &mut Civil) -> Option<()> {
        civil.hour = self.small(2)?;
        if !self.eat(b':') {
            return None;
        }
        civil.minute = self.small(2)?;
        // A colon that no digit follows ends the whole time, as some routers write it.
        if self.peek() == Some(b':') && self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            civil.second = self.small(2)?;
            self.fraction(civil);
        }
        Some(())
    }

    /// `hhmm[ss[.ffffff]]`.
    fn clock_basic(&mut self, civil: &mut Civil) -> Option<()> {
        let (value, digits) = self.number()?;
        let value = match digits {
            4 => value * 100,
            6 => value,
            _ => return None,
        };
        civil.hour = u8::try_from(value / 10_000).ok()?;
        civil.minute = u8::try_from(value / 100 % 100).ok()?;
        civil.second = u8::try_from(value % 100).ok()?;
        self.fraction(civil);
        Some(())
    }

    fn fraction(&mut self, civil: &mut Civil) {
        let digit_next = self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit);
        if !digit_next || !(self.eat(b'.') || self.eat(b',')) {
            return;
        }
        let mut unit = 100_000;
        while let Some(b @ b'0'..=b'9') = self.peek() {
            civil.micro += u32::from(b - b'0') * unit;
            unit /= 10;
            self.at += 1;
        }
    }

    /// A zone, with or without a space before it: seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        let start = self.at;
        self.eat(b' ');
        let rest = self.text.get(self.at..)?;
        let word = rest.split([' ', ',', ']', ')']).next().unwrap_or("");
        // RFC 3164 times of routers end with a colon after the zone.
        let word = word.strip_suffix(':').unwrap_or(word);
        let east = match word {
            "Z" | "z" | "UTC" | "GMT" | "UT" => Some(0),
            _ => offset_seconds(word),
        };
        match east {
            Some(_) => self.at += word.len(),
            None => self.at = start,
        }
        east
    }
}
