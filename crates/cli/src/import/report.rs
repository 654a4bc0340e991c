//! What came of an import, in words and as JSON.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{batch::Batch, sink::Answer};
use crate::{
    error::CliError,
    output::{grouped, printable},
};

/// How many refused lines are told one by one.
const TOLD: usize = 20;
/// How much of a refused line is shown.
const SHOWN: usize = 80;

/// One refused line.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Its number in the file.
    line: u64,
    /// A stable word for the reason.
    code: String,
    /// The reason.
    message: String,
    /// How it begins.
    text: String,
}

/// What came of one input.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The input.
    file: String,
    /// The source that its events got.
    source: String,
    /// Lines of earlier imports, which were not sent again.
    pub skipped: u64,
    /// Lines read now.
    lines: u64,
    /// Those of them that are blank, which are no events.
    blank: u64,
    /// Events kept.
    accepted: u64,
    /// Events refused.
    pub refused: u64,
    /// The first of them.
    refusals: Vec<Refused>,
    /// How long it took.
    seconds: f64,
    #[serde(skip)]
    began: Instant,
}

impl Report {
    /// Nothing so far.
    pub fn new(file: String, source: String) -> Self {
        Self {
            file,
            source,
            skipped: 0,
            lines: 0,
            blank: 0,
            accepted: 0,
            refused: 0,
            refusals: Vec::new(),
            seconds: 0.0,
            began: Instant::now(),
        }
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// A batch was dealt with.
    pub fn add(&mut self, batch: &Batch, answer: &Answer, rejects: &Rejects) -> Result<(), CliError> {
        self.lines += batch.lines;
        self.blank += batch.lines - batch.filled;
        self.accepted += answer.accepted;
        self.refused += answer.rejected;
        for error in &answer.errors {
            let text = batch.line(error.line);
            rejects.write(text)?;
            if self.refusals.len() < TOLD {
                let line = batch.first + error.line.saturating_sub(1);
                let text: String = String::from_utf8_lossy(text).chars().take(SHOWN).collect();
                let (code, message) = (error.code.clone(), error.message.clone());
                self.refusals.push(Refused { line, code, message, text });
            }
        }
        Ok(())
    }

    /// Events kept so far, and how many a second.
    pub fn rate(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        format!("{} events/s", grouped((self.accepted as f64 / seconds) as u64))
    }

    /// Whether anything was read.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Tells it.
    pub fn write(&mut self, out: &mut impl Write, json: bool) -> io::Result<()> {
        self.seconds = self.began.elapsed().as_secs_f64();
        if json {
            return writeln!(out, "{}", serde_json::to_string(self)?);
        }
        if self.skipped > 0 {
            writeln!(out, "{}: {} lines were imported earlier", self.file, grouped(self.skipped))?;
        }
        let (lines, accepted, refused) = (grouped(self.lines), grouped(self.accepted), grouped(self.refused));
        let blank = if self.blank > 0 { format!(", {} blank", grouped(self.blank)) } else { String::new() };
        let (file, rate, seconds) = (printable(&self.file), self.rate(), self.seconds);
        writeln!(out, "{file}: {lines} lines, {accepted} accepted, {refused} refused{blank}, {seconds:.1} s, {rate}")?;
        for refusal in &self.refusals {
            let Refused { line, code, message, text } = refusal;
            writeln!(out, "  line {line} refused ({code}): {}: {}", printable(message), printable(text))?;
        }
        let more = self.refused - (self.refusals.len() as u64).min(self.refused);
        if more > 0 {
            writeln!(out, "  and {} more; --rejects FILE writes them all", grouped(more))?;
        }
        Ok(())
    }
}

/// Where refused lines are written to, if anywhere.
#[derive(Debug)]
pub struct Rejects(Option<Mutex<File>>);

impl Rejects {
    /// Opens the file; what is in it stays.
    pub fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let open = |path: &Path| {
            OpenOptions::new().append(true).create(true).open(path).map_err(CliError::file("opening", path))
        };
        Ok(Self(path.map(open).transpose()?.map(Mutex::new)))
    }

    /// Whether all refused lines are wanted.
    pub fn wanted(&self) -> bool {
        self.0.is_some()
    }

    fn write(&self, line: &[u8]) -> Result<(), CliError> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&[line, b"\n"].concat()).map_err(CliError::io("writing refused lines"))
    }
}
