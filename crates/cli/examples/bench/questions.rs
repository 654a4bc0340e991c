//! Asking, several times each, beside nothing else.

use std::time::{Duration, Instant};

use crate::{
    Outcome, events, process,
    report::{Bar, Report, median},
    server::Server,
};

/// How often each question is asked.
pub const RUNS: usize = 5;
/// The bar of selective questions, in milliseconds.
pub const SELECTIVE: Bar = Bar::AtMost(100.0);

/// A question to `/api/v1/events`.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What is asked.
    pub name: &'static str,
    path: &'static str,
    /// How many hits there must be.
    hits: Option<u64>,
    /// Whether it has a bar.
    selective: bool,
}

/// A word that occurs twice ten times.
pub const WORD: Question =
    Question { name: "a rare word", path: "?q=zanzibar&limit=100", hits: Some(events::PLANTED), selective: true };
/// One user's newest events.
pub const USER: Question = Question {
    name: "last 100 events of a user",
    path: "?q=user.name:user0042&limit=100",
    hits: Some(100),
    selective: true,
};
/// An address in messages that occurs twice ten times.
pub const ADDRESS: Question = Question {
    name: "a rare address in a message",
    path: "?q=%22192.0.2.99%22&limit=100",
    hits: Some(events::PLANTED),
    selective: true,
};
/// A count that must look at every row.
pub const FAILURES: Question =
    Question { name: "count of failures", path: "/count?q=event.outcome:failure", hits: None, selective: false };
/// A count that need not look at any.
pub const EVERYTHING: Question = Question { name: "count of everything", path: "/count", hits: None, selective: false };
const TOP: Question = Question {
    name: "top 10 addresses of failures",
    path: "/top?q=event.outcome:failure&field=source.ip",
    hits: None,
    selective: false,
};
/// Of which one picks those above five.
const BARS: Question = Question {
    name: "failures per 10 minutes by address",
    path: "/histogram?q=event.outcome:failure&interval=10m&by=source.ip",
    hits: None,
    selective: false,
};

/// The questions of issue 3.
pub const ALL: [Question; 6] = [FAILURES, TOP, BARS, ADDRESS, USER, WORD];

impl Question {
    /// Asks once.
    pub async fn ask(&self, url: &str, complete: bool) -> Outcome<Duration> {
        let begun = Instant::now();
        let answer = crate::server::ask(url, &format!("/api/v1/events{}", self.path)).await?;
        let time = begun.elapsed();
        let found = answer.matches("\"index\":").count() as u64;
        match self.hits.filter(|hits| complete && *hits != found) {
            Some(hits) => Err(format!("{}: {found} found, not {hits}", self.name).into()),
            None => Ok(time),
        }
    }

    /// The medians of wall and CPU time in milliseconds.
    pub async fn measure(&self, server: &Server) -> Outcome<(f64, f64)> {
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let cpu = process::cpu_of_threads(server.pid())?;
            times.push(self.ask(&server.url, true).await?);
            cpus.push(process::cpu_of_threads(server.pid())?.saturating_sub(cpu));
        }
        Ok((median(times), median(cpus)))
    }

    /// Measures and prints.
    pub async fn report(&self, server: &Server, report: &Report) -> Outcome<f64> {
        let (time, cpu) = self.measure(server).await?;
        let name = format!("query: {}, median of {RUNS}, CPU {cpu:.1} ms", self.name);
        if self.selective {
            report.bar(&name, time, "ms", SELECTIVE);
        } else {
            report.row(&name, format!("{time:.2} ms"));
        }
        Ok(time)
    }
}
