//! Far more than the server can take, from 200 connections: memory stays below a bound, refusals say when to come again,
//! nothing acknowledged is lost, and afterwards everything is as before.
//!
//! `SCEAU_OVERLOAD_SECONDS` says how long (5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{Place, http::Client, until};

const CONNECTIONS: u64 = 200;
/// Events of a large request, of about 260 bytes each.
const EVENTS: usize = 20_000;
/// The most memory that the server may ever have had, in KiB: 128 MiB of bodies, 64 MiB inflated for each of two
/// processors, 64 MiB in the queue, a tail of two segments, a segment being written, and what the allocator keeps.
const MEMORY: u64 = 1_536 << 10;
/// The most requests of a connection whose entries are read back.
const READ_BACK: usize = 5;

/// What one connection did.
#[derive(Default)]
struct Done {
    /// Number, first index and count of what was acknowledged.
    kept: Vec<(u64, u64, u64)>,
    refused: u64,
    refused_events: u64,
    /// Connections that ended without an answer.
    broken: u64,
}

/// What a connection sends all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    /// Most of them: as many bytes at once as the server takes several times over.
    Plain,
    Packed,
}

/// A request of which only the first event changes.
#[derive(Clone)]
struct Template {
    kind: Kind,
    first: Vec<u8>,
    rest: Arc<[u8]>,
}

impl Template {
    fn new(kind: Kind) -> Self {
        let body = body(if kind == Kind::Single { 1 } else { EVENTS });
        let (first, rest) = body.split_once('\n').unwrap_or((&body, ""));
        let rest = if kind == Kind::Packed { gzip(rest.as_bytes()) } else { rest.as_bytes().to_vec() };
        Self { kind, first: format!("{first}\n").into_bytes(), rest: rest.into() }
    }

    /// The body's beginning, with a number in its first event.
    fn first(&self, number: u64) -> Vec<u8> {
        let mut first = self.first.clone();
        first.splice(12..24, format!("{number:012}").replacen('0', "1", 1).into_bytes());
        if self.kind == Kind::Packed { gzip(&first) } else { first }
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            Kind::Single => &[("Content-Type", "application/json")],
            Kind::Plain => &[("Content-Type", "application/x-ndjson")],
            Kind::Packed => &[("Content-Type", "application/x-ndjson"), ("Content-Encoding", "gzip")],
        }
    }

    fn count(&self) -> u64 {
        if self.kind == Kind::Single { 1 } else { EVENTS as u64 }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn body(count: usize) -> String {
    let event = |n: usize| {
        let (user, address) = (n % 997, n % 250);
        format!(
            "{{\"overload\":100000000000,\"n\":{n},\"ip\":\"10.0.7.{address}\",\"user\":\"user{user}\",\"action\":\"login\",\
             \"status\":\"failed\",\"message\":\"a line about as long as those of a web server that logs who asked for \
             what, from where, with which program, and how that ended, number {n}\"}}"
        )
    };
    (0..count).map(event).collect::<Vec<_>>().join("\n")
}

/// Sends without end and without a pause, whatever the answer.
fn flood(url: &str, template: &Template, stop: &AtomicBool, numbers: &AtomicU64) -> Done {
    let mut done = Done::default();
    let count = template.count();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(url) else {
            done.broken += 1;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let this = numbers.fetch_add(1, Ordering::Relaxed);
            let body = [&template.first(this)[..], &template.rest[..]];
            let Ok(answer) = client.send_parts("POST", "/api/v1/events", template.headers(), &body) else {
                done.broken += 1;
                break;
            };
            match answer.status {
                200 => {
                    let said = answer.json();
                    assert_eq!(said["accepted"], count, "{said}");
                    done.kept.push((this, said["first_index"].as_u64().unwrap(), count));
                }
                503 => {
                    let wait = answer.header("retry-after").expect("a refusal says when to come again");
                    assert!(wait.parse::<u64>().unwrap() > 0);
                    let code = answer.json()["code"].clone();
                    assert!(code == "overloaded" || code == "store_full", "{code}");
                    done.refused += 1;
                    done.refused_events += count;
                }
                other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
            }
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    }
    done
}

/// A line of the process's status, in KiB.
fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn too_much_is_refused_and_nothing_is_lost() {
    let seconds = std::env::var("SCEAU_OVERLOAD_SECONDS").map_or(5, |text| text.parse().unwrap());
    let place = Place::new();
    place.init();
    let server = place.serve();
    let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let begun = Instant::now();
    let kinds = [Kind::Single, Kind::Packed, Kind::Plain].map(Template::new);
    let floods: Vec<_> = (0..CONNECTIONS)
        .map(|place| {
            let template = kinds[usize::try_from(place % 8).unwrap().min(2)].clone();
            let (url, stop, numbers) = (server.url.clone(), stop.clone(), numbers.clone());
            std::thread::spawn(move || flood(&url, &template, &stop, &numbers))
        })
        .collect();
    while begun.elapsed() < Duration::from_secs(seconds) {
        assert!(memory(server.id(), "VmRSS") < MEMORY, "{} KiB", memory(server.id(), "VmRSS"));
        std::thread::sleep(Duration::from_millis(100));
    }
    stop.store(true, Ordering::Relaxed);
    let done: Vec<Done> = floods.into_iter().map(|flood| flood.join().unwrap()).collect();

    let mut client = Client::connect(&server.url).unwrap();
    let recovery = Instant::now();
    let last = b"{\"after\":\"the flood\"}";
    until("a request that is kept", || client.send("POST", "/api/v1/events", &[], last).unwrap().status == 200);
    let recovery = recovery.elapsed();
    assert_eq!(client.get("/readyz").unwrap().status, 200);

    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>();
    let kept = sum(|done| done.kept.iter().map(|(_, _, count)| count).sum());
    let (refused, refused_events, broken) = (sum(|d| d.refused), sum(|d| d.refused_events), sum(|d| d.broken));
    let peak = memory(server.id(), "VmHWM");
    eprintln!(
        "{seconds} s, {CONNECTIONS} connections: {kept} events kept ({} a second), {refused_events} refused in {refused} \
         requests ({:.1} times as many), {broken} connections broken; peak {} MiB; normal again after {} ms",
        kept / seconds,
        refused_events as f64 / kept as f64,
        peak >> 10,
        recovery.as_millis()
    );
    assert!(refused > 0, "this was no overload");
    assert!(peak < MEMORY, "{peak} KiB");
    assert_eq!(broken, 0, "a refusal reaches whoever is refused");

    let integrity = client.get("/api/v1/integrity").unwrap().json();
    let size = integrity["head"]["tree_size"].as_u64().unwrap();
    // The log's first two entries are the token's and the set-up link's; the last is the one after the flood.
    assert_eq!(size, kept + 3, "the log holds what was acknowledged, and nothing else");
    for (number, first, count) in done.iter().flat_map(|done| done.kept.iter().rev().take(READ_BACK)) {
        let page = client.get(&format!("/api/v1/entries?from={first}&limit=1")).unwrap();
        let entry = String::from_utf8(page.body).unwrap();
        let wanted = format!("\"overload\":{},", format!("{number:012}").replacen('0', "1", 1));
        assert!(entry.contains(&wanted), "{first} is {entry}, not of request {number}");
        assert!(first + count <= size);
    }
    server.stop();
    let rest = place.run(&["verify", "--json"]).with(0).json();
    assert_eq!(rest["ok"], true);
}
