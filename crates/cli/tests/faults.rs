//! Every kind of write fails once, in each way in which it can: what was acknowledged is there, the server says what it
//! must, and the next start goes on.
//!
//! `fault.c` makes the failures. The tables' rows are those of the fault table in `docs/format.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    Place, Server,
    http::Client,
    load::{self, Fate, Request},
    run, sceau, skip, text, until,
};

/// Rows at work at once: most of their time is spent waiting.
const AT_ONCE: usize = 4;
/// The most requests until a fault must have come to pass.
const REQUESTS: u64 = 200;
/// Input/output error.
const EIO: u32 = 5;
/// No space left on device.
const ENOSPC: u32 = 28;

/// One fault: which operation, of what file, by which thread (`*`: any), the how-manieth, how it fails, and how often
/// (0: from then on always).
#[derive(Clone, Copy, Debug)]
struct Fault(&'static str, &'static str, &'static str, u32, u32, u32, &'static str);

/// What must come of it.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Nothing more is accepted, for one of these causes.
    Stops(&'static [&'static str]),
    /// Commits go on; segments wait.
    Delays,
    /// Commits go on until the tail is full.
    Fills,
    /// Nothing.
    Nothing,
}

/// The library that makes operations fail; `None` where there is no C compiler.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fault-{}.so", std::process::id()));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl");
        match compile.output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(library)
            }
            Err(error) => {
                skip("write faults", &format!("no C compiler: {error}"));
                None
            }
        }
    });
    built.as_deref()
}

/// A log with which something goes wrong.
struct Victim {
    place: Place,
    fault: Fault,
    pin: String,
    sent: Vec<Request>,
}

impl Victim {
    fn new(fault: Fault) -> Self {
        let place = Place::new();
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        Self { place, fault, pin, sent: Vec::new() }
    }

    fn arm(&self) {
        std::fs::write(arming(&self.place), "").unwrap();
    }

    fn fired(&self) -> bool {
        fired(&self.place)
    }

    fn serving(&self) -> Command {
        let mut serve = self.place.serving("127.0.0.1:0");
        serve.args(["--segment-entries", "2048", "--seal-after", "2"]);
        serve
    }

    /// A server to which it will happen.
    fn serve(&self) -> Server {
        let server = self.place.serve_as(with_fault(&mut self.serving(), &self.place, self.fault));
        // Whoever takes entries is sealed first, which a log that has stopped can't; this once stands for what follows.
        assert_eq!(Client::connect(&server.url).unwrap().get("/api/v1/entries?limit=1").unwrap().status, 200);
        server
    }

    fn request(&mut self, client: &mut Client, count: u64, size: usize) -> common::http::Answer {
        let mut request = Request::new(self.sent.len() as u64, count, size, false);
        let answer = request.send(client).unwrap();
        self.sent.push(request);
        answer
    }

    /// Sends until the fault has come to pass, first what is small, then what fills logs and segments.
    fn provoke(&mut self, client: &mut Client) {
        let (small, until_then) = (self.sent.len() as u64 + 6, self.sent.len() as u64 + REQUESTS);
        while !self.fired() {
            let sent = self.sent.len() as u64;
            assert!(sent < until_then, "{:?} never came to pass", self.fault);
            let answer = if sent < small { self.request(client, 1, 40) } else { self.request(client, 256, 4_000) };
            if answer.status == 503 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }

    /// The server accepts nothing more, says why, and goes on answering.
    fn stopped(&mut self, client: &mut Client, causes: &[&str]) {
        until("the stop", || client.get("/readyz").unwrap().status == 503);
        let ready = client.get("/readyz").unwrap().json();
        let told = |answer: &serde_json::Value| {
            assert_eq!(answer["code"], "store_failed", "{answer}");
            assert!(causes.contains(&answer["cause"].as_str().unwrap()), "{answer} is none of {causes:?}");
        };
        told(&ready);
        for count in [1, 300] {
            let answer = self.request(client, count, 40);
            assert_eq!(answer.status, 503, "{answer:?}");
            told(&answer.json());
            // It was refused when everything had stopped, so nobody need wonder.
            self.sent.last_mut().unwrap().fate = Fate::Refused;
        }
        let integrity = client.get("/api/v1/integrity").unwrap().json();
        assert!(integrity["writing"].as_str().unwrap().starts_with("store_failed: "), "{integrity}");
    }

    fn live(&self, client: &mut Client) {
        load::check(&self.sent, &load::entries(client, 0), 0);
        assert_eq!(client.get("/api/v1/events/count").unwrap().status, 200);
    }

    /// What a start without faults finds, and that it goes on.
    fn afterwards(mut self, kept: Option<String>) {
        self.verify(kept.as_deref());
        let server = self.place.serve_as(&mut self.serving());
        let mut client = Client::connect(&server.url).unwrap();
        self.live(&mut client);
        let strays = || {
            let metrics = String::from_utf8(client.get("/metrics").unwrap().body).unwrap();
            let named = metrics.lines().find_map(|line| line.strip_prefix("sceau_store_segments ")).unwrap().to_owned();
            let files = std::fs::read_dir(self.place.data().join("segments")).unwrap().count();
            files.to_string() != named
        };
        let mut strays = strays;
        until("a directory of segments without strays", || !strays());
        for (count, size) in [(1, 40), (256, 4_000)] {
            until("room", || self.request(&mut client, count, size).status == 200);
        }
        self.live(&mut client);
        server.stop();
        self.verify(kept.as_deref());
    }

    fn verify(&self, kept: Option<&str>) {
        let mut verify = sceau();
        verify.args(["verify", "--json", "--pin", &self.pin]);
        if let Some(kept) = kept {
            verify.arg("--since-checkpoint").arg(self.place.file("kept", kept));
        }
        verify.arg("--data-dir").arg(self.place.data()).arg("--key-dir").arg(self.place.keys());
        let said = run(&mut verify);
        assert_eq!(said.code, 0, "{:?}: {said:#?}", self.fault);
    }
}

fn arming(place: &Place) -> PathBuf {
    place.dir.path().join("arm")
}

fn fired(place: &Place) -> bool {
    place.dir.path().join("arm.fired").exists()
}

fn with_fault<'a>(command: &'a mut Command, place: &Place, fault: Fault) -> &'a mut Command {
    let Fault(call, path, thread, nth, times, error, mode) = fault;
    let fault = format!("{call}|{path}|{thread}|{nth}|{times}|{error}|{mode}");
    // The library notes beside the log's directories what it did.
    command.env("SCEAU_SERVER_LANDLOCK", "false");
    command.env("LD_PRELOAD", library().unwrap()).env("SCEAU_FAULT", fault).env("SCEAU_FAULT_ARM", arming(place))
}

/// Runs each row, some at once, and names those that fail.
fn table<T: Copy + Sync + std::fmt::Debug>(rows: &[T], one: impl Fn(T) + Sync) {
    if library().is_none() {
        return;
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let work = std::panic::AssertUnwindSafe(|| one(*row));
                    if std::panic::catch_unwind(work).is_err() {
                        eprintln!("FAILED: {row:?}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert_eq!(failed, 0, "{failed} of {} rows failed", rows.len());
}

/// The fault comes under load, or, for `idle`, in what the server does by itself after a request.
fn while_running((fault, idle, then): (Fault, bool, Then)) {
    let mut victim = Victim::new(fault);
    let server = victim.serve();
    let mut client = Client::connect(&server.url).unwrap();
    for count in [1, 700, 3] {
        assert_eq!(victim.request(&mut client, count, 60).status, 200);
    }
    until("a checkpoint", || client.get("/log/checkpoint").unwrap().status == 200);
    let kept = String::from_utf8(client.get("/log/checkpoint").unwrap().body).unwrap();
    if idle {
        assert_eq!(victim.request(&mut client, 2, 60).status, 200);
    }
    victim.arm();
    if idle {
        until("the fault", || victim.fired());
    } else {
        victim.provoke(&mut client);
    }
    match then {
        Then::Stops(causes) => victim.stopped(&mut client, causes),
        Then::Delays => {
            for _ in 0..2 {
                let answer = victim.request(&mut client, 1, 40);
                // Whether the tail has reached its bound by now is a matter of time.
                assert!(answer.status == 200 || answer.json()["code"] == "store_full", "{answer:?}");
            }
            failing(&mut client);
            let files = std::fs::read_dir(victim.place.data().join("segments")).unwrap().count();
            assert_eq!(files, 0, "a segment that failed is left");
        }
        Then::Fills => {
            let mut answer = victim.request(&mut client, 256, 400);
            until("the bound of the tail", || {
                answer = victim.request(&mut client, 256, 400);
                answer.status != 200
            });
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.json()["code"], "store_full");
            assert!(answer.header("retry-after").is_some());
            failing(&mut client);
            assert_eq!(client.get("/readyz").unwrap().status, 200);
        }
        Then::Nothing => assert_eq!(victim.request(&mut client, 5, 40).status, 200),
    }
    victim.live(&mut client);
    // Half of the rows are killed, half asked to stop: what is found afterwards must not depend on it.
    if fault.6 == "failed" && fault.5 == EIO {
        let stops = matches!(then, Then::Stops(_));
        assert_eq!(server.end().success(), !stops, "{fault:?}");
    } else {
        server.kill();
    }
    victim.afterwards(Some(kept));
}

fn failing(client: &mut Client) {
    until("the gauge", || {
        let metrics = String::from_utf8(client.get("/metrics").unwrap().body).unwrap();
        metrics.contains("sceau_store_segments_failing 1")
    });
}

const COMMIT: Then = Then::Stops(&["commit"]);
const STORE: Then = Then::Stops(&["store"]);
const EPOCH: Then = Then::Stops(&["epoch"]);
const NOTE: Then = Then::Stops(&["note"]);

#[test]
fn a_commit_that_fails_stops_the_log() {
    table(
        &[
            (Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "failed"), false, COMMIT),
            (Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "persisted"), false, COMMIT),
            (Fault("fsync", "sceau.db-wal", "*", 1, 0, ENOSPC, "failed"), false, COMMIT),
            (Fault("write", "sceau.db-wal", "*", 1, 1, EIO, "failed"), false, COMMIT),
            (Fault("write", "sceau.db-wal", "*", 3, 1, EIO, "persisted"), false, COMMIT),
            (Fault("write", "sceau.db-wal", "*", 1, 0, ENOSPC, "failed"), false, COMMIT),
            (Fault("write", "sceau.db-wal", "*", 2, 1, ENOSPC, "short"), false, COMMIT),
            // What the publisher does by itself: the first is a checkpoint, the second a seal.
            (Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "failed"), true, Then::Stops(&["checkpoint", "epoch"])),
            (Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "persisted"), true, Then::Stops(&["checkpoint", "epoch"])),
            (Fault("write", "sceau.db-wal", "*", 1, 0, ENOSPC, "failed"), true, Then::Stops(&["checkpoint", "epoch"])),
            (Fault("fsync", "sceau.db-wal", "*", 2, 1, EIO, "failed"), true, EPOCH),
            (Fault("fsync", "sceau.db-wal", "*", 2, 1, EIO, "persisted"), true, EPOCH),
        ],
        while_running,
    );
}

#[test]
fn a_database_that_cannot_be_written_stops_the_log() {
    table(
        &[
            (Fault("fsync", "sceau.db-wal", "sceau-wal", 1, 1, EIO, "failed"), false, STORE),
            (Fault("write", "sceau.db", "*", 1, 1, EIO, "failed"), false, STORE),
            (Fault("write", "sceau.db", "*", 5, 1, EIO, "persisted"), false, STORE),
            (Fault("write", "sceau.db", "*", 1, 0, ENOSPC, "failed"), false, STORE),
            (Fault("write", "sceau.db", "*", 2, 1, ENOSPC, "short"), false, STORE),
            (Fault("fsync", "sceau.db", "*", 1, 1, EIO, "failed"), false, STORE),
            (Fault("fsync", "sceau.db", "*", 1, 1, EIO, "persisted"), false, STORE),
            // The log is only kept from being cut to its usual length.
            (Fault("ftruncate", "sceau.db-wal", "*", 1, 1, EIO, "failed"), false, Then::Nothing),
        ],
        while_running,
    );
}

#[test]
fn a_segment_that_fails_waits() {
    table(
        &[
            (Fault("open", ".parquet.tmp", "*", 1, 1, ENOSPC, "failed"), false, Then::Delays),
            (Fault("open", ".parquet.tmp", "*", 1, 1, EIO, "persisted"), false, Then::Delays),
            (Fault("write", ".parquet.tmp", "*", 1, 1, EIO, "failed"), false, Then::Delays),
            (Fault("write", ".parquet.tmp", "*", 2, 1, EIO, "persisted"), false, Then::Delays),
            (Fault("write", ".parquet.tmp", "*", 2, 1, ENOSPC, "short"), false, Then::Delays),
            (Fault("write", ".parquet.tmp", "*", 1, 0, ENOSPC, "failed"), false, Then::Fills),
            (Fault("fsync", ".parquet.tmp", "*", 1, 1, EIO, "failed"), false, Then::Delays),
            (Fault("fsync", ".parquet.tmp", "*", 1, 1, EIO, "persisted"), false, Then::Delays),
            (Fault("rename", ".parquet", "*", 1, 1, EIO, "failed"), false, Then::Delays),
            (Fault("rename", ".parquet", "*", 1, 1, EIO, "persisted"), false, Then::Delays),
            (Fault("fsync", "/segments", "*", 1, 1, EIO, "failed"), false, Then::Delays),
            (Fault("fsync", "/segments", "*", 1, 0, EIO, "persisted"), false, Then::Fills),
            // The transaction that names it and drops its part of the tail.
            (Fault("write", "sceau.db-wal", "sceau-segments", 1, 1, ENOSPC, "failed"), false, STORE),
            (Fault("fsync", "sceau.db-wal", "sceau-segments", 1, 1, EIO, "failed"), false, STORE),
            (Fault("fsync", "sceau.db-wal", "sceau-segments", 1, 1, EIO, "persisted"), false, STORE),
        ],
        while_running,
    );
}

#[test]
fn a_key_directory_that_cannot_be_written_stops_the_log() {
    table(
        &[
            (Fault("write", "epoch.key", "*", 1, 1, EIO, "failed"), true, EPOCH),
            (Fault("write", "epoch.key", "*", 1, 1, EIO, "persisted"), true, EPOCH),
            (Fault("write", "epoch.key", "*", 1, 1, ENOSPC, "short"), true, EPOCH),
            (Fault("fsync", "epoch.key", "*", 1, 1, EIO, "failed"), true, EPOCH),
            (Fault("fsync", "epoch.key", "*", 1, 1, EIO, "persisted"), true, EPOCH),
            // The second of each destroys the old key; by then the seal is stored.
            (Fault("write", "epoch.key", "*", 2, 1, EIO, "failed"), true, EPOCH),
            (Fault("write", "epoch.key", "*", 2, 1, ENOSPC, "short"), true, EPOCH),
            (Fault("fsync", "epoch.key", "*", 2, 1, EIO, "failed"), true, EPOCH),
            (Fault("fsync", "epoch.key", "*", 2, 1, EIO, "persisted"), true, EPOCH),
            (Fault("write", "/heads", "*", 1, 1, EIO, "failed"), false, NOTE),
            (Fault("write", "/heads", "*", 1, 1, EIO, "persisted"), false, NOTE),
            (Fault("write", "/heads", "*", 2, 0, ENOSPC, "short"), false, NOTE),
        ],
        while_running,
    );
}

/// The fault comes while the server stops: it says so, and the next start puts it right.
fn while_stopping(fault: Fault) {
    let mut victim = Victim::new(fault);
    let server = victim.serve();
    let mut client = Client::connect(&server.url).unwrap();
    for count in [1, 700, 3] {
        assert_eq!(victim.request(&mut client, count, 60).status, 200);
    }
    drop(client);
    victim.arm();
    assert_eq!(server.end().code(), Some(1), "{fault:?}");
    assert!(victim.fired(), "{fault:?} never came to pass");
    victim.afterwards(None);
}

#[test]
fn a_stop_that_fails_says_so() {
    table(
        &[
            Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "sceau.db", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "sceau.db", "*", 1, 1, EIO, "persisted"),
            Fault("write", "sceau.db", "*", 1, 0, ENOSPC, "failed"),
            Fault("write", "epoch.key", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "epoch.key", "*", 2, 1, EIO, "failed"),
        ],
        while_stopping,
    );
}

/// The fault comes while the server starts: it does not start, and says why.
fn while_starting(fault: Fault) {
    let mut victim = Victim::new(fault);
    let server = victim.place.serve_as(&mut victim.serving());
    let mut client = Client::connect(&server.url).unwrap();
    for count in [1, 700, 3] {
        assert_eq!(victim.request(&mut client, count, 60).status, 200);
    }
    server.stop();
    victim.arm();
    fails(with_fault(&mut victim.serving(), &victim.place, fault), &victim.place, fault);
    victim.afterwards(None);
}

/// Runs a command that must fail, since the fault comes to pass.
fn fails(command: &mut Command, place: &Place, fault: Fault) {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut status = None;
    until("the end of a command that fails", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1), "{fault:?}: {}", place.log());
    assert!(fired(place), "{fault:?} never came to pass");
}

#[test]
fn a_start_that_fails_is_none() {
    table(
        &[
            Fault("open", "sceau.db-wal", "*", 1, 0, ENOSPC, "failed"),
            Fault("write", "sceau.db-shm", "*", 1, 0, ENOSPC, "failed"),
            Fault("write", "sceau.db-wal", "*", 1, 1, ENOSPC, "failed"),
            Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "sceau.db-wal", "*", 1, 1, EIO, "persisted"),
            Fault("fsync", "/data", "*", 1, 1, EIO, "failed"),
            Fault("write", "epoch.key", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "epoch.key", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "epoch.key", "*", 2, 1, EIO, "persisted"),
            Fault("fsync", "epoch.key", "*", 3, 1, EIO, "failed"),
        ],
        while_starting,
    );
}

/// The fault comes while a key is rotated: nothing has changed, or the log stops and the next start finishes or undoes it.
fn while_rotating((fault, key, then): (Fault, &str, Then)) {
    let mut victim = Victim::new(fault);
    let server = victim.serve();
    let mut client = Client::connect(&server.url).unwrap();
    for count in [1, 700, 3] {
        assert_eq!(victim.request(&mut client, count, 60).status, 200);
    }
    victim.arm();
    let said = server.run(&["keys", "rotate", key]);
    assert!(victim.fired(), "{fault:?} never came to pass: {said:?}");
    assert_eq!(said.code, 1, "{said:?}");
    match then {
        Then::Stops(causes) => victim.stopped(&mut client, causes),
        _ => assert_eq!(victim.request(&mut client, 5, 40).status, 200),
    }
    victim.live(&mut client);
    server.kill();
    // The start resolves it; what is found before that is not for an auditor yet.
    let server = victim.place.serve_as(&mut victim.serving());
    server.run(&["keys", "rotate", key]).with(0);
    server.stop();
    victim.afterwards(None);
}

#[test]
fn a_rotation_that_fails_is_finished_or_undone() {
    let keys = Then::Stops(&["keys"]);
    table(
        &[
            (Fault("write", ".log.key.next.new", "*", 1, 1, ENOSPC, "short"), "log", Then::Nothing),
            (Fault("fsync", ".mac.key.next.new", "*", 1, 1, EIO, "failed"), "mac", Then::Nothing),
            (Fault("rename", "/log.key.next", "*", 1, 1, EIO, "persisted"), "log", Then::Nothing),
            (Fault("fsync", "/keys", "*", 1, 1, EIO, "failed"), "mac", Then::Nothing),
            (Fault("rename", "/log.key", "*", 1, 1, EIO, "failed"), "log", keys),
            (Fault("rename", "/log.key", "*", 1, 1, EIO, "persisted"), "log", keys),
            (Fault("fsync", "/keys", "*", 2, 1, EIO, "failed"), "log", keys),
            (Fault("fsync", "/keys", "*", 3, 1, EIO, "failed"), "log", keys),
            (Fault("write", "/log.key.old", "*", 1, 1, EIO, "failed"), "log", keys),
            (Fault("fsync", "/log.key.old", "*", 1, 1, EIO, "persisted"), "log", keys),
            (Fault("write", ".mac.key.new", "*", 1, 1, ENOSPC, "failed"), "mac", keys),
            (Fault("rename", "/mac.key", "*", 1, 1, EIO, "persisted"), "mac", keys),
            (Fault("write", "/mac.key.next", "*", 1, 1, EIO, "failed"), "mac", keys),
        ],
        while_rotating,
    );
}

/// The fault comes while the log is made: the next attempt goes on with what is there.
fn while_making(fault: Fault) {
    let place = Place::new();
    let init = || {
        let mut init = sceau();
        init.args(["init", "--origin", "test.example/log", "--json"]);
        init.arg("--data-dir").arg(place.data()).arg("--key-dir").arg(place.keys());
        init
    };
    std::fs::write(arming(&place), "").unwrap();
    fails(with_fault(&mut init(), &place, fault), &place, fault);
    let facts = run(&mut init()).with(0).json();
    let pin = facts["first_epoch_key"].as_str().unwrap().to_owned();
    let keys: Vec<String> = std::fs::read_dir(place.keys()).unwrap().map(|file| text(&file.unwrap().path())).collect();
    assert_eq!(keys.len(), 7, "{keys:?}");
    assert!(!place.data().join("making").exists());
    Victim { place, fault, pin, sent: Vec::new() }.afterwards(None);
}

#[test]
fn a_log_whose_making_failed_can_be_made() {
    table(
        &[
            Fault("write", ".log.key.new", "*", 1, 1, ENOSPC, "failed"),
            Fault("write", ".mac.key.new", "*", 1, 1, ENOSPC, "short"),
            Fault("fsync", ".epoch.key.new", "*", 1, 1, EIO, "failed"),
            Fault("open", ".heads.new", "*", 1, 1, ENOSPC, "failed"),
            Fault("rename", "/origin", "*", 1, 1, EIO, "failed"),
            Fault("rename", "/epoch.key", "*", 1, 1, EIO, "persisted"),
            Fault("fsync", "/keys", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "/keys", "*", 5, 1, EIO, "failed"),
            Fault("write", "making/sceau.db", "*", 1, 0, ENOSPC, "failed"),
            Fault("fsync", "making/sceau.db", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "making/sceau.db-wal", "*", 1, 1, EIO, "persisted"),
            Fault("rename", "data/sceau.db", "*", 1, 1, EIO, "failed"),
            Fault("rename", "data/sceau.db", "*", 1, 1, EIO, "persisted"),
            Fault("fsync", "/data", "*", 1, 1, EIO, "failed"),
            Fault("fsync", "data/sceau.db-wal", "*", 1, 1, EIO, "failed"),
        ],
        while_making,
    );
}
