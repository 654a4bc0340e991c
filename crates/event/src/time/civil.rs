//! Dates and clock times, and the days between them.

use super::Micros;

const DAY: i64 = 86_400_000_000;

/// A date and a clock time, without zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    /// 0 to 60: 60 is a leap second.
    pub second: u8,
    pub micro: u32,
}

impl Civil {
    /// Are day, hour, minute and second possible in that month of that year?
    #[inline]
    pub fn is_valid(&self) -> bool {
        (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_in_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
            && self.micro < 1_000_000
    }

    /// The moment, if it is told in UTC. A leap second is the second after it.
    #[inline]
    pub fn as_utc(&self) -> Micros {
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let days = days_from_civil(self.year, self.month, self.day);
        Micros(days * DAY + seconds * 1_000_000 + i64::from(self.micro))
    }

    /// What a clock shows in UTC.
    pub fn from_utc(moment: Micros) -> Self {
        let (days, rest) = (moment.0.div_euclid(DAY), moment.0.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let seconds = rest / 1_000_000;
        let small = |n: i64| u8::try_from(n).unwrap_or(0);
        Self {
            year,
            month,
            day,
            hour: small(seconds / 3600),
            minute: small(seconds / 60 % 60),
            second: small(seconds % 60),
            micro: u32::try_from(rest % 1_000_000).unwrap_or(0),
        }
    }
}

#[inline]
pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[inline]
fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days before a year, from the year 0 of the proleptic Gregorian calendar.
#[inline]
fn days_before_year(year: i64) -> i64 {
    let y = year - 1;
    year * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)
}

const BEFORE_MONTH: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
/// `days_before_year(1970)`.
const EPOCH: i64 = 719_527;

#[inline]
fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let leap_day = i64::from(month > 2 && is_leap(year));
    days_before_year(year) + BEFORE_MONTH[usize::from(month.clamp(1, 12)) - 1] + leap_day + i64::from(day) - 1 - EPOCH
}

fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + EPOCH;
    // 146,097 days are 400 years: the guess is off by one year at most.
    let mut year = (days * 400).div_euclid(146_097);
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    while days_before_year(year) > days {
        year -= 1;
    }
    let mut rest = days - days_before_year(year);
    let mut month = 1_u8;
    while month < 12 && rest >= i64::from(days_in_month(year, month)) {
        rest -= i64::from(days_in_month(year, month));
        month += 1;
    }
    (year, month, u8::try_from(rest + 1).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_jiff_on_every_day() {
        let mut day = jiff::civil::date(-1, 1, 1);
        let last = jiff::civil::date(2500, 1, 1);
        let mut count = days_from_civil(-1, 1, 1);
        while day < last {
            let (y, m, d) = (i64::from(day.year()), day.month() as u8, day.day() as u8);
            assert_eq!(days_from_civil(y, m, d), count);
            assert_eq!(civil_from_days(count), (y, m, d));
            day = day.tomorrow().unwrap();
            count += 1;
        }
        assert_eq!(days_from_civil(1970, 1, 1), 0);
    }

    #[test]
    fn extremes_are_shown() {
        assert_eq!(Micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(Micros(253_402_300_799_999_999).to_string(), "9999-12-31T23:59:59.999999Z");
        assert!(Micros(i64::MIN).to_string().starts_with("-290308-"));
        assert!(Micros(i64::MAX).to_string().starts_with("+294247-"));
    }
}
