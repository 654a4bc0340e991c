//! What is printed: a line a measurement, and whether it keeps to the bar that issue 3 sets.

use std::{cell::Cell, fmt::Display, time::Duration};

/// What a value is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bar) => value <= bar,
            Self::AtLeast(bar) => value >= bar,
        }
    }
}

impl Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
        }
    }
}

/// Prints measurements and remembers whether all bars held.
#[derive(Debug, Default)]
pub struct Report {
    missed: Cell<usize>,
}

impl Report {
    /// A measurement that nothing is asked of.
    pub fn row(&self, name: &str, value: impl Display) {
        println!("{name:<58} {value:>24}");
    }

    /// A measurement with a bar; `value` is in the bar's unit.
    pub fn bar(&self, name: &str, value: f64, unit: &str, bar: Bar) {
        let verdict = if bar.holds(value) {
            "PASS"
        } else {
            self.missed.set(self.missed.get() + 1);
            "FAIL"
        };
        let digits = if value >= 1000.0 { 0 } else { 2 };
        println!("{name:<58} {:>24} {:>16}  {verdict}", format!("{value:.digits$} {unit}"), bar.to_string());
    }

    /// How many bars were missed.
    pub fn missed(&self) -> usize {
        self.missed.get()
    }
}

/// Microseconds per event.
pub fn micros(time: Duration, events: u64) -> f64 {
    time.as_secs_f64() * 1e6 / events.max(1) as f64
}

/// The median in milliseconds.
pub fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3
}
