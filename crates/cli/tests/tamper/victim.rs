//! The log that is tampered with, what an auditor kept of it, and what `verify` has to say of a copy.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use rusqlite::Connection;
use sceau_event::Deriver;
use sceau_store::{
    Commit, Ledger as _, Store as _,
    embedded::{Embedded, Options, db},
};
use serde::{Deserialize, Serialize};

pub use crate::common::named::{at, listed, range, whole};
use crate::common::{Place, Said, Server, copy::copy_directory, named::named, post, run, sceau, text, until};

/// Entries of a segment.
pub const SEGMENT: u64 = 512;
/// Entries of a row group.
pub const GROUP: u64 = 256;

/// What was noted when the log was made.
#[derive(Serialize, Deserialize)]
pub struct Facts {
    pub pin: String,
    pub verifier_key: String,
    pub size: u64,
    /// The first entry that is in no segment.
    pub tail: u64,
    /// The first entry of the last batch, which no seal covers.
    pub unsealed: u64,
    /// The sizes of the seals, by epoch.
    pub seals: Vec<u64>,
    /// The size of the checkpoint that was kept early.
    pub early: u64,
}

/// The log: three segments, a sealed tail, and a batch that no seal covers.
pub struct Victim {
    root: PathBuf,
    pub facts: Facts,
}

impl Victim {
    /// The one that all tests of this build share; made by whichever comes first.
    pub fn get() -> Self {
        let binary = std::fs::metadata(env!("CARGO_BIN_EXE_sceau")).unwrap();
        let changed = binary.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tamper");
        std::fs::create_dir_all(&all).unwrap();
        let lock = File::create(all.join("lock")).unwrap();
        lock.lock().unwrap();
        // Its times are those of its making: one that is hours old would not be what the clocks' tests take it for. Who
        // began in the last hour may still be reading that hour's.
        let hour = UNIX_EPOCH.elapsed().unwrap().as_secs() / 3_600;
        let name = |hour: u64| all.join(format!("{changed}-{}-{hour}", binary.len()));
        let (root, before) = (name(hour), name(hour - 1));
        if !root.join("facts.json").exists() {
            for old in std::fs::read_dir(&all).unwrap().map(|old| old.unwrap().path()) {
                if !old.is_dir() || old == before {
                    continue;
                }
                std::fs::remove_dir_all(old).unwrap();
            }
            std::fs::create_dir_all(&root).unwrap();
            let facts = make(&root);
            std::fs::write(root.join("facts.json"), serde_json::to_vec(&facts).unwrap()).unwrap();
        }
        let facts = serde_json::from_slice(&std::fs::read(root.join("facts.json")).unwrap()).unwrap();
        Self { root, facts }
    }

    /// A checkpoint kept elsewhere when the first events had come.
    pub fn early(&self) -> String {
        text(&self.root.join("early"))
    }

    /// The same when all had come.
    pub fn late(&self) -> String {
        text(&self.root.join("late"))
    }

    pub fn copy(&self) -> Place {
        copied(&self.root.join("log"))
    }

    /// What data and keys were when the first events had come.
    pub fn older(&self) -> Place {
        copied(&self.root.join("older"))
    }

    /// Tampers with a copy. An auditor who has everything must name exactly these faults.
    pub fn named(&self, what: &str, wanted: &[String], tamper: impl FnOnce(&Path)) {
        let copy = self.copy();
        tamper(&copy.data());
        self.names(what, &copy, wanted);
    }

    /// An auditor who has keys, pin and the late checkpoint must name exactly these faults.
    pub fn names(&self, what: &str, place: &Place, wanted: &[String]) {
        let late = self.late();
        names(what, place, &["--pin", &self.facts.pin, "--since-checkpoint", &late], wanted);
    }

    /// The 256 entries, or what there is of them, among which an entry is.
    pub fn bundle(&self, kind: &str, index: u64) -> String {
        let first = index - index % 256;
        range(kind, first, (first + 255).min(self.facts.size - 1))
    }
}

/// Both outputs must name exactly these faults, in this order.
pub fn names(what: &str, place: &Place, args: &[&str], wanted: &[String]) -> Said {
    let run = |verify: &[&str]| place.run(&[verify, args].concat());
    named(what, run, wanted)
}

/// No fault; what is said of how far the guards reach.
pub fn clean(place: &Place, args: &[&str]) -> Said {
    place.run(&[&["verify"], args].concat()).with(0)
}

/// Looks at a place without its keys.
pub fn without_keys(place: &Place, args: &[&str]) -> Said {
    let mut verify = sceau();
    verify.arg("verify").args(args).arg("--data-dir").arg(place.data());
    run(&mut verify)
}

fn copied(from: &Path) -> Place {
    let place = Place::new();
    copy_directory(from, &place.root);
    place
}

/// Failed logins of 97 users; number 700 is of somebody else and says a word that nobody else says.
fn events(numbers: std::ops::Range<u64>) -> String {
    let event = |number: u64| {
        let (user, second) = (number % 97, number % 60);
        let (name, word) =
            if number == 700 { ("rarely".to_owned(), "zebra") } else { (format!("user{user}"), "attempt") };
        format!(
            "{{\"timestamp\":\"2026-11-01T08:00:{second:02}Z\",\"ip\":\"10.0.0.{user}\",\"user\":\"{name}\",\
             \"action\":\"login\",\"status\":\"failed\",\"message\":\"{word} {number}\"}}\n"
        )
    };
    numbers.map(event).collect()
}

fn make(root: &Path) -> Facts {
    let place = Place::new();
    let public = place.init();
    // The checkpoint over everything that was sent.
    let send = |server: &Server, numbers: std::ops::Range<u64>| {
        let file = place.file(&format!("events-{}.ndjson", numbers.start), events(numbers));
        server.run(&["import", file.to_str().unwrap()]).with(0);
        let mut checkpoint = String::new();
        until("a checkpoint over everything", || {
            checkpoint = server.run(&["checkpoint"]).out;
            let head = number(&database(&place.data()), "SELECT size FROM head");
            !checkpoint.is_empty() && size(&checkpoint) == head
        });
        checkpoint
    };
    let server = place.serve();
    let early = send(&server, 0..600);
    std::fs::write(root.join("early"), &early).unwrap();
    server.stop();
    keep(&place, &root.join("older"));
    let server = place.serve();
    send(&server, 600..1_200);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[("Idempotency-Key", "kept")], "{\"user\":\"alice\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    server.stop();
    place.run(&["token", "--name", "alice"]).with(0);
    let server = place.serve();
    send(&server, 1_200..1_700);
    server.stop();
    segments(&place.data());
    let server = place.serve();
    let unsealed = number(&database(&place.data()), "SELECT size FROM head");
    let late = send(&server, 1_700..1_900);
    std::fs::write(root.join("late"), &late).unwrap();
    // Whatever it would write when it stops would be sealed.
    server.kill();
    keep(&place, &root.join("log"));
    let database = database(&place.data());
    let mut seals = database.prepare("SELECT text FROM seal ORDER BY epoch").unwrap();
    let seals = seals.query_map([], |row| row.get::<_, String>(0)).unwrap();
    Facts {
        pin: public["first_epoch_key"].as_str().unwrap().to_owned(),
        verifier_key: public["verifier_key"].as_str().unwrap().to_owned(),
        size: size(&late),
        tail: number(&database, "SELECT min(first) FROM tail"),
        unsealed,
        seals: seals.map(|seal| seal_size(&seal.unwrap())).collect(),
        early: size(&early),
    }
}

fn keep(place: &Place, to: &Path) {
    // The last connection moves the log into the database, so that there is one file to copy.
    database(&place.data()).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    copy_directory(&place.data(), &to.join("data"));
    copy_directory(&place.keys(), &to.join("keys"));
}

/// The tree size in a checkpoint.
fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// The tree size in a seal.
pub fn seal_size(seal: &str) -> u64 {
    seal.lines().find_map(|line| line.strip_prefix("size ")).unwrap().parse().unwrap()
}

pub fn database(data: &Path) -> Connection {
    Connection::open(data.join(db::FILE)).unwrap()
}

pub fn number(database: &Connection, query: &str) -> u64 {
    database.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Turns what it can of the tail into segments of two row groups.
fn segments(data: &Path) {
    let (entries, rows) = (usize::try_from(SEGMENT).unwrap(), usize::try_from(GROUP).unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = Options { segment_entries: entries, group_rows: rows, ..Options::default() };
        let store = Embedded::open(data, Arc::new(Deriver::builtin()), options).await.unwrap();
        let head = store.head().await.unwrap();
        let nothing = Commit { batches: vec![], head, tiles: vec![], macs: vec![], tags: vec![], state: vec![] };
        // An empty commit wakes the thread that writes segments.
        store.commit(head, nothing).await.unwrap();
        let mut left = f64::MAX;
        while left >= SEGMENT as f64 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let gauges = store.gauges().await.unwrap();
            left = gauges.into_iter().find(|(name, _)| *name == "store_tail_entries").unwrap().1;
        }
        store.close().await.unwrap();
    });
}
