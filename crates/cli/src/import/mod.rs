//! `sceau import`: each line of a file, exactly once, whatever is interrupted in between.
//!
//! The server keeps the position of each import in the same commit as the entries that it is about. The file's bytes
//! before that position are hashed with it, so that another file under the same name is noticed.

mod batch;
mod input;
mod lines;
mod patience;
mod plan;
pub mod progress;
mod report;
mod sink;
mod watch;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Args;
use tokio::{
    sync::watch::{Receiver, Sender},
    task::JoinSet,
};

pub use self::lines::hex;
use self::{
    batch::{Batch, End, MAX_LINES, Piece, Reading},
    input::Kind,
    patience::Patience,
    plan::Plan,
    progress::Steps,
    report::{Rejects, Report},
    sink::{About, Sent, Sink},
};
use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    target::{Target, TargetArgs, open_log},
};

/// The server tells so many refused lines of a request one by one.
const TOLD_LINES: u64 = 1_000;
/// How often a missing or empty file that is followed is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Options of `sceau import`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sceau import /var/log/auth.log /var/log/nginx/access.log.2.gz --zone Europe/Paris
  sceau import --follow --source web-1 /var/log/nginx/access.log
  journalctl -o json | sceau import - --source journal
After an interruption, or when a file has grown, the same command goes on where it stopped: no line is lost, none is
sent twice. The log keeps the position; a file is known by its path, its source and its first line.
A line that is a JSON object makes the whole file lines of JSON; a file that begins with [ { is a JSON array.
Exit codes: 0 all lines accepted, 1 error, 2 usage, 3 some lines were refused.")]
pub struct ImportArgs {
    /// Files, plain or packed with gzip or zstd; - is standard input, which can't be resumed.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The source that the events get; made of the file's name if left out.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The parser for lines of text; found out line by line if left out.
    #[arg(long, value_name = "NAME")]
    parser: Option<String>,
    /// The zone of times that don't say theirs, e.g. Europe/Paris or +02:00; UTC if left out.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What the files hold; found out if left out.
    #[arg(long, value_enum)]
    format: Option<Kind>,
    /// Go on as the files grow, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Append the refused lines to this file.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// One JSON object a file with what came of it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// What all files of a command share.
struct Job {
    args: ImportArgs,
    sink: Sink,
    rejects: Rejects,
    /// Turns true when all shall end.
    stopping: Sender<bool>,
    stop: Receiver<bool>,
}

/// Runs `sceau import`.
pub async fn run(args: ImportArgs) -> Result<Outcome, CliError> {
    let rejects = Rejects::open(args.rejects.as_deref())?;
    let sink = match args.target.resolve()? {
        Target::Remote(client) => Sink::Remote(client),
        Target::Local(config, keys_known) => Sink::Local(open_log(&config, keys_known).await?),
    };
    let files = args.files.clone();
    let (stopping, stop) = tokio::sync::watch::channel(false);
    interrupts(stopping.clone());
    let job = Arc::new(Job { args, sink, rejects, stopping, stop });
    let result = if job.args.follow { all_at_once(&job, files).await } else { one_by_one(&job, files).await };
    if let Some(job) = Arc::into_inner(job) {
        job.sink.close().await?;
    }
    Ok(if result? > 0 { Outcome::Refused } else { Outcome::Done })
}

/// Turns true at the first Ctrl-C; the second ends the process.
fn interrupts(stopping: Sender<bool>) {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if stopping.send_replace(true) {
                std::process::exit(130);
            }
        }
    });
}

async fn one_by_one(job: &Job, files: Vec<PathBuf>) -> Result<u64, CliError> {
    let mut so_far = SoFar::new(files.len());
    for file in files {
        so_far.add(job.import(&file).await)?;
    }
    so_far.end()
}

async fn all_at_once(job: &Arc<Job>, files: Vec<PathBuf>) -> Result<u64, CliError> {
    let mut so_far = SoFar::new(files.len());
    let mut tasks = JoinSet::new();
    for file in files {
        let job = job.clone();
        tasks.spawn(async move { job.import(&file).await });
    }
    let mut failed = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(CliError::Failed(error.to_string())));
        if let Err(error) = so_far.add(ended) {
            // The others end in good order too, so that the log can be closed.
            job.stopping.send_replace(true);
            failed = failed.and(Err(error));
        }
    }
    failed.and_then(|()| so_far.end())
}

/// What came of the inputs so far.
struct SoFar {
    inputs: usize,
    failed: usize,
    refused: u64,
}

impl SoFar {
    fn new(inputs: usize) -> Self {
        Self { inputs, failed: 0, refused: 0 }
    }

    /// One ended. An error that is not only its own is given back.
    fn add(&mut self, ended: Result<u64, CliError>) -> Result<(), CliError> {
        match ended {
            Ok(refused) => self.refused += refused,
            Err(error) if self.inputs > 1 && error.is_of_input() => {
                error.report(false);
                self.failed += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How many lines were refused.
    fn end(self) -> Result<u64, CliError> {
        let Self { inputs, failed, refused } = self;
        if failed == 0 {
            return Ok(refused);
        }
        Err(CliError::Failed(format!("{failed} of {inputs} inputs could not be imported, for the reasons above")))
    }
}

impl Job {
    /// Imports one input; how many lines were refused.
    async fn import(&self, path: &Path) -> Result<u64, CliError> {
        let source = self.args.source.clone();
        let name = match path.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => path.display().to_string(),
        };
        let source = source.unwrap_or_else(|| match path.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => input::source_name(path),
        });
        let mut report = Report::new(name, source.clone());
        let result = self.import_into(path, source, &mut report).await;
        if result.is_ok() || !report.is_empty() {
            report.write(&mut stdout(), self.args.json)?;
        }
        result.map(|()| report.refused)
    }

    async fn import_into(&self, path: &Path, source: String, report: &mut Report) -> Result<(), CliError> {
        if !self.would_be_taken(&source).await? {
            return Ok(());
        }
        if path.as_os_str() == "-" {
            return self.stream(Box::new(io::stdin()), source, report).await;
        }
        let mut skipped = None;
        loop {
            let Some(file) = self.open(path).await? else { return Ok(()) };
            let found = file.metadata().map_err(|error| CliError::file("reading", path)(error).of_input())?;
            if !found.is_file() {
                return self.stream(Box::new(file), source, report).await;
            }
            let Some(plan) = self.plan(path, file, &source).await? else { return Ok(()) };
            let Plan { about, source: opened, reading, generation } = plan;
            let known = skipped.get_or_insert(reading.lines);
            report.skipped = *known;
            let steps = self.steps();
            if generation > 0 && reading.lines == 0 {
                let why =
                    "the file is not the one that was imported before under this name: importing it from its start";
                steps.print(&format!("{}: {why}", path.display()));
            }
            let moved = || (opened.count.load(Ordering::Relaxed), opened.size);
            let result = self.pump(reading, &about, report, &steps, &moved).await;
            steps.finish();
            match result.map_err(resumable)? {
                Pumped::Ended(End::Complete) => return Ok(()),
                Pumped::Ended(End::Unfinished) => {
                    let name = path.display();
                    steps.print(&format!("the last line of {name} is not finished yet; run the import again later"));
                    return Ok(());
                }
                Pumped::Ended(End::Replaced) | Pumped::Elsewhere => {}
                Pumped::Stopped if self.args.follow => return Ok(()),
                Pumped::Stopped => return Err(resumable(CliError::Failed("interrupted".into()))),
            }
        }
    }

    /// Makes sure that source, parser and zone can be used, even if nothing is left to send; false if interrupted.
    async fn would_be_taken(&self, source: &str) -> Result<bool, CliError> {
        let about = self.about(source, Kind::Text, None);
        let sent = self.sink.send(&Batch::empty(), &about, self.patience(&|text| eprintln!("{text}"))).await?;
        match sent {
            Sent::Stopped if !self.args.follow => Err(CliError::Failed("interrupted".into())),
            sent => Ok(!matches!(sent, Sent::Stopped)),
        }
    }

    fn patience<'a>(&self, say: &'a (dyn Fn(&str) + Sync)) -> Patience<'a> {
        Patience::new(self.args.follow, self.stop.clone(), say)
    }

    fn steps(&self) -> Steps {
        if self.args.follow { Steps::silent() } else { Steps::new("bytes") }
    }

    /// Opens a file; one that is followed may come later. `None` if the wait was interrupted.
    async fn open(&self, path: &Path) -> Result<Option<File>, CliError> {
        loop {
            match File::open(path) {
                Err(error) if self.args.follow && error.kind() == io::ErrorKind::NotFound => {}
                Ok(file) if file.metadata().is_ok_and(|found| found.is_dir()) => {
                    let text = format!("{} is a directory; name the files in it", path.display());
                    return Err(CliError::Failed(text).of_input());
                }
                Ok(file) => return Ok(Some(file)),
                Err(error) => return Err(CliError::file("opening", path)(error).of_input()),
            }
            if self.stopped_within(POLL).await {
                return Ok(None);
            }
        }
    }

    async fn stopped_within(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await.is_ok()
    }

    fn about(&self, source: &str, kind: Kind, id: Option<String>) -> About {
        let (parser, zone) = (self.args.parser.clone(), self.args.zone.clone());
        About { source: source.to_owned(), parser, zone, kind, id }
    }

    fn max_lines(&self) -> u64 {
        if self.rejects.wanted() { TOLD_LINES } else { MAX_LINES }
    }

    /// Imports what can be read only once.
    async fn stream(&self, input: input::Inflated, source: String, report: &mut Report) -> Result<(), CliError> {
        let steps = self.steps();
        if !self.args.json {
            steps.print("a stream has no position: if this import is interrupted, it can't be resumed");
        }
        // Reading a pipe blocks, perhaps for ever.
        let looked = tokio::task::spawn_blocking(move || input::stream(input)).await;
        let (input, kind) = looked
            .map_err(|error| CliError::Failed(error.to_string()))?
            .map_err(|error| CliError::io("reading the stream")(error).of_input())?;
        let kind = self.args.format.unwrap_or(kind);
        let events = lines::Events::new(input, kind.shape(), 0, lines::Tail::default());
        let reading =
            Reading { events, lines: 0, max_lines: self.max_lines(), watch: None, follow: false, eager: true };
        let result = self.pump(reading, &self.about(&source, kind, None), report, &steps, &|| (0, 0)).await;
        steps.finish();
        match result? {
            Pumped::Stopped if !self.args.follow => Err(CliError::Failed("interrupted".into())),
            _ => Ok(()),
        }
    }

    /// Sends what is read until the input ends.
    async fn pump(
        &self,
        reading: Reading,
        about: &About,
        report: &mut Report,
        steps: &Steps,
        moved: &(dyn Fn() -> (u64, u64) + Sync),
    ) -> Result<Pumped, CliError> {
        let mut pieces = reading.start().map_err(CliError::io("starting a thread"))?;
        let mut stop = self.stop.clone();
        loop {
            let piece = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(Pumped::Stopped),
                piece = pieces.recv() => piece,
            };
            let batch = match piece {
                Some(Piece::Batch(batch)) => batch,
                Some(Piece::End(end)) => {
                    let failed = |error| CliError::io(format!("reading {}", report.name()))(error).of_input();
                    return end.map(Pumped::Ended).map_err(failed);
                }
                None => return Err(CliError::Failed("the reading thread ended unexpectedly".into())),
            };
            match self.sink.send(&batch, about, self.patience(&|text| steps.print(text))).await? {
                Sent::Kept(answer) => report.add(&batch, &answer, &self.rejects)?,
                Sent::Stopped => return Ok(Pumped::Stopped),
                Sent::Elsewhere(stored) if stored.offset > batch.from => return Ok(Pumped::Elsewhere),
                Sent::Elsewhere(stored) => {
                    return Err(CliError::Failed(format!(
                        "the log has this import at byte {}, behind {}: was an older copy of the log put back?",
                        stored.offset, batch.from
                    )));
                }
            }
            let (done, total) = moved();
            steps.tell(done, total, &report.rate());
        }
    }
}

/// Why sending ended.
enum Pumped {
    Ended(End),
    /// Somebody else moved the position on.
    Elsewhere,
    Stopped,
}

/// Says that nothing is lost.
fn resumable(error: CliError) -> CliError {
    CliError::Interrupted(Box::new(error))
}
