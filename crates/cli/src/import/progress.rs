//! Telling how far something is: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::grouped;

/// How long nothing is said where there is no terminal.
const QUIET: Duration = Duration::from_secs(5);

/// Progress on standard error.
#[derive(Debug)]
pub struct Steps {
    bar: Option<ProgressBar>,
    what: &'static str,
    said: Mutex<Instant>,
}

impl Steps {
    /// Progress counted in `what`, e.g. `entries`; `bytes` are shown as such.
    pub fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            let count = if what == "bytes" { "{bytes}/{total_bytes}" } else { "{human_pos}/{human_len} {prefix}" };
            let template = format!("{{bar:32}} {{percent:>3}} %  {count}  {{msg}}  {{eta}} left");
            // A template that can't be read leaves the default one.
            bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(if what == "bytes" { "" } else { what })
        });
        Self { bar, what, said: Mutex::new(Instant::now()) }
    }

    /// Says nothing but what is printed.
    pub fn silent() -> Self {
        Self { bar: None, what: "", said: Mutex::new(Instant::now()) }
    }

    /// `done` of `total` (0 if unknown) are done.
    pub fn at(&self, done: u64, total: u64) {
        self.tell(done, total, "");
    }

    /// The same with a remark.
    pub fn tell(&self, done: u64, total: u64, remark: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(done));
            bar.set_position(done);
            if !remark.is_empty() {
                bar.set_message(remark.to_owned());
            }
            return;
        }
        if self.what.is_empty() {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() < QUIET {
            return;
        }
        *said = Instant::now();
        let of = if total > 0 { format!(" of {}", grouped(total)) } else { String::new() };
        let space = if remark.is_empty() { "" } else { ", " };
        eprintln!("{}{of} {}{space}{remark}", grouped(done), self.what);
    }

    /// Clears the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Prints a line without tearing the bar.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}
