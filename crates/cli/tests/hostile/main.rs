//! Bad input against the real binary: a clear answer, no crash, no panic, bounded memory, others served meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod bodies;
mod http;
mod imports;
mod payloads;
mod questions;
mod suite;
mod wire;

use std::fs;

use common::{Place, Server, shared};
use serde_json::Value;
use wire::{Answer, Wire};

/// What a server's resident memory may have been at its most, in MiB, through everything that one test sends: two bodies
/// at work (one a processor), each inflated to 64 MiB and made into as much again, and those that wait.
const MEMORY: u64 = 700;

/// A running server that must survive a test.
struct Victim {
    place: Place,
    server: Server,
    pin: String,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        let server = place.serve();
        Self { place, server, pin }
    }

    fn address(&self) -> &str {
        self.server.url.strip_prefix("http://").unwrap()
    }

    fn wire(&self) -> Wire {
        Wire::new(self.address())
    }

    /// Sends a body of events on a connection of its own.
    fn post(&self, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.wire().post(&format!("/api/v1/events{query}"), headers, body)
    }

    fn get(&self, path: &str) -> Answer {
        self.wire().get(path)
    }

    /// The entries from an index on.
    fn entries(&self, from: u64, count: usize) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        while found.len() < count {
            let (next, left) = (from + found.len() as u64, (count - found.len()).min(1_000));
            let answer = self.get(&format!("/api/v1/entries?from={next}&limit={left}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let lines = answer.body.strip_suffix(b"\n").expect("entries end in line feeds");
            found.extend(lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        found
    }

    /// It runs and takes events; nothing panicked; its memory stayed within bounds; the log verifies.
    fn survived(self) {
        self.alive();
        let answer = self.post("", &[], b"{\"still\":\"here\"}");
        assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (200, Some(1)), "{answer:?}");
        let peak = self.server.peak_memory() >> 10;
        eprintln!("peak memory: {peak} MiB");
        assert!(peak <= MEMORY, "{peak} MiB");
        let log = fs::read_to_string(self.place.dir.path().join("server.log")).unwrap();
        for sign in ["panicked", "ERROR", "\"level\":\"ERROR\""] {
            assert!(!log.contains(sign), "{log}");
        }
        let pin = self.pin.clone();
        self.server.run(&["verify", "--pin", &pin]).with(0);
        self.server.stop();
    }

    fn alive(&self) {
        assert_eq!(self.get("/healthz").status, 200);
    }
}

/// A refusal in the form of all refusals.
fn problem(answer: &Answer, status: u16, code: &str) {
    let value = answer.problem();
    assert_eq!((answer.status, value["code"].as_str()), (status, Some(code)), "{value}");
}

/// The codes of the events that an answer or refusal tells of.
fn event_codes(value: &Value) -> Vec<&str> {
    value["errors"].as_array().unwrap().iter().map(|error| error["code"].as_str().unwrap()).collect()
}
