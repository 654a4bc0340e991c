//! The embedded store keeps the contract, and its own promises.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use sceau_ledger::Index;
use sceau_store::{
    CommitError, Ledger as _, State as _, Store as _, StoreError,
    embedded::{Embedded, Options},
};
use tempfile::TempDir;

mod contract;

use contract::{
    Home, deriver,
    writer::{Writer, lines},
};

/// A directory that goes with the test.
struct Directory {
    dir: TempDir,
    options: Options,
}

impl Directory {
    fn new(options: Options) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options }
    }

    /// Segments so small that a test has several, of several row groups.
    fn small() -> Self {
        Self::new(Options { segment_entries: 512, group_rows: 256, ..Options::default() })
    }

    /// Everything stays in the tail.
    fn tail_only() -> Self {
        Self::new(Options::default())
    }

    async fn try_open(&self) -> Result<Embedded, StoreError> {
        if !Embedded::exists(self.dir.path()) {
            Embedded::create(self.dir.path())?;
        }
        Embedded::open(self.dir.path(), deriver(), self.options.clone()).await
    }
}

impl Home for Directory {
    type Store = Embedded;

    async fn open(&self) -> Embedded {
        self.try_open().await.unwrap()
    }

    async fn settle(&self, store: &Embedded) {
        let begun = Instant::now();
        while gauge(store, "store_tail_entries").await >= self.options.segment_entries as f64 {
            assert!(begun.elapsed() < Duration::from_secs(60), "no segment is written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn gauge(store: &Embedded, name: &str) -> f64 {
    let gauges = store.gauges().await.unwrap();
    gauges.into_iter().find(|(found, _)| *found == name).unwrap().1
}

mod segments_and_tail {
    crate::contract!(crate::Directory::small());
}

mod tail_only {
    crate::contract!(crate::Directory::tail_only());
}

#[tokio::test]
async fn one_process_at_a_time() {
    let home = Directory::small();
    let store = home.open().await;
    match home.try_open().await.map(drop) {
        Err(error @ StoreError::Locked { .. }) => assert!(error.to_string().contains("--url")),
        other => panic!("{other:?}"),
    }
    drop(store);
    home.open().await;
}

#[tokio::test]
async fn a_directory_without_a_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    match Embedded::open(dir.path(), deriver(), Options::default()).await.map(drop) {
        Err(StoreError::NoLog { path }) => assert_eq!(path, dir.path().display().to_string()),
        other => panic!("{other:?}"),
    }
    Embedded::create(dir.path()).unwrap();
    assert!(matches!(Embedded::create(dir.path()), Err(StoreError::Exists(_))));
}

#[tokio::test]
async fn a_full_tail_refuses_and_keeps_what_it_has() {
    let home = Directory::new(Options { tail_entries: 3, ..Options::default() });
    let store = home.open().await;
    let mut writer = Writer::new();
    writer.commit(&store, vec![lines(&[b"a", b"b", b"c"])]).await.unwrap();
    let refused = writer.commit(&store, vec![lines(&[b"d"])]).await;
    assert!(matches!(refused, Err(CommitError::Full)), "{refused:?}");
    assert_eq!(store.head().await.unwrap(), writer.head());
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, writer.entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_entries_move_to_segments() {
    let home = Directory::small();
    let mut log = contract::events::Log::open(&home).await;
    for part in 0..4 {
        log.add(contract::events::batches(700, part)).await;
    }
    home.settle(&log.store).await;
    assert!(gauge(&log.store, "store_segments").await >= 2.0);
    assert!(gauge(&log.store, "store_tail_entries").await > 0.0);
}

/// Closing the store between any two commits, with or without grace, loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opened_again_and_again() {
    let home = Directory::small();
    let mut writer = Writer::new();
    for round in 0..12 {
        let store = home.open().await;
        assert_eq!(store.head().await.unwrap(), writer.head());
        let lines: Vec<String> = (0..150).map(|n| format!("round {round} line {n}")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        writer.commit(&store, vec![contract::writer::lines(&lines)]).await.unwrap();
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
    let store = home.open().await;
    assert_eq!(store.entries(Index(0), 10_000).await.unwrap().entries, writer.entries);
}

/// The database of a log that format 1 wrote; the fixture is the binary's, see `crates/cli/tests/upgrade.rs`.
fn format_1() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/tests/fixtures/format-1/data");
    std::fs::create_dir(dir.path().join("segments")).unwrap();
    let unpack = |from: &std::path::Path, to: &str| {
        let bytes = zstd::decode_all(std::fs::read(from).unwrap().as_slice()).unwrap();
        std::fs::write(dir.path().join(to), bytes).unwrap();
    };
    unpack(&format!("{fixture}/sceau.db.zst").as_ref(), "sceau.db");
    for file in std::fs::read_dir(format!("{fixture}/segments")).unwrap() {
        let path = file.unwrap().path();
        unpack(&path, &format!("segments/{}", path.file_stem().unwrap().to_str().unwrap()));
    }
    dir
}

fn tables(dir: &std::path::Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(dir.join("sceau.db")).unwrap();
    let mut columns = connection
        .prepare(
            "SELECT m.name || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c ORDER BY m.name, c.cid",
        )
        .unwrap();
    columns.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn version(dir: &std::path::Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join("sceau.db")).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_older_database_is_migrated_when_it_is_written() {
    let dir = format_1();
    let options = || Options { inspect: true, ..Options::default() };
    let looked = Embedded::open(dir.path(), deriver(), options()).await.unwrap();
    let seen = looked.audit_state(("", ""), 100).await.unwrap();
    assert!(seen.len() >= 3 && seen.iter().all(|(_, document)| document.mac.is_none()), "{seen:?}");
    let entries = looked.head().await.unwrap().size.0;
    drop(looked);
    assert_eq!(version(dir.path()), 1, "looking changes nothing");
    let store = Embedded::open(dir.path(), deriver(), Options::default()).await.unwrap();
    assert_eq!(store.audit_state(("", ""), 100).await.unwrap(), seen);
    assert_eq!(store.entries(Index(0), 1_000).await.unwrap().entries.len() as u64, entries);
    drop(store);
    assert_eq!(version(dir.path()), 2);
    let fresh = tempfile::tempdir().unwrap();
    Embedded::create(fresh.path()).unwrap();
    assert_eq!(tables(dir.path()), tables(fresh.path()), "a migrated database is like a new one");
}

#[tokio::test]
async fn newer_files_are_refused_by_name() {
    let dir = format_1();
    let database = || rusqlite::Connection::open(dir.path().join("sceau.db")).unwrap();
    database().pragma_update(None, "user_version", 3).unwrap();
    for inspect in [false, true] {
        let options = Options { inspect, ..Options::default() };
        match Embedded::open(dir.path(), deriver(), options).await.map(drop) {
            Err(StoreError::Newer { what, found: 3, known: 2 }) => assert!(what.ends_with("sceau.db"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    database().pragma_update(None, "user_version", 1).unwrap();
    // The file's key is text of fixed length: the same place, another digit.
    let segment = std::fs::read_dir(dir.path().join("segments")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let key = b"sceau.format";
    let found: Vec<usize> = (0..bytes.len() - key.len()).filter(|&at| bytes[at..].starts_with(key)).collect();
    for at in found {
        let digit = at + key.len() + (0..8).find(|&more| bytes[at + key.len() + more] == b'1').unwrap();
        bytes[digit] = b'2';
    }
    std::fs::write(&segment, bytes).unwrap();
    match Embedded::open(dir.path(), deriver(), Options::default()).await.map(drop) {
        Err(StoreError::Newer { what, found: 2, known: 1 }) => assert!(what.ends_with(".parquet"), "{what}"),
        other => panic!("{other:?}"),
    }
}
