//! What a question may ask for at most, and where the bars of a histogram begin: the same in every backend.

use crate::{error::StoreError, query::Page};

/// Bars and values of one answer, beyond which the question is refused.
pub(crate) const MAX_ROWS: usize = 10_000;
/// A week, and where the first Monday of the epoch begins, in microseconds.
const WEEK: i64 = 7 * 86_400_000_000;
const MONDAY: i64 = 4 * 86_400_000_000;

/// Where intervals are counted from. The epoch began on a Thursday, weeks begin on Mondays.
pub(crate) fn phase(interval: i64) -> i64 {
    if interval % WEEK == 0 { MONDAY } else { 0 }
}

pub(crate) fn check_page(page: &Page) -> Result<(), StoreError> {
    within(page.limit, Page::MAX)
}

pub(crate) fn check_rows(rows: usize) -> Result<(), StoreError> {
    within(rows, MAX_ROWS)
}

fn within(limit: usize, most: usize) -> Result<(), StoreError> {
    if limit == 0 || limit > most {
        return Err(StoreError::Query(format!("limit must lie between 1 and {most}")));
    }
    Ok(())
}

pub(crate) fn check_interval(interval: i64) -> Result<(), StoreError> {
    if interval <= 0 {
        return Err(StoreError::Query("interval must be longer than nothing".into()));
    }
    Ok(())
}

pub(crate) fn check_bars(bars: usize) -> Result<(), StoreError> {
    if bars > MAX_ROWS {
        return Err(StoreError::Query(format!(
            "the histogram has more than {MAX_ROWS} bars; use a longer interval or a shorter time range"
        )));
    }
    Ok(())
}
