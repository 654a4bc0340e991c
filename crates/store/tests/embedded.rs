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
        // The tests' entries are of a fixed day: by their age they would become segments whenever the thread looks.
        let options = Options { segment_age: u64::MAX, ..options };
        Self { dir: tempfile::tempdir().unwrap(), options }
    }

    /// Segments so small that a test has several, of several row groups.
    fn small() -> Self {
        // What the tests commit was received at a fixed time: it must not become due because the years pass.
        Self::new(Options { segment_entries: 512, group_rows: 256, segment_age: u64::MAX, ..Options::default() })
    }

    /// Everything stays in the tail.
    fn tail_only() -> Self {
        Self::new(Options { segment_age: u64::MAX, ..Options::default() })
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
async fn a_full_tail_makes_commits_wait_for_the_segment_that_is_being_written() {
    let small = Options { segment_entries: 256, group_rows: 256, tail_entries: 288, ..Options::default() };
    let home = Directory::new(Options { patience: Duration::from_secs(600), ..small });
    let store = home.open().await;
    let mut writer = Writer::new();
    let batch: Vec<&[u8]> = vec![b"a line"; 300];
    for _ in 0..10 {
        // The one before has filled the tail.
        writer.commit(&store, vec![lines(&batch)]).await.unwrap();
    }
    assert_eq!(store.head().await.unwrap(), writer.head());
    assert!(gauge(&store, "store_segments").await >= 10.0);
}

/// A long line is held twice, as an entry and as a message: the tail's limit counts both.
#[tokio::test]
async fn a_tail_is_full_by_all_bytes_that_it_holds() {
    let long = vec![b'x'; 10_000];
    let home = Directory::new(Options { tail_bytes: 15_000, ..Options::default() });
    let store = home.open().await;
    let mut writer = Writer::new();
    writer.commit(&store, vec![lines(&[&long])]).await.unwrap();
    let refused = writer.commit(&store, vec![lines(&[b"d"])]).await;
    assert!(matches!(refused, Err(CommitError::Full)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_make_room_in_a_tail_that_is_full_by_bytes() {
    let small = Options { segment_bytes: 1 << 20, tail_bytes: 5 << 18, ..Options::default() };
    let home = Directory::new(Options { patience: Duration::from_secs(600), ..small });
    let store = home.open().await;
    let mut writer = Writer::new();
    let long = vec![b'x'; 2_500];
    let batch: Vec<&[u8]> = vec![&long; 300];
    for _ in 0..10 {
        // The one before has filled the tail, by its text in columns only.
        writer.commit(&store, vec![lines(&batch)]).await.unwrap();
    }
    assert_eq!(store.head().await.unwrap(), writer.head());
    assert!(gauge(&store, "store_segments").await >= 9.0);
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
    unpack(format!("{fixture}/sceau.db.zst").as_ref(), "sceau.db");
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

fn database(home: &Directory) -> rusqlite::Connection {
    rusqlite::Connection::open(home.dir.path().join("sceau.db")).unwrap()
}

/// A log with two segments of 512 entries, and the oldest one's file.
async fn two_segments(home: &Directory) -> (Embedded, Writer, std::path::PathBuf) {
    let store = home.open().await;
    let mut writer = Writer::new();
    contract::ledger::fill(&store, &mut writer, 1_200).await;
    home.settle(&store).await;
    let file: String =
        database(home).query_row("SELECT file FROM segment WHERE first = 0", [], |row| row.get(0)).unwrap();
    (store, writer, home.dir.path().join("segments").join(file))
}

/// A crash before the one transaction: everything is as it was, and can be deleted later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_not_committed_changes_nothing() {
    let home = Directory::small();
    let (store, writer, file) = two_segments(&home).await;
    let on_fire = "CREATE TRIGGER fire BEFORE DELETE ON segment BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END";
    database(&home).execute_batch(on_fire).unwrap();
    assert!(store.prune(Index(512)).await.is_err());
    drop(store);
    assert!(file.exists());
    let left: i64 = database(&home).query_row("SELECT count(*) FROM leaf_tile", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    database(&home).execute_batch("DROP TRIGGER fire").unwrap();
    let store = home.open().await;
    contract::retention::check(&store, &writer, 0).await;
    assert_eq!(store.prune(Index(512)).await.unwrap(), Index(512));
    contract::retention::check(&store, &writer, 512).await;
}

/// A crash after it: the file that nothing names any more goes at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_a_deleted_segment_goes_at_the_next_start_at_the_latest() {
    let home = Directory::small();
    let (store, writer, file) = two_segments(&home).await;
    let copy = std::fs::read(&file).unwrap();
    store.prune(Index(512)).await.unwrap();
    drop(store);
    assert!(!file.exists());
    std::fs::write(&file, copy).unwrap();
    let store = home.open().await;
    assert!(!file.exists());
    contract::retention::check(&store, &writer, 512).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_tree_is_not_deleted() {
    let home = Directory::small();
    let (store, _, file) = two_segments(&home).await;
    database(&home).execute("UPDATE tile SET hash = zeroblob(32) WHERE level = 1 AND position = 1", []).unwrap();
    match store.prune(Index(u64::MAX)).await {
        Err(StoreError::Entry { index, .. }) => assert_eq!(index, 256),
        other => panic!("{other:?}"),
    }
    assert!(file.exists());
    assert_eq!(store.kept_from().await.unwrap(), Index(0));
}

/// Leaves that are missing, cut or put where entries are show in what the auditor sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_leaves_show() {
    for (statement, opens, first, faults) in [
        ("DELETE FROM leaf_tile WHERE bundle = 0", true, 256, 0),
        ("UPDATE leaf_tile SET hashes = x'00' WHERE bundle = 0", true, 512, 0),
        ("DELETE FROM leaf_tile", false, 512, 1),
        ("INSERT INTO leaf_tile SELECT 2, hashes FROM leaf_tile WHERE bundle = 0", false, 0, 1),
    ] {
        let home = Directory::small();
        let (store, ..) = two_segments(&home).await;
        store.prune(Index(512)).await.unwrap();
        drop(store);
        assert!(database(&home).execute(statement, []).unwrap() > 0);
        assert_eq!(home.try_open().await.is_ok(), opens, "{statement}");
        let inspect = Options { inspect: true, ..Options::default() };
        let store = Embedded::open(home.dir.path(), deriver(), inspect).await.unwrap();
        let chunk = store.audit(Index(0)).await.unwrap();
        assert_eq!((chunk.first, chunk.faults.len()), (first, faults), "{statement}: {:?}", chunk.faults);
    }
}
