//! What an older version stored is read, migrated and gone on with; what a newer one stored is refused by name.
//!
//! `fixtures/format-N` is a data and a key directory as the real binary of format N left them, each file compressed,
//! with what an auditor kept of them. They are never made again by a later version:
//! `cargo test -p sceau --test upgrade -- --ignored write_fixture` writes one of the present format for the versions
//! that come.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Place, numbered, post, text};
use sceau_event::Deriver;
use sceau_store::{
    Commit, Ledger as _, Store as _,
    embedded::{Embedded, Options, db},
};
use serde_json::json;

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
    let kept = server.run(&["checkpoint"]).with(0).out;
    server.stop();
    small_segments(&place.data());
    let import = text(&place.file("app.log", numbered(420)));
    let server = place.serve();
    server.run(&["import", &import]).with(0);
    server.stop();
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
        "lines": 420,
    });
    std::fs::write(target.join("facts.json"), format!("{facts:#}\n")).unwrap();
}

/// Turns what it can of the tail into segments of 256 entries.
pub fn small_segments(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = Options { segment_entries: 256, group_rows: 256, ..Options::default() };
        let store = Embedded::open(data, Arc::new(Deriver::builtin()), options).await.unwrap();
        let head = store.head().await.unwrap();
        let nothing = Commit { batches: vec![], head, tiles: vec![], macs: vec![], state: vec![] };
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
