//! The long run: whether cost, memory and selective questions stay flat while the log grows; whether it starts quickly
//! and forgets in good order at the end.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Cores, Outcome, load, process,
    questions::{self, Question},
    report::{Bar, Report, median, micros},
    server::Server,
};

/// Where it is looked at, besides the end.
const MARKS: [u64; 2] = [2_000_000, 10_000_000];
/// Events of a day's time; what is rare is among the first day's.
const ROUND: u64 = 2_000_000;
/// Pause between the searches that go on beside the load.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries of which proofs are kept.
const PROVEN: u64 = 8;
/// What an event may cost later against what it cost until the first mark: more is not flat.
const FLAT: f64 = 1.25;
/// How long a start may take.
const START: Bar = Bar::AtMost(2.0);

/// Runs all of it.
pub async fn run(sceau: &Path, dir: &Path, events: u64, report: &Report) -> Outcome<()> {
    let server = Server::start(sceau, dir, &["--no-detection".to_owned()])?;
    let mut marks: Vec<u64> = MARKS.into_iter().filter(|mark| *mark < events).collect();
    marks.push(events);
    let mut from = 0;
    let (mut kept, mut first) = (None, None);
    for to in marks {
        match stretch(&server, from, to, first, report).await {
            Ok(cost) => first = first.or(Some(cost)),
            Err(error) => return Err(format!("{error}; the server {}", server.fate()?).into()),
        }
        if kept.is_none() {
            kept = Some(Kept::take(&server, dir, to).await?);
        }
        from = to;
    }
    report
        .row("peak memory of the server", format!("{} MB", process::memory(server.pid(), process::PEAK)? / 1_000_000));
    server.stop()?;
    let disk = process::disk(&dir.join("data"))?;
    report.row("on disk, all of the data directory", format!("{:.1} B/event", disk as f64 / events as f64));
    let (server, time) = Server::started(sceau, dir, &["--no-detection".to_owned()]).await?;
    report.bar("from its start until it is ready", time.as_secs_f64(), "s", START);
    report.row("memory after the start", format!("{} MB", process::memory(server.pid(), process::NOW)? / 1_000_000));
    let bytes = server.counter("sceau_store_segment_bytes").await?;
    server.stop()?;
    forget(sceau, dir, events, bytes as u64 / 4, kept.ok_or("no proofs were taken")?, report).await
}

/// Sends the events between two marks while searches go on, then looks at everything in peace.
///
/// Gives the microseconds that an event cost in the stages, which must not be much more than the `first` time.
async fn stretch(server: &Server, from: u64, to: u64, first: Option<f64>, report: &Report) -> Outcome<f64> {
    let (before, stages, begun) = (server.cpu()?, crate::stages(server).await?, Instant::now());
    let done = Arc::new(AtomicBool::new(false));
    let searches = tokio::spawn(search(server.url.clone(), done.clone()));
    let sent = load::batches(&server.url, from..to, ROUND).await;
    done.store(true, Ordering::Relaxed);
    let beside = searches.await??;
    let (sent, time) = (sent?, begun.elapsed());
    server.settle().await?;
    println!("-- {to} events");
    let cpu = micros(server.cpu()? - before, to - from);
    report.row("CPU per event since the last mark, searches included", format!("{cpu:.2} µs"));
    let asked: usize = beside.iter().map(|(_, times)| times.len()).sum();
    let rest = format!("all else: HTTP, the runtime and {asked} searches");
    let sum = crate::report_stages(server, stages, (cpu, &rest), to - from, report).await?;
    match first {
        None => report.row("CPU per event, without the rest", format!("{sum:.2} µs")),
        Some(first) => report.bar("CPU per event, without the rest", sum, "µs", Bar::AtMost(FLAT * first)),
    }
    let rate = (to - from) as f64 / time.as_secs_f64();
    report.row("rate", format!("{rate:.0} events/s"));
    report.row("requests sent again after 503", sent.retries.load(Ordering::Relaxed));
    for (name, times) in beside {
        let most = times.iter().max().map_or(0.0, |time| time.as_secs_f64() * 1e3);
        report.row(
            &format!("beside the load: {name}, median and most"),
            format!("{:.1} and {most:.1} ms", median(times)),
        );
    }
    let memory = [process::NOW, process::PEAK].map(|which| process::memory(server.pid(), which));
    let [now, peak] = memory.map(|bytes| bytes.unwrap_or(0) as f64 / 1e6);
    report.row("memory now", format!("{now:.0} MB"));
    report.bar("peak memory so far", peak, "MB", Bar::AtMost(500.0));
    let (tail, segments) =
        (server.counter("sceau_store_tail_entries").await?, server.counter("sceau_store_segments").await?);
    report.row("tail and segments", format!("{tail} entries, {segments}"));
    for question in [questions::WORD, questions::ADDRESS, questions::USER, questions::EVERYTHING, questions::FAILURES] {
        question.report(server, report).await?;
    }
    Ok(sum)
}

/// Searches again and again; how long each search took.
async fn search(url: String, done: Arc<AtomicBool>) -> Outcome<Vec<(&'static str, Vec<Duration>)>> {
    const ASKED: [Question; 2] = [questions::WORD, questions::USER];
    let mut times = ASKED.map(|_| Vec::new());
    while !done.load(Ordering::Relaxed) {
        for (question, times) in ASKED.iter().zip(&mut times) {
            tokio::time::sleep(PAUSE).await;
            times.push(question.ask(&url, false).await?);
        }
    }
    Ok(ASKED.iter().map(|question| question.name).zip(times).collect())
}

/// What somebody kept from before the deletion.
struct Kept {
    verifier_key: String,
    /// Index and leaf of each entry of which there is a proof in a file.
    proven: Vec<(u64, String)>,
}

impl Kept {
    async fn take(server: &Server, dir: &Path, size: u64) -> Outcome<Self> {
        let facts: Value = serde_json::from_str(&server.ask("/api/v1/integrity").await?)?;
        let verifier_key = facts["verifier_key"].as_str().ok_or("no verifier key")?.to_owned();
        std::fs::write(dir.join("checkpoint"), server.ask("/log/checkpoint").await?)?;
        let mut proven = Vec::new();
        for index in (0..PROVEN).map(|n| n * (size - 1) / (PROVEN - 1).max(1)) {
            let text = server.ask(&format!("/api/v1/events/{index}/proof")).await?;
            let proof: Value = serde_json::from_str(&text)?;
            let leaf = proof["leaf_hash"].as_str().ok_or("no leaf hash")?.to_owned();
            std::fs::write(dir.join(format!("entry-{index}")), proof["entry"].as_str().ok_or("no entry")?)?;
            std::fs::write(dir.join(format!("proof-{index}")), text)?;
            proven.push((index, leaf));
        }
        Ok(Self { verifier_key, proven })
    }

    fn check(&self, sceau: &Path, proof: &Path, entry: &Path) -> Outcome<()> {
        let checked = Command::new(sceau)
            .args(["proof", "--check"])
            .arg(proof)
            .arg("--entry")
            .arg(entry)
            .args(["--verifier-key", &self.verifier_key])
            .output()?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        if checked.status.success() { Ok(()) } else { Err(format!("{}: {said}", proof.display()).into()) }
    }
}

/// Lets retention delete all but so many bytes, and makes sure that what was proven before is still proven.
async fn forget(sceau: &Path, dir: &Path, events: u64, bytes: u64, kept: Kept, report: &Report) -> Outcome<()> {
    println!("-- retention, to {} MB of segments", bytes / 1_000_000);
    let (server, _) =
        Server::started(sceau, dir, &["--no-detection".to_owned(), "--retain-bytes".to_owned(), bytes.to_string()])
            .await?;
    let begun = Instant::now();
    while server.counter("sceau_store_segment_bytes").await? > bytes as f64 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if begun.elapsed() > Duration::from_secs(1_800) {
            return Err("retention does not come to an end".into());
        }
    }
    report.row("deleted within", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let deleted = server.counter("sceau_retention_deleted_total").await?;
    report.row("deleted entries", deleted);
    for (index, leaf) in &kept.proven {
        let [old, new, entry] = ["proof", "proof-now", "entry"].map(|name| dir.join(format!("{name}-{index}")));
        kept.check(sceau, &old, &entry)?;
        let text = server.ask(&format!("/api/v1/events/{index}/proof")).await?;
        let proof: Value = serde_json::from_str(&text)?;
        if proof["leaf_hash"].as_str() != Some(leaf) {
            return Err(format!("entry {index} has another leaf than before").into());
        }
        std::fs::write(&new, text)?;
        kept.check(sceau, &new, &entry)?;
    }
    report.row("proofs from before, and new ones of the same entries", format!("{} hold", 2 * kept.proven.len()));
    let left = server.counter("sceau_store_segments").await?;
    report.row("segments left", left);
    server.stop()?;
    let size = process::disk(&dir.join("data"))?;
    report.row("data directory", format!("{} MB", size / 1_000_000));
    let since = ["--since-checkpoint".to_owned(), dir.join("checkpoint").display().to_string()];
    // The leaves of what was deleted are checked, too, but are no entries.
    let rate = crate::verify(sceau, dir, events - deleted as u64, Cores::All, &since)?.by_cpu;
    report.row("offline verify against the checkpoint from before", format!("good, {rate:.0} entries/s of CPU"));
    Ok(())
}
