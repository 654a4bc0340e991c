//! The log that is tampered with, what an auditor kept of it, and what `verify` has to say.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use mongodb::{
    Collection, Database as Mongo,
    bson::{Document, doc},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    common::{Place, Said, Server, copy::copy_directory, named::named, post, text, until},
    database::{Database, Dump},
    log::Log,
};

/// What was noted when the log was made.
#[derive(Serialize, Deserialize)]
pub struct Facts {
    /// What `init` said.
    pub public: Value,
    pub size: u64,
    /// The first entry that no seal covers.
    pub unsealed: u64,
    /// The size of the checkpoint that was kept early.
    pub early: u64,
}

/// A log of some two thousand entries, the newest of them not sealed, in a database of its own.
pub struct Victim {
    root: PathBuf,
    pub facts: Facts,
    pub log: Log,
    whole: Dump,
    pub database: Database,
}

impl Victim {
    /// A copy of the one that all tests of this build share, which is made by whichever comes first; `None` without a
    /// database server.
    pub fn get() -> Option<Self> {
        let what = "tampering in MongoDB";
        let database = Database::start(what)?;
        let root = kept(what)?;
        let facts: Facts = serde_json::from_slice(&std::fs::read(root.join("facts.json")).unwrap()).unwrap();
        let mut log = Log::new(&database);
        log.public.clone_from(&facts.public);
        let victim = Self { whole: Dump::load(&root.join("log")), root, facts, log, database };
        victim.put(&victim.whole, "log-keys");
        Some(victim)
    }

    /// Puts a dump and its keys in the place of what is there.
    fn put(&self, dump: &Dump, keys: &str) {
        let admin = self.database.admin();
        self.database.run(dump.restore(&admin));
        std::fs::remove_dir_all(self.log.place.keys()).unwrap();
        copy_directory(&self.root.join(keys), &self.log.place.keys());
    }

    /// What the database was when the first events had come.
    pub fn older(&self) -> Dump {
        Dump::load(&self.root.join("older"))
    }

    /// Puts the keys back as they were then.
    pub fn older_keys(&self) {
        std::fs::remove_dir_all(self.log.place.keys()).unwrap();
        copy_directory(&self.root.join("older-keys"), &self.log.place.keys());
    }

    /// A checkpoint kept elsewhere when the first events had come.
    pub fn early(&self) -> String {
        text(&self.root.join("early"))
    }

    /// The same when all had come.
    pub fn late(&self) -> String {
        text(&self.root.join("late"))
    }

    /// Tampers. An auditor who has everything must name exactly these faults; then everything is put back.
    pub fn named(&self, what: &str, wanted: &[String], tamper: impl AsyncFnOnce(&Mongo)) {
        let admin = self.database.admin();
        self.database.run(tamper(&admin));
        self.names(what, wanted);
        self.back();
    }

    /// Puts everything back.
    pub fn back(&self) {
        self.put(&self.whole, "log-keys");
    }

    /// An auditor who has keys, pin and the late checkpoint must name exactly these faults.
    pub fn names(&self, what: &str, wanted: &[String]) -> Said {
        let (pin, late) = (self.log.pin(), self.late());
        named(what, |verify| self.log.run(&[verify, &["--pin", pin, "--since-checkpoint", &late]].concat()), wanted)
    }

    /// Looks at it without its keys.
    pub fn without_keys(&self, args: &[&str]) -> Said {
        crate::common::run(&mut self.log.keyless(&[&["verify"], args].concat()))
    }

    /// The 256 entries, or what there is of them, among which an entry is.
    pub fn bundle(&self, kind: &str, index: u64) -> String {
        let first = index - index % 256;
        crate::common::named::range(kind, first, (first + 255).min(self.facts.size - 1))
    }

    /// The index of the document that holds an entry which says this.
    pub fn saying(&self, words: &str) -> u64 {
        let mut found = self.whole.0["logs"].iter().map(|document| document.get_str("entry").unwrap());
        found.position(|entry| entry.contains(words)).unwrap() as u64
    }

    /// A document as it was.
    pub fn document(&self, index: u64) -> Document {
        Document::try_from(self.whole.0["logs"][usize::try_from(index).unwrap()].clone()).unwrap()
    }
}

/// The documents of entries.
pub fn logs(database: &Mongo) -> Collection<Document> {
    database.collection("logs")
}

/// The filter for an entry.
pub fn id(index: u64) -> Document {
    doc! { "_id": i64::try_from(index).unwrap() }
}

/// The directory in which the log is kept.
fn kept(what: &str) -> Option<PathBuf> {
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_sceau")).unwrap();
    let changed = binary.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mongo-tamper");
    std::fs::create_dir_all(&all).unwrap();
    let lock = File::create(all.join("lock")).unwrap();
    lock.lock().unwrap();
    let root = all.join(format!("{changed}-{}", binary.len()));
    if !root.join("facts.json").exists() {
        for old in std::fs::read_dir(&all).unwrap().map(|old| old.unwrap().path()).filter(|old| old.is_dir()) {
            std::fs::remove_dir_all(old).unwrap();
        }
        std::fs::create_dir_all(&root).unwrap();
        let facts = make(&Database::start(what)?, &root);
        std::fs::write(root.join("facts.json"), serde_json::to_vec(&facts).unwrap()).unwrap();
    }
    Some(root)
}

/// Failed logins of 97 users; number 700 is of somebody else.
fn events(numbers: std::ops::Range<u64>) -> String {
    let event = |number: u64| {
        let (user, second) = (number % 97, number % 60);
        let name = if number == 700 { "rarely".to_owned() } else { format!("user{user}") };
        format!(
            "{{\"timestamp\":\"2026-11-01T08:00:{second:02}Z\",\"ip\":\"10.0.0.{user}\",\"user\":\"{name}\",\
             \"action\":\"login\",\"status\":\"failed\",\"message\":\"attempt {number}\"}}\n"
        )
    };
    numbers.map(event).collect()
}

fn make(database: &Database, root: &Path) -> Facts {
    let log = Log::new(database);
    let admin = database.admin();
    let head = || number(database, &admin);
    let send = |server: &Server, numbers: std::ops::Range<u64>| {
        let file = log.place.file(&format!("events-{}.ndjson", numbers.start), events(numbers));
        server.run(&["import", file.to_str().unwrap()]).with(0);
        let mut checkpoint = String::new();
        until("a checkpoint over everything", || {
            checkpoint = server.run(&["checkpoint"]).out;
            !checkpoint.is_empty() && size(&checkpoint) == head()
        });
        checkpoint
    };
    let server = log.serve();
    let early = send(&server, 0..600);
    std::fs::write(root.join("early"), &early).unwrap();
    server.stop();
    keep(database, &admin, &log.place, root, "older");
    let server = log.serve();
    send(&server, 600..1_200);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[("Idempotency-Key", "kept")], "{\"user\":\"alice\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    server.stop();
    log.run(&["token", "--name", "alice"]).with(0);
    let server = log.serve();
    let unsealed = head();
    let late = send(&server, 1_200..1_900);
    std::fs::write(root.join("late"), &late).unwrap();
    // Whatever it would write when it stops would be sealed.
    server.kill();
    keep(database, &admin, &log.place, root, "log");
    Facts { public: log.public.clone(), size: size(&late), unsealed, early: size(&early) }
}

fn keep(database: &Database, admin: &Mongo, place: &Place, root: &Path, name: &str) {
    let mut dump = database.run(Dump::take(admin));
    // The lease of a server that was killed runs on for a while; a log is verified otherwise while somebody writes.
    dump.0.insert("sceau_lease".to_owned(), Vec::new());
    dump.save(&root.join(name));
    copy_directory(&place.keys(), &root.join(format!("{name}-keys")));
}

/// The size of the committed head.
fn number(database: &Database, admin: &Mongo) -> u64 {
    let head = admin.collection::<Document>("sceau_head");
    let head = database.run(async { head.find_one(doc! {}).await }).unwrap().unwrap();
    head.get_i64("size").unwrap().unsigned_abs()
}

/// The tree size in a checkpoint.
fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}
