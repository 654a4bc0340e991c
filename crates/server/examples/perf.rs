//! Ad-hoc measurement.
#![allow(clippy::unwrap_used)]
use sceau_server::*;
use std::{sync::Arc, time::Instant};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn event(n: usize) -> String {
    let users = ["alice", "bob", "carol", "dave", "erin"];
    format!(
        "{{\"timestamp\":\"2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"ip\":\"10.{}.{}.{}\",\"user\":\"{}{}\",\"action\":\"login\",\"status\":\"{}\",\"host\":\"web-{}\",\"service\":\"auth\",\"session\":\"{:016x}\",\"message\":\"authentication attempt number {} from the vpn gateway\",\"bytes\":{}}}\n",
        1 + n / 86400 % 20,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 1000,
        n % 4,
        n / 7 % 256,
        n / 3 % 256,
        users[n % 5],
        n % 1000,
        if n % 7 == 0 { "failed" } else { "success" },
        n % 12,
        n.wrapping_mul(0x9E3779B97F4A7C15),
        n,
        n % 5000
    )
}
#[tokio::main]
async fn main() {
    let total: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(500_000);
    if std::env::args().nth(2).is_some() {
        verify().await;
        return;
    }
    let dir = std::env::temp_dir().join("sceau-perf");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let config = Config::new(dir.join("data"), dir.join("keys"));
    init(&config).await.unwrap();
    let log = Log::open(&config).await.unwrap();
    let bodies: Vec<bytes::Bytes> =
        (0..total / 5000).map(|b| (0..5000).map(|n| event(b * 5000 + n)).collect::<String>().into()).collect();
    println!("event {} bytes", bodies[0].len() / 5000);
    let bodies = Arc::new(bodies);
    let (c0, t0) = (cpu(), Instant::now());
    let mut tasks = Vec::new();
    for w in 0..3 {
        let (log, bodies) = (log.clone(), bodies.clone());
        tasks.push(tokio::spawn(async move {
            for b in bodies.iter().skip(w).step_by(3) {
                log.ingest(b.clone(), &IngestRequest { format: Format::Ndjson, wait: true, ..Default::default() })
                    .await
                    .unwrap();
            }
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    let (c1, t1) = (cpu(), t0.elapsed());
    println!("batches: {:.2} us CPU/event, {:.2?} wall", (c1 - c0) * 1e6 / total as f64, t1);
    let singles = 64 * 300;
    let (c0, t0) = (cpu(), Instant::now());
    let tasks: Vec<_> = (0..64)
        .map(|w| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..300 {
                    log.ingest(event(w * 1000 + n).into(), &IngestRequest::default()).await.unwrap();
                }
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap();
    }
    println!("singles direct: {:.1} us CPU/event, {:.2?} wall", (cpu() - c0) * 1e6 / singles as f64, t0.elapsed());
    for p in log.reader().store().gauges().await.unwrap() {
        println!("{} {}", p.0, p.1);
    }
    log.close().await.unwrap();
    drop(log);
    drop(bodies);
    verify().await;
}
async fn verify() {
    let dir = std::env::temp_dir().join("sceau-perf");
    let config = Config::new(dir.join("data"), dir.join("keys"));
    let (c0, t0) = (cpu(), Instant::now());
    let report = verify_dir(&config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    println!(
        "verify ok={} {:.0} entries/s wall, {:.2} us CPU",
        report.ok,
        report.verdict.entries as f64 / t0.elapsed().as_secs_f64(),
        (cpu() - c0) * 1e6 / report.verdict.entries as f64
    );
}
