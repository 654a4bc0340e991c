//! The benchmark: the real binary, over HTTP, on generated events. `make bench` and `make bench-long` run it.
//!
//! The generator shares the machine with the server, so what counts is the server's CPU time, not how long it took.

#![allow(clippy::print_stdout)]

mod detect;
mod events;
mod load;
mod long;
mod mongo;
mod process;
mod questions;
mod report;
mod server;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use clap::Parser;
use report::{Bar, Report, micros};
use server::Server;

/// As in the product: the store alone is measured in this process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures Sceau.
#[derive(Debug, Parser)]
struct Args {
    /// The binary to measure.
    #[arg(long)]
    sceau: PathBuf,
    /// How many events are sent in batches.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// How many events are sent one by one.
    #[arg(long, default_value_t = 20_000)]
    single: u64,
    /// The long run: what changes while the log grows.
    #[arg(long)]
    long: bool,
    /// Where the log is made; a temporary directory if left out.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measures the store in a MongoDB database instead, e.g. mongodb://root@127.0.0.1/sceau?replicaSet=rs0; what is in
    /// the database whose name is that with `_bench` behind it is removed.
    #[arg(long)]
    store: Option<String>,
    /// Only detection.
    #[arg(long)]
    detection: bool,
    /// Ends with an error if a bar is missed.
    #[arg(long)]
    strict: bool,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let temporary = match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            tempfile::tempdir_in(dir)?
        }
        None => tempfile::tempdir()?,
    };
    let dir = temporary.path();
    let report = Report::default();
    println!("{} events in {}, load of the machine {}", args.events, dir.display(), process::load()?);
    if let Some(uri) = &args.store {
        mongo::run(&args.sceau, dir, uri, args.events, &report).await?;
    } else if args.long {
        long::run(&args.sceau, dir, args.events, &report).await?;
    } else {
        if !args.detection {
            short(&args, dir, &report).await?;
        }
        detect::run(&args.sceau, dir, args.events, &report).await?;
    }
    println!("{} bars missed, load of the machine {}", report.missed(), process::load()?);
    Ok(if args.strict && report.missed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn short(args: &Args, dir: &Path, report: &Report) -> Outcome<()> {
    // What detection costs is measured by itself.
    let server = Server::start(&args.sceau, dir, &["--no-detection".to_owned()])?;
    if let Err(error) = measure(&server, args, report).await {
        return Err(format!("{error}; the server {}", server.fate()?).into());
    }
    let peak = process::memory(server.pid(), process::PEAK)? as f64 / 1e6;
    report.bar("peak memory of the server", peak, "MB", Bar::AtMost(500.0));
    server.stop()?;
    let total = args.events + args.single;
    let disk = process::disk(&dir.join("data"))? as f64 / total as f64;
    report.bar("on disk, all of the data directory", disk, "B/event", Bar::AtMost(100.0));
    let alone = verify(&args.sceau, dir, total, Cores::One, &[])?;
    report.bar("offline verify on one core", alone.by_wall, "entries/s", Bar::AtLeast(300_000.0));
    let all = verify(&args.sceau, dir, total, Cores::All, &[])?;
    report.row("offline verify on all cores", format!("{:.0} entries/s", all.by_wall));
    report.row("offline verify on all cores, by CPU time", format!("{:.0} entries/s", all.by_cpu));
    Ok(())
}

async fn measure(server: &Server, args: &Args, report: &Report) -> Outcome<()> {
    ingest(server, args.events, report).await?;
    for question in questions::ALL {
        question.report(server, report).await?;
    }
    single(server, args.single, report).await
}

/// Sends all events in batches.
async fn ingest(server: &Server, events: u64, report: &Report) -> Outcome<()> {
    let (before, begun) = (server.cpu()?, Instant::now());
    let sent = load::batches(&server.url, 0..events, events).await?;
    let (time, cpu) = (begun.elapsed(), server.cpu()? - before);
    report.row("bytes of an event as sent", format!("{} B", sent.bytes.load(Ordering::Relaxed) / events.max(1)));
    report.row("ingest, until the last acknowledgement: CPU per event", format!("{:.2} µs", micros(cpu, events)));
    server.settle().await?;
    let cpu = micros(server.cpu()? - before, events);
    report.bar("ingest, with the segments written: CPU per event", cpu, "µs", Bar::AtMost(8.0));
    // HTTP, the runtime, and the kernel's part of them.
    report_stages(server, Default::default(), (cpu, "all else: HTTP and the runtime"), events, report).await?;
    let rate = events as f64 / time.as_secs_f64();
    report.row("ingest, wall time beside the generator", format!("{rate:.0} events/s"));
    report.row("ingest, requests sent again after 503", sent.retries.load(Ordering::Relaxed));
    let (commits, segments) =
        (server.counter("sceau_commits_total").await?, server.counter("sceau_store_segments").await?);
    report.row("ingest, commits and segments", format!("{commits} and {segments}"));
    report.row("ingest, fsyncs", server.counter("sceau_store_fsyncs").await?);
    let (sum, count) =
        (server.counter("sceau_commit_seconds_sum").await?, server.counter("sceau_commit_seconds_count").await?);
    report.row("ingest, mean time of a commit", format!("{:.1} ms", sum / count * 1e3));
    report.row(
        "memory of the server after ingest",
        format!("{} MB", process::memory(server.pid(), process::PEAK)? / 1_000_000),
    );
    Ok(())
}

/// The stages that count their own CPU time.
const STAGES: [(&str, &str); 5] = [
    ("entries made of bodies: parsed, hashed, put into columns", "sceau_ingest_cpu_seconds"),
    ("put into the tree, MACs", "sceau_sequence_cpu_seconds"),
    ("committed: compressed, SQLite", "sceau_store_commit_cpu_seconds"),
    ("segments written, read back and checked", "sceau_store_segment_cpu_seconds"),
    ("the write-ahead log moved", "sceau_store_wal_cpu_seconds"),
];

/// CPU seconds of each of [`STAGES`] since the server's start.
async fn stages(server: &Server) -> Outcome<[f64; STAGES.len()]> {
    let mut seconds = [0.0; STAGES.len()];
    for (seconds, (_, counter)) in seconds.iter_mut().zip(STAGES) {
        *seconds = server.counter(counter).await?;
    }
    Ok(seconds)
}

/// Prints what each stage took of the `whole` microseconds per event since `before`, and the rest; gives their sum.
async fn report_stages(
    server: &Server,
    before: [f64; STAGES.len()],
    (whole, rest): (f64, &str),
    events: u64,
    report: &Report,
) -> Outcome<f64> {
    let mut sum = 0.0;
    for ((name, _), (now, before)) in STAGES.iter().zip(stages(server).await?.into_iter().zip(before)) {
        let stage = (now - before) * 1e6 / events.max(1) as f64;
        sum += stage;
        report.row(&format!("  {name}"), format!("{stage:.2} µs"));
    }
    report.row(&format!("  {rest}"), format!("{:.2} µs", whole - sum));
    Ok(sum)
}

/// Sends events one by one, over one connection a client.
async fn single(server: &Server, count: u64, report: &Report) -> Outcome<()> {
    let commits = server.counter("sceau_commits_total").await?;
    let (before, begun) = (server.cpu()?, Instant::now());
    load::singles(&server.url, count).await?;
    let (time, cpu) = (begun.elapsed(), server.cpu()? - before);
    let commits = server.counter("sceau_commits_total").await? - commits;
    let name = format!("single events, {} clients: CPU per event", load::CLIENTS);
    report.bar(&name, micros(cpu, count), "µs", Bar::AtMost(100.0));
    let rate = count as f64 / time.as_secs_f64();
    report.row("single events: wall time beside the clients", format!("{rate:.0} events/s"));
    report.row("single events: events per commit", format!("{:.1}", count as f64 / commits));
    Ok(())
}

/// Where a process may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cores {
    One,
    All,
}

/// Entries that were verified in a second.
struct Rate {
    /// Of CPU time.
    by_cpu: f64,
    /// Of the clock.
    by_wall: f64,
}

/// Verifies the data directory, which nobody holds any more.
fn verify(sceau: &Path, dir: &Path, entries: u64, cores: Cores, further: &[String]) -> Outcome<Rate> {
    let begun = Instant::now();
    let mut command = match cores {
        Cores::All => Command::new(sceau),
        Cores::One => {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(sceau);
            command
        }
    };
    let child = command
        .arg("verify")
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--key-dir")
        .arg(dir.join("keys"))
        .args(further)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{:?} can't be started: {error}", command.get_program()))?;
    let (cpu, code) = process::finish(child)?;
    if code != Some(0) {
        return Err(format!("verify ended with {code:?}").into());
    }
    let rate = |time: Duration| entries as f64 / time.as_secs_f64();
    Ok(Rate { by_cpu: rate(cpu), by_wall: rate(begun.elapsed()) })
}
