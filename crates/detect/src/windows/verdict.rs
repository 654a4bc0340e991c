//! Does a condition hold for the records of a window?

use std::collections::HashSet;

use super::item::Item;
use super::names::{Id, Names};
use super::plan::{Judge, Reckon};

/// A condition that holds halfway is at half of this.
pub(crate) const NEAR: u8 = 14;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub holds: bool,
    /// How near it is: 0 to [`NEAR`]. Groups that are furthest from firing are evicted first.
    pub near: u8,
}

/// Working memory of [`judge`].
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    few: Vec<i64>,
    many: HashSet<i64>,
    numbers: Vec<(i64, u32)>,
}

/// Does the condition hold for a window's items (by time, ties by index, the last one being the one it belongs to)?
pub(crate) fn judge(judge: &Judge, window: &[Item], scratch: &mut Scratch) -> Verdict {
    match judge {
        Judge::Count(least) => {
            let mut count = 0;
            for item in window.iter().rev() {
                count += u64::from(item.count);
                if count >= *least {
                    break;
                }
            }
            near(count, *least)
        }
        Judge::Distinct { least, .. } => near(distinct(window, *least, scratch), *least),
        Judge::Together(expression) => {
            let mut seen = 0;
            for item in window.iter().rev() {
                let before = seen;
                seen |= item.slots();
                if seen != before && expression.holds(&mut |at| seen & (1 << at) != 0) {
                    return Verdict { holds: true, near: NEAR };
                }
            }
            Verdict { holds: false, near: (seen.count_ones() as u8 * 4).min(NEAR - 1) }
        }
        Judge::InOrder(all) => near(in_order(window, *all) as u64, *all as u64),
        Judge::Number { reckon, tests, .. } => {
            let holds = match reckon {
                Reckon::Sum | Reckon::Mean => {
                    let (sum, count) = sum(window);
                    let of = if *reckon == Reckon::Mean { count } else { 1 };
                    // Multiplied rather than divided: nothing is rounded.
                    tests.iter().all(|(test, bound)| test.holds(sum, i128::from(*bound) * 1_000_000 * of))
                }
                Reckon::Percentile(percent) => {
                    let value = percentile(window, *percent, &mut scratch.numbers);
                    tests.iter().all(|(test, bound)| test.holds(i128::from(value), i128::from(*bound) * 1_000_000))
                }
            };
            Verdict { holds, near: if holds { NEAR } else { (window.len().ilog2() as u8).min(NEAR - 1) } }
        }
    }
}

fn near(reached: u64, wanted: u64) -> Verdict {
    let holds = reached >= wanted;
    let part = u64::from(NEAR).saturating_mul(reached) / wanted.max(1);
    Verdict { holds, near: if holds { NEAR } else { part.min(u64::from(NEAR) - 1) as u8 } }
}

/// How many distinct values there are, counted no further than `least`.
fn distinct(window: &[Item], least: u64, scratch: &mut Scratch) -> u64 {
    const FEW: usize = 16;
    scratch.few.clear();
    let mut many = false;
    for item in window.iter().rev() {
        if many {
            scratch.many.insert(item.value);
        } else if !scratch.few.contains(&item.value) {
            scratch.few.push(item.value);
            if scratch.few.len() > FEW {
                many = true;
                scratch.many.clear();
                scratch.many.extend(scratch.few.drain(..));
            }
        }
        if (scratch.few.len().max(if many { scratch.many.len() } else { 0 })) as u64 >= least {
            return least;
        }
    }
    if many { scratch.many.len() as u64 } else { scratch.few.len() as u64 }
}

/// How many of the rules matched one after the other, each at a record of its own.
fn in_order(window: &[Item], all: usize) -> usize {
    let mut next = 0;
    for item in window {
        if next < all && item.slots() & (1 << next) != 0 {
            next += 1;
        }
    }
    next
}

/// The sum in millionths, and how many values there are.
fn sum(window: &[Item]) -> (i128, i128) {
    window.iter().fold((0, 0), |(sum, count), item| {
        (sum + i128::from(item.value) * i128::from(item.count), count + i128::from(item.count))
    })
}

/// The smallest value that so many percent of the values don't exceed, in millionths.
fn percentile(window: &[Item], percent: u64, numbers: &mut Vec<(i64, u32)>) -> i64 {
    numbers.clear();
    numbers.extend(window.iter().map(|item| (item.value, item.count)));
    numbers.sort_unstable();
    let all: u64 = numbers.iter().map(|(_, count)| u64::from(*count)).sum();
    let rank = (u128::from(all) * u128::from(percent)).div_ceil(100).max(1);
    let mut passed = 0;
    for (value, count) in numbers.iter() {
        passed += u128::from(*count);
        if passed >= rank {
            return *value;
        }
    }
    0
}

/// What came of a condition in a window, for a finding: a name for it and the values.
pub(crate) fn tell(judge: &Judge, window: &[Item], names: &Names) -> Option<(String, Vec<String>)> {
    const MOST: usize = 20;
    match judge {
        Judge::Count(_) | Judge::Together(_) | Judge::InOrder(_) => None,
        Judge::Distinct { fields, .. } => {
            let mut values: Vec<&str> = window.iter().map(|item| names.text(item.value as Id)).collect();
            values.sort_unstable();
            values.dedup();
            Some((fields.join(" + "), values.into_iter().take(MOST).map(str::to_owned).collect()))
        }
        Judge::Number { field, reckon, .. } => {
            let (name, value) = match reckon {
                Reckon::Sum => ("sum", sum(window).0),
                Reckon::Mean => ("mean", sum(window).0 / sum(window).1.max(1)),
                Reckon::Percentile(_) => ("percentile", i128::from(told_percentile(reckon, window))),
            };
            Some((format!("{name} of {field}"), vec![decimal(value)]))
        }
    }
}

fn told_percentile(reckon: &Reckon, window: &[Item]) -> i64 {
    let Reckon::Percentile(percent) = reckon else { return 0 };
    percentile(window, *percent, &mut Vec::new())
}

/// Millionths as people write them.
fn decimal(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, part) = (millionths.unsigned_abs() / 1_000_000, millionths.unsigned_abs() % 1_000_000);
    if part == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part:06}").trim_end_matches('0').to_owned()
    }
}

/// A number as it is kept: in millionths; what has more digits is cut, what is greater than nine trillion is that.
pub(crate) fn millionths(text: &str) -> Option<i64> {
    const MOST: i128 = 9_000_000_000_000_000_000;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(part.bytes());
    if !(1..=400).contains(&(whole.len() + part.len())) || !all().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // Where the point is among the digits, once there are six more behind it.
    let point = i64::try_from(whole.len()).ok()?.checked_add(i64::from(exponent))?.checked_add(6)?;
    let mut value: i128 = 0;
    for digit in all().chain(std::iter::repeat(b'0')).take(usize::try_from(point.max(0)).unwrap_or(usize::MAX)) {
        value = value * 10 + i128::from(digit - b'0');
        if value > MOST {
            value = MOST;
            break;
        }
        if value == 0 && all().all(|digit| digit == b'0') {
            break;
        }
    }
    i64::try_from(sign * value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_millionths() {
        let cases = [
            ("0", Some(0)),
            ("12.5", Some(12_500_000)),
            ("-3", Some(-3_000_000)),
            ("+.5", Some(500_000)),
            ("1e3", Some(1_000_000_000)),
            ("1.5E-3", Some(1_500)),
            ("0.0000019", Some(1)),
            ("1e-400", Some(0)),
            ("99999999999999999999", Some(9_000_000_000_000_000_000)),
            ("1e2000000000", Some(9_000_000_000_000_000_000)),
            ("0e2000000000", Some(0)),
            ("", None),
            (".", None),
            ("1e", None),
            ("nan", None),
            ("1 2", None),
            ("--1", None),
        ];
        for (text, value) in cases {
            assert_eq!(millionths(text), value, "{text}");
        }
        assert_eq!(
            (decimal(12_500_000), decimal(-3_000_001), decimal(7_000_000)),
            ("12.5".into(), "-3.000001".into(), "7".into())
        );
    }
}
