//! The benchmark: the real binary, over HTTP, on generated events. `make bench` runs it.
//!
//! The generator shares the machine with the server, so what counts is the server's CPU time, not how long it took.

#![allow(clippy::print_stdout)]

mod events;
mod process;

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TOKEN: &str = "sceau_bench_0123456789abcdef0123456789abcdef";
const BATCH: u64 = 5_000;
const CONNECTIONS: usize = 3;
const CLIENTS: usize = 64;
const RUNS: usize = 5;

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
    /// Where the log is made; a temporary directory if left out.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The server under test.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(sceau: &Path, dir: &Path) -> Outcome<Self> {
        let mut child = Command::new(sceau)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data-dir"])
            .arg(dir.join("data"))
            .arg("--key-dir")
            .arg(dir.join("keys"))
            .env("SCEAU_BOOTSTRAP_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no output")?);
        let url =
            out.lines().map_while(Result::ok).find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        Ok(Self { child, url: url.ok_or("the server did not start")? })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn cpu(&self) -> Outcome<Duration> {
        Ok(process::cpu(self.pid())?)
    }

    /// Waits until the background work that ingest left behind is done.
    async fn settle(&self) -> Outcome<()> {
        loop {
            let before = self.cpu()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if self.cpu()? - before < Duration::from_millis(60) {
                return Ok(());
            }
        }
    }

    async fn ask(&self, path: &str) -> Outcome<String> {
        let asked = reqwest::Client::new().get(format!("{}{path}", self.url)).bearer_auth(TOKEN).send().await?;
        let (status, text) = (asked.status(), asked.text().await?);
        if status.is_success() { Ok(text) } else { Err(format!("{path}: {status} {text}").into()) }
    }

    /// A counter of `/metrics`.
    async fn counter(&self, name: &str) -> Outcome<f64> {
        let text = self.ask("/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(line.unwrap_or(f64::NAN))
    }

    /// Whether it still runs, and if not, what it ended with.
    fn fate(mut self) -> Outcome<String> {
        Ok(self.child.try_wait()?.map_or_else(|| "runs".to_owned(), |status| format!("ended with {status}")))
    }

    /// Stops it in good order; the shell has `kill` built in.
    fn stop(mut self) -> Outcome<()> {
        Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.pid())).status()?;
        self.child.wait()?;
        Ok(())
    }
}

fn row(name: &str, value: impl std::fmt::Display) {
    println!("{name:<58} {value:>22}");
}

fn micros(time: Duration, events: u64) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6 / events.max(1) as f64)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let args = Args::parse();
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let server = Server::start(&args.sceau, &dir)?;
    println!("{} events in {}, server {}", args.events, dir.display(), server.url);
    if let Err(error) = measure(&server, &args).await {
        return Err(format!("{error}; the server {}", server.fate()?).into());
    }
    row("peak memory of the server", format!("{} MiB", process::peak_memory(server.pid())? >> 20));
    server.stop()?;
    let total = args.events + args.single;
    row(
        "on disk, all of the data directory",
        format!("{:.1} B/event", process::disk(&dir.join("data"))? as f64 / total as f64),
    );
    verify(&args, &dir, total)
}

async fn measure(server: &Server, args: &Args) -> Outcome<()> {
    ingest(server, args).await?;
    queries(server).await?;
    single(server, args).await
}

/// Sends all events in batches.
async fn ingest(server: &Server, args: &Args) -> Outcome<()> {
    let (before, begun) = (server.cpu()?, Instant::now());
    let (next, bytes, retries) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, bytes, retries, total) = (next.clone(), bytes.clone(), retries.clone(), args.events);
        let url = format!("{}/api/v1/events?source=bench", server.url);
        senders.spawn(async move {
            let client = reqwest::Client::new();
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= total {
                    return Outcome::Ok(());
                }
                let mut body = Vec::with_capacity(BATCH as usize * 320);
                (first..total.min(first + BATCH)).for_each(|number| events::write(number, total, &mut body));
                bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                send(&client, &url, body.into(), &retries).await?;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let (time, cpu) = (begun.elapsed(), server.cpu()? - before);
    let bytes = bytes.load(Ordering::Relaxed);
    row("bytes of an event as sent", format!("{:.0} B", bytes as f64 / args.events as f64));
    row("ingest, until the last acknowledgement: CPU per event", micros(cpu, args.events));
    server.settle().await?;
    row("ingest, with the segments written: CPU per event", micros(server.cpu()? - before, args.events));
    row("ingest, wall time beside the generator", format!("{:.0} events/s", args.events as f64 / time.as_secs_f64()));
    row("ingest, requests sent again after 503", retries.load(Ordering::Relaxed));
    row("ingest, commits (each one durable write)", server.counter("sceau_commits_total").await?);
    row("ingest, mean time of a commit", {
        let (sum, count) =
            (server.counter("sceau_commit_seconds_sum").await?, server.counter("sceau_commit_seconds_count").await?);
        format!("{:.1} ms", sum / count * 1e3)
    });
    Ok(())
}

async fn send(client: &reqwest::Client, url: &str, body: bytes::Bytes, retries: &AtomicU64) -> Outcome<()> {
    loop {
        let request = client.post(url).bearer_auth(TOKEN).header("content-type", "application/x-ndjson");
        let answer = request.body(body.clone()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        match status.as_u16() {
            200 => return Ok(()),
            429 | 503 => {
                retries.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return Err(format!("{status} {text}").into()),
        }
    }
}

/// Asks each question several times, beside nothing else.
async fn queries(server: &Server) -> Outcome<()> {
    let failed = "q=event.outcome:failure";
    let questions = [
        ("count of failures", format!("/count?{failed}"), None),
        ("top 10 addresses of failures", format!("/top?{failed}&field=source.ip"), None),
        ("failures per 10 minutes by address", format!("/histogram?{failed}&interval=10m&by=source.ip"), None),
        ("a rare address in a message", format!("?q=%22{}%22&limit=100", events::RARE_ADDRESS), Some(events::PLANTED)),
        ("last 100 events of a user", format!("?q=user.name:{}&limit=100", events::USER), None),
        ("a rare word", format!("?q={}&limit=100", events::RARE_WORD), Some(events::PLANTED)),
    ];
    for (name, path, expected) in questions {
        let path = format!("/api/v1/events{path}");
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let (cpu, begun) = (process::cpu_of_threads(server.pid())?, Instant::now());
            let answer = server.ask(&path).await?;
            times.push(begun.elapsed());
            cpus.push(process::cpu_of_threads(server.pid())?.saturating_sub(cpu));
            let found = answer.matches("\"index\":").count() as u64;
            if expected.is_some_and(|expected| expected != found) {
                return Err(format!("{name}: {found} found, not {expected:?}").into());
            }
        }
        let [time, cpu] = [times, cpus].map(median);
        row(&format!("query: {name}, median of {RUNS}"), format!("{time:.1} ms, CPU {cpu:.1} ms"));
    }
    Ok(())
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// Sends events one by one, over one connection a client.
async fn single(server: &Server, args: &Args) -> Outcome<()> {
    let commits = server.counter("sceau_commits_total").await?;
    let (before, begun) = (server.cpu()?, Instant::now());
    let next = Arc::new(AtomicU64::new(0));
    let retries = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (next, retries, total) = (next.clone(), retries.clone(), args.single);
        let url = format!("{}/api/v1/events?source=single", server.url);
        clients.spawn(async move {
            let client = reqwest::Client::builder().pool_max_idle_per_host(1).build()?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return Outcome::Ok(());
                }
                let mut body = Vec::with_capacity(320);
                events::write(number, total, &mut body);
                send(&client, &url, body.into(), &retries).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let (time, cpu) = (begun.elapsed(), server.cpu()? - before);
    let commits = server.counter("sceau_commits_total").await? - commits;
    row(&format!("single events, {CLIENTS} clients: CPU per event"), micros(cpu, args.single));
    row(
        "single events: wall time beside the clients",
        format!("{:.0} events/s", args.single as f64 / time.as_secs_f64()),
    );
    row("single events: events per commit", format!("{:.1}", args.single as f64 / commits));
    Ok(())
}

/// Verifies the data directory, which nobody holds any more.
fn verify(args: &Args, dir: &Path, total: u64) -> Outcome<()> {
    let begun = Instant::now();
    let child = Command::new(&args.sceau)
        .arg("verify")
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--key-dir")
        .arg(dir.join("keys"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (cpu, code) = process::finish(child)?;
    if code != Some(0) {
        return Err(format!("verify ended with {code:?}").into());
    }
    row("offline verify, by CPU time", format!("{:.0} entries/s", total as f64 / cpu.as_secs_f64()));
    row("offline verify, by wall time", format!("{:.0} entries/s", total as f64 / begun.elapsed().as_secs_f64()));
    Ok(())
}
