//! What an older version stored is read, migrated and gone on with; what a newer one stored is refused by name.
//!
//! `fixtures/format-N` is a data and a key directory as the real binary of format N left them, each file compressed,
//! with what an auditor kept of them. They are never made again by a later version:
//! `cargo test -p sceau --test upgrade -- --ignored write_fixture` writes one of the present format for the versions
//! that come.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Place, Server, http::Client, numbered, post, text, until};
use sceau_event::Deriver;
use sceau_ledger::SLOT_SIZE;
use sceau_store::{
    Commit, Ledger as _, Store as _,
    embedded::{Embedded, Options, db},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

fn fixture(format: u64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}"))
}

/// Every file below a directory, as a path from there.
fn files(directory: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for file in std::fs::read_dir(directory.join(below)).unwrap() {
        let file = file.unwrap();
        let path = below.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            files(directory, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// Writes a fixture of the present format.
#[test]
#[ignore = "writes into the repository"]
fn write_fixture() {
    let place = Place::new();
    let facts = place.init();
    let import = text(&place.file("app.log", numbered(300)));
    let server = place.serve();
    server.run(&["import", &import]).with(0);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[("Idempotency-Key", "kept")], "{\"user\":\"alice\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    let mut kept = String::new();
    until("a checkpoint of everything", || {
        kept = server.run(&["checkpoint"]).with(0).out;
        kept.lines().nth(1).unwrap().parse::<u64>().unwrap() > 300
    });
    for key in ["log", "mac", "mac"] {
        server.run(&["keys", "rotate", key]).with(0);
    }
    let import = text(&place.file("app.log", numbered(600)));
    server.run(&["import", &import]).with(0);
    server.stop();
    small_segments(&place.data());
    // What told of the keys is deleted, and what was repeated instead stays.
    let server = place.serve_as(place.serving("127.0.0.1:0").args(["--retain-bytes", "0"]));
    let first =
        || Client::connect(&server.url).unwrap().get("/api/v1/integrity").unwrap().json()["first_index"].clone();
    until("the deletion", || first() == 512);
    server.stop();
    let import = text(&place.file("app.log", numbered(900)));
    let server = place.serve();
    server.run(&["import", &import]).with(0);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[], "{\"user\":\"alice\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    server.stop();
    small_segments(&place.data());
    let counts = ["source:app.log", "source:vpn", "user.name:alice", "numbered"]
        .map(|query| (query, place.run(&["count", query]).with(0).out.trim().parse::<u64>().unwrap()));
    let total = place.run(&["verify", "--json"]).with(0).json()["head"]["size"].clone();

    let target = fixture(db::FORMAT);
    std::fs::create_dir_all(&target).unwrap();
    let mut all = Vec::new();
    files(place.dir.path(), Path::new("data"), &mut all);
    files(place.dir.path(), Path::new("keys"), &mut all);
    for file in all {
        let bytes = std::fs::read(place.dir.path().join(&file)).unwrap();
        let packed = target.join(format!("{}.zst", file.display()));
        std::fs::create_dir_all(packed.parent().unwrap()).unwrap();
        std::fs::write(packed, zstd::encode_all(bytes.as_slice(), 19).unwrap()).unwrap();
    }
    std::fs::write(target.join("checkpoint"), kept).unwrap();
    let facts = json!({
        "pin": facts["first_epoch_key"],
        "verifier_key": facts["verifier_key"],
        "size": total,
        "counts": counts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "import": import_of(&place),
    });
    std::fs::write(target.join("facts.json"), format!("{facts:#}\n")).unwrap();
}

/// Name and position of the only import.
fn import_of(place: &Place) -> serde_json::Value {
    let rows = "SELECT key, value FROM state WHERE collection = 'imports'";
    let (id, value): (String, String) =
        database(place).query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    json!({"id": id, "offset": serde_json::from_str::<serde_json::Value>(&value).unwrap()["offset"]})
}

/// Turns what it can of the tail into segments of 256 entries.
pub fn small_segments(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = Options { segment_entries: 256, group_rows: 256, ..Options::default() };
        let store = Embedded::open(data, Arc::new(Deriver::builtin()), options).await.unwrap();
        let head = store.head().await.unwrap();
        let nothing = Commit { batches: vec![], head, tiles: vec![], macs: vec![], tags: vec![], state: vec![] };
        // An empty commit wakes the thread that writes segments.
        store.commit(head, nothing).await.unwrap();
        let mut left = f64::MAX;
        while left >= 256.0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let gauges = store.gauges().await.unwrap();
            left = gauges.into_iter().find(|(name, _)| *name == "store_tail_entries").unwrap().1;
        }
        store.close().await.unwrap();
    });
}

/// The fixture of a format, unpacked.
fn unpacked(format: u64) -> (Place, serde_json::Value) {
    let (place, source) = (Place::new(), fixture(format));
    let mut all = Vec::new();
    files(&source, Path::new(""), &mut all);
    for file in all {
        let bytes = std::fs::read(source.join(&file)).unwrap();
        let target = place.dir.path().join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        match file.extension().is_some_and(|end| end == "zst") {
            true => std::fs::write(target.with_extension(""), zstd::decode_all(bytes.as_slice()).unwrap()).unwrap(),
            false => std::fs::write(target, bytes).unwrap(),
        }
    }
    for file in std::fs::read_dir(place.keys()).unwrap() {
        std::fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(place.keys(), Permissions::from_mode(0o700)).unwrap();
    let facts = serde_json::from_slice(&std::fs::read(source.join("facts.json")).unwrap()).unwrap();
    (place, facts)
}

/// The verification with all that an auditor of the fixture holds.
fn verifying<'a>(facts: &'a serde_json::Value, kept: &'a str) -> [&'a str; 7] {
    let (pin, vkey) = (facts["pin"].as_str().unwrap(), facts["verifier_key"].as_str().unwrap());
    ["verify", "--pin", pin, "--verifier-key", vkey, "--since-checkpoint", kept]
}

fn counts_hold(server: &Server, facts: &serde_json::Value) {
    for (query, count) in facts["counts"].as_object().unwrap() {
        assert_eq!(server.run(&["count", query]).with(0).out.trim(), count.to_string(), "{query}");
    }
}

fn database_format(place: &Place) -> i64 {
    let database = rusqlite::Connection::open(place.data().join(db::FILE)).unwrap();
    database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_log_of_format_1_verifies_migrates_and_goes_on() {
    let (place, facts) = unpacked(1);
    let kept = text(&place.dir.path().join("checkpoint"));
    let verify = verifying(&facts, &kept);
    let said = place.run(&verify).with(0);
    assert!(said.out.contains("documents of the state are unproven"), "{said:#?}");
    assert_eq!(database_format(&place), 1, "verifying changes nothing");

    let server = place.serve();
    counts_hold(&server, &facts);
    server.run(&verify).with(0);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[], "{\"user\":\"bob\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    server.stop();
    assert_eq!(database_format(&place), 2);
    let said = place.run(&verify).with(0);
    assert!(!said.out.contains("documents of the state are unproven"), "{said:#?}");
    assert_eq!(place.run(&["count", "source:vpn"]).with(0).out.trim(), "2");

    // Set back to format 1 by somebody without the keys, who moves nothing: the documents are no longer believed.
    let database = rusqlite::Connection::open(place.data().join(db::FILE)).unwrap();
    database
        .execute_batch("ALTER TABLE state DROP COLUMN mac; DROP TABLE leaf_tile; PRAGMA user_version = 1;")
        .unwrap();
    drop(database);
    let said = place.run(&verify).with(4);
    assert!(said.out.contains("position") && said.out.contains("somebody else wrote it"), "{said:#?}");
}

#[test]
fn a_log_of_format_2_verifies_and_goes_on() {
    let (place, facts) = unpacked(2);
    let kept = text(&place.dir.path().join("checkpoint"));
    let verify = verifying(&facts, &kept);
    let said = place.run(&verify).with(0);
    assert!(said.out.contains("entries 0 to 511 were deleted by retention"), "{said:#?}");
    assert!(!said.out.contains("Unproven") && !said.out.contains("unproven"), "{said:#?}");
    let server = place.serve();
    counts_hold(&server, &facts);
    // The stored position of the import is believed, by its MAC.
    let import = &facts["import"];
    let path = format!("/api/v1/imports/{}", import["id"].as_str().unwrap());
    assert_eq!(Client::connect(&server.url).unwrap().get(&path).unwrap().json()["offset"], import["offset"]);
    let posted = post(&server.url, "/api/v1/events?source=vpn", &[], "{\"user\":\"bob\"}");
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    server.stop();
    assert_eq!(place.run(&["count", "source:vpn"]).with(0).out.trim(), "2");
    place.run(&verify).with(0);
}

fn patch(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

fn database(place: &Place) -> rusqlite::Connection {
    rusqlite::Connection::open(place.data().join(db::FILE)).unwrap()
}

fn newer_directory(place: &Place) {
    std::fs::write(place.keys().join("format"), "99\n").unwrap();
    std::fs::set_permissions(place.keys().join("format"), Permissions::from_mode(0o600)).unwrap();
}

fn newer_slot(place: &Place) {
    patch(&place.keys().join("epoch.key"), |file| {
        for slot in file.chunks_mut(SLOT_SIZE).filter(|slot| slot[0] != 0) {
            slot[11] = 2;
            let checksum = Sha256::digest(&slot[..SLOT_SIZE - 32]);
            slot[SLOT_SIZE - 32..].copy_from_slice(&checksum);
        }
    });
}

/// Changes the first character of one of the segment's own keys.
fn newer_key(place: &Place, key: &str) {
    let segment = std::fs::read_dir(place.data().join("segments")).unwrap().next().unwrap().unwrap().path();
    patch(&segment, |file| {
        // Behind the name Thrift writes the kind and the length of the value.
        let name = format!("{key}\x18").into_bytes();
        let at = file.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len() + 1;
        assert_eq!(file[at], b'1');
        file[at] = b'7';
    });
}

/// Of the newest entries, which are in no segment.
fn newer_entries(place: &Place) {
    let database = database(place);
    let rows = "SELECT first, data FROM tail ORDER BY first DESC LIMIT 1";
    let (first, data): (i64, Vec<u8>) = database.query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let entries = String::from_utf8(zstd::decode_all(data.as_slice()).unwrap()).unwrap();
    let data = zstd::encode_all(entries.replace("{\"v\":1,", "{\"v\":2,").as_bytes(), 1).unwrap();
    database.execute("UPDATE tail SET data = ?1 WHERE first = ?2", rusqlite::params![data, first]).unwrap();
}

fn newer_statement(place: &Place) {
    let note = json!({"note": "sceau.keys.v2\norigin test.example/log\n"}).to_string();
    let insert = "INSERT INTO state (collection, key, value, version) VALUES ('keys', '00000000000000000007', ?1, 1)";
    database(place).execute(insert, [note]).unwrap();
}

/// Each stored format of `docs/format.md`, "Versions".
type Newer = (&'static str, fn(&Place), &'static [&'static str]);
const NEWER: [Newer; 8] = [
    (
        "database",
        |place| database(place).pragma_update(None, "user_version", 99).unwrap(),
        &["sceau.db", "format 99", "up to 2"],
    ),
    ("key directory", newer_directory, &["keys/format", "format 99", "up to 2"]),
    ("epoch key slot", newer_slot, &["epoch.key", "format 2", "up to 1"]),
    (
        "noted heads",
        |place| patch(&place.keys().join("heads"), |file| file[7] = b'2'),
        &["keys/heads", "format 2", "up to 1"],
    ),
    (
        "seal",
        |place| {
            let label = "UPDATE seal SET text = replace(text, 'sceau.seal.v1', 'sceau.seal.v2')";
            assert!(database(place).execute(label, []).unwrap() > 0);
        },
        &["seal", "format 2", "up to 1"],
    ),
    ("statement about keys", newer_statement, &["statement about keys", "format 2", "up to 1"]),
    ("segment", |place| newer_key(place, "sceau.format"), &["segments/seg-", "format 7", "up to 1"]),
    ("entry", newer_entries, &["entry of format 2", "up to 1"]),
];

#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    for (what, change, words) in NEWER {
        let (place, _) = unpacked(1);
        change(&place);
        let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1);
        let verified = place.run(&["verify"]);
        assert_ne!(verified.code, 0, "{what}: {verified:#?}");
        for said in [refused.err, format!("{}{}", verified.out, verified.err)] {
            for word in words.iter().chain(&["newer sceau"]) {
                assert!(said.contains(word), "{what}, {word}: {said}");
            }
        }
    }
}

#[test]
fn word_filters_of_a_newer_version_are_not_used() {
    let (place, facts) = unpacked(1);
    newer_key(&place, "sceau.words");
    place.run(&["verify"]).with(0);
    let server = place.serve();
    counts_hold(&server, &facts);
    server.stop();
}
