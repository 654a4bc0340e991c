//! Somebody with full access to the data directory, but not to the keys, changes things; `verify` names each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Place, Said, run, sceau, until};
use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray},
    compute::concat_batches,
};
use rusqlite::{Connection, params};
use sceau_ledger::leaf_hash;
use sceau_store::{
    embedded::{
        db::{self, SegmentRow},
        segment::Segment,
        write::write_segment,
    },
    schema,
};

/// One segment and something in the tail.
const EVENTS: u64 = 262_144 + 900;
const SEGMENT: u64 = 262_144;

/// A log to be tampered with, and what an auditor kept of it.
struct Victim {
    place: Place,
    pin: String,
    kept: PathBuf,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        let facts = place.init();
        let pin = facts["first_epoch_key"].as_str().unwrap().to_owned();
        let mut lines = String::new();
        for number in 0..EVENTS {
            let (user, second) = (number % 97, number % 60);
            lines += &format!(
                "{{\"timestamp\":\"2026-11-01T08:00:{second:02}Z\",\"ip\":\"10.0.0.{user}\",\"user\":\"user{user}\",\
                 \"action\":\"login\",\"status\":\"failed\",\"message\":\"attempt {number}\"}}\n"
            );
        }
        let file = place.file("events.ndjson", lines);
        let server = place.serve();
        server.run(&["import", file.to_str().unwrap()]).with(0);
        until("a segment", || segment_file(&place.data()).is_some());
        let checkpoint = server.run(&["checkpoint"]).with(0).out;
        server.stop();
        let kept = place.file("kept", checkpoint);
        Self { place, pin, kept }
    }

    /// A copy of the data directory, changed by `tamper`, as `verify` sees it.
    fn after(&self, tamper: impl FnOnce(&Path)) -> Said {
        let copy = tempfile::tempdir_in(self.place.dir.path()).unwrap();
        copy_directory(&self.place.data(), copy.path());
        tamper(copy.path());
        let mut verify = sceau();
        verify.args(["verify", "--json", "--pin", &self.pin, "--since-checkpoint"]).arg(&self.kept);
        run(verify.arg("--data-dir").arg(copy.path()).arg("--key-dir").arg(self.place.keys()))
    }

    /// Tampers and expects a fault of one of `kinds`, at `index` if given.
    fn expect(&self, what: &str, kinds: &[&str], index: Option<u64>, tamper: impl FnOnce(&Path)) {
        let said = self.after(tamper);
        assert_eq!(said.code, 4, "{what}: {said:#?}");
        let faults = said.json()["faults"].as_array().unwrap().clone();
        let found = faults.iter().any(|fault| {
            let place = index.is_none_or(|index| fault["first"] == index);
            kinds.contains(&fault["kind"].as_str().unwrap()) && place
        });
        assert!(found, "{what}: none of {kinds:?} at {index:?} in {faults:#?}");
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_directory(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

fn segment_file(data: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(data.join("segments")).unwrap();
    files.map(|file| file.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "parquet"))
}

fn database(data: &Path) -> Connection {
    Connection::open(data.join(db::FILE)).unwrap()
}

/// Runs one statement that must change something.
fn sql(data: &Path, statement: &str) {
    let changed = database(data).execute(statement, []).unwrap();
    assert!(changed > 0, "{statement} changed nothing");
}

/// Rewrites the lines of the tail's batch that holds the newest entries; its first index.
fn edit_tail(data: &Path, change: impl FnOnce(u64, &mut Vec<Vec<u8>>, &mut Vec<u8>)) {
    let connection = database(data);
    let row = connection.query_row(
        "SELECT first, prefixes, data FROM tail WHERE count > 50 ORDER BY first DESC LIMIT 1",
        [],
        |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?)),
    );
    let (first, mut prefixes, data) = row.unwrap();
    let text = zstd::decode_all(data.as_slice()).unwrap();
    let mut lines: Vec<Vec<u8>> =
        text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(first, &mut lines, &mut prefixes);
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    let data = zstd::encode_all(text.as_slice(), 1).unwrap();
    let statement = "UPDATE tail SET data = ?1, prefixes = ?2 WHERE first = ?3";
    connection.execute(statement, params![data, prefixes, i64::try_from(first).unwrap()]).unwrap();
}

fn replace(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(line)).unwrap();
    assert!(text.contains(from), "{text}");
    *line = text.replace(from, to).into_bytes();
}

/// The index of the first entry of the batch that [`edit_tail`] edits.
fn tail_first(data: &Path) -> u64 {
    let newest = "SELECT first FROM tail WHERE count > 50 ORDER BY first DESC LIMIT 1";
    database(data).query_row(newest, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Writes the segment again with changed rows, filters and keys all made to fit, as only we could.
fn edit_segment(data: &Path, change: impl FnOnce(RecordBatch) -> RecordBatch) {
    let path = segment_file(data).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let row = SegmentRow { first: 0, count: SEGMENT, file: name.clone() };
    let segment = Segment::open(data, row).unwrap();
    let columns: Vec<&str> = [schema::INDEX, schema::LEAF, schema::TIME, schema::RECEIVED, schema::SOURCE]
        .into_iter()
        .chain(sceau_event::Keyword::ALL.iter().map(|keyword| keyword.name()))
        .chain(sceau_event::Number::ALL.iter().map(|number| number.name()))
        .chain([schema::FIELDS, schema::ENTRY])
        .collect();
    let mut batches = Vec::new();
    for group in 0..segment.groups.len() {
        batches.extend(segment.rows(group, &columns).unwrap());
    }
    let rows = change(concat_batches(&schema::rows(), &batches).unwrap());
    write_segment(data, &name, 0, &segment.deriver, &[rows], 65_536).unwrap();
}

fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let place = rows.schema().index_of(name).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[place] = column;
    RecordBatch::try_new(schema::rows(), columns).unwrap()
}

fn with_entry(rows: &RecordBatch, at: usize, from: &str, to: &str, prefix_too: bool) -> RecordBatch {
    let entries: &BinaryArray = rows.column_by_name(schema::ENTRY).unwrap().as_binary();
    let mut values: Vec<Vec<u8>> = entries.iter().flatten().map(<[u8]>::to_vec).collect();
    replace(&mut values[at], from, to);
    let leaf = leaf_hash(&values[at]);
    let rows = with_column(rows, schema::ENTRY, Arc::new(BinaryArray::from_iter_values(&values)));
    if !prefix_too {
        return rows;
    }
    let leaves = rows.column_by_name(schema::LEAF).unwrap();
    let leaves: &FixedSizeBinaryArray = leaves.as_any().downcast_ref().unwrap();
    let mut prefixes: Vec<Vec<u8>> = leaves.iter().flatten().map(<[u8]>::to_vec).collect();
    prefixes[at] = leaf.0[..4].to_vec();
    with_column(&rows, schema::LEAF, Arc::new(FixedSizeBinaryArray::try_from_iter(prefixes.into_iter()).unwrap()))
}

fn with_user(rows: &RecordBatch, at: usize, user: &str) -> RecordBatch {
    let users: &StringArray = rows.column_by_name("user.name").unwrap().as_string();
    let values = (0..users.len()).map(|row| if row == at { user } else { users.value(row) });
    with_column(rows, "user.name", Arc::new(StringArray::from_iter_values(values)))
}

#[test]
fn whatever_is_changed_is_named() {
    let victim = Victim::new();
    let clean = victim.after(|_| ());
    assert_eq!(clean.code, 0, "{clean:#?}");
    entries_in_the_tail(&victim);
    entries_in_a_segment(&victim);
    what_is_stored_beside(&victim);
    state_and_history(&victim);
}

fn entries_in_the_tail(victim: &Victim) {
    let first = tail_first(&victim.place.data());
    victim.expect("one byte of an entry", &["entry_changed"], Some(first + 7), |data| {
        edit_tail(data, |_, lines, _| replace(&mut lines[7], "failed", "passed"));
    });
    victim.expect("an entry and its stored hash", &["mac", "tile", "root", "entry_changed"], None, |data| {
        edit_tail(data, |_, lines, prefixes| {
            replace(&mut lines[7], "failed", "passed");
            prefixes[28..32].copy_from_slice(&leaf_hash(&lines[7]).0[..4]);
        });
    });
    victim.expect("an entry taken out", &["entry_missing"], Some(first + 3), |data| {
        edit_tail(data, |_, lines, _| drop(lines.remove(3)));
    });
    victim.expect("two entries exchanged", &["entry_changed", "order"], Some(first + 3), |data| {
        edit_tail(data, |_, lines, _| lines.swap(3, 4));
    });
    victim.expect("an entry put in", &["entry_extra"], None, |data| {
        edit_tail(data, |_, lines, _| lines.insert(3, lines[0].clone()));
    });
    victim.expect("a batch dropped", &["entry_missing"], None, |data| {
        sql(data, "DELETE FROM tail WHERE first = (SELECT max(first) FROM tail WHERE count > 50)");
    });
    victim.expect("a batch that can't be inflated", &["entry_unreadable", "entry_missing"], None, |data| {
        sql(data, "UPDATE tail SET data = x'00' WHERE first = (SELECT max(first) FROM tail)");
    });
}

fn entries_in_a_segment(victim: &Victim) {
    victim.expect("one word of an entry", &["entry_changed"], Some(70_001), |data| {
        edit_segment(data, |rows| with_entry(&rows, 70_001, "failed", "passed", false));
    });
    victim.expect("an entry and its stored hash", &["mac", "tile", "entry_changed"], None, |data| {
        edit_segment(data, |rows| with_entry(&rows, 70_001, "failed", "passed", true));
    });
    victim.expect("a column without its entry", &["record"], Some(1_234), |data| {
        edit_segment(data, |rows| with_user(&rows, 1_234, "mallory"));
    });
    victim.expect("a row taken out", &["entry_missing"], Some(100), |data| {
        edit_segment(data, |rows| {
            let (before, behind) = (rows.slice(0, 100), rows.slice(101, rows.num_rows() - 101));
            concat_batches(&schema::rows(), [&before, &behind]).unwrap()
        });
    });
    victim.expect(
        "bytes of the file",
        &["segment", "entry_unreadable", "entry_changed", "record", "prefix"],
        None,
        |data| {
            let path = segment_file(data).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0xA5);
            std::fs::write(&path, bytes).unwrap();
        },
    );
    victim.expect("the file gone", &["segment"], Some(0), |data| {
        std::fs::remove_file(segment_file(data).unwrap()).unwrap();
    });
    victim.expect("the file cut", &["segment"], Some(0), |data| {
        let path = segment_file(data).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    victim.expect("the catalogue emptied", &["entry_missing"], None, |data| sql(data, "DELETE FROM segment"));
    victim.expect("a catalogue with odd numbers", &["segment", "entry_missing", "entry_extra"], None, |data| {
        sql(data, "UPDATE segment SET count = 9223372036854775807");
    });
}

fn what_is_stored_beside(victim: &Victim) {
    for (what, kinds, statement) in [
        ("a subtree's hash", &["tile"][..], "UPDATE tile SET hash = zeroblob(32) WHERE level = 1 AND position = 5"),
        ("a bundle's code", &["mac"], "UPDATE mac SET tag = zeroblob(32) WHERE bundle = 5"),
        ("a bundle's code gone", &["mac"], "DELETE FROM mac WHERE bundle = 5"),
        ("the head's root", &["root", "rollback"], "UPDATE head SET root = zeroblob(32)"),
        ("the head's size", &["rollback", "root", "entry_extra"], "UPDATE head SET size = size - 1"),
        ("the head far beyond", &["entry_missing", "rollback", "root"], "UPDATE head SET size = 4611686018427387904"),
        ("all seals gone", &["seal_chain", "seal"], "DELETE FROM seal"),
        (
            "the newest seal gone",
            &["seal_chain", "seal"],
            "DELETE FROM seal WHERE epoch = (SELECT max(epoch) FROM seal)",
        ),
        (
            "a seal's text",
            &["seal", "seal_chain"],
            "UPDATE seal SET text = replace(text, char(10) || 'size ', char(10) || 'size 1')",
        ),
        ("a checkpoint's text", &["checkpoint"], "UPDATE checkpoint SET note = 'nothing'"),
        (
            "the log's public key",
            &["checkpoint", "state", "seal", "pin"],
            "UPDATE fact SET value = 'x' WHERE name = 'verifier_key'",
        ),
        (
            "the log's first epoch",
            &["pin", "seal", "seal_chain", "state"],
            "UPDATE fact SET value = 'x' WHERE name = 'first_epoch_key'",
        ),
    ] {
        let said = victim.after(|data| sql(data, statement));
        assert!(said.code == 4 || said.code == 1, "{what}: {said:#?}");
        if said.code == 4 {
            let faults = said.json()["faults"].as_array().unwrap().clone();
            let named = faults.iter().any(|fault| kinds.contains(&fault["kind"].as_str().unwrap()));
            assert!(named, "{what}: none of {kinds:?} in {faults:#?}");
        }
    }
}

fn state_and_history(victim: &Victim) {
    victim.expect("an administrator added", &["state"], None, |data| {
        let token = r#"INSERT INTO state VALUES ('tokens', 'evil0000', '{"hash":"00","name":"admin","role":"admin"}', 1, NULL)"#;
        sql(data, token);
    });
    victim.expect("an administrator changed", &["state"], None, |data| {
        sql(data, "UPDATE state SET value = replace(value, 'admin', 'other') WHERE collection = 'tokens'");
    });
    victim.expect("an administrator removed", &["state"], None, |data| {
        sql(data, "DELETE FROM state WHERE collection = 'tokens'");
    });
}

#[test]
fn an_older_copy_is_refused() {
    let place = Place::new();
    place.init();
    let server = place.serve();
    let file = place.file("one.ndjson", "{\"user\":\"alice\"}\n");
    server.run(&["import", file.to_str().unwrap()]).with(0);
    server.stop();
    let older = place.dir.path().join("older");
    copy_directory(&place.data(), &older);
    let server = place.serve();
    let file = place.file("two.ndjson", "{\"user\":\"bob\"}\n");
    server.run(&["import", file.to_str().unwrap()]).with(0);
    server.stop();
    std::fs::remove_dir_all(place.data()).unwrap();
    copy_directory(&older, &place.data());

    let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("older") || refused.err.contains("behind"), "{refused:#?}");
    let said = place.run(&["verify", "--json"]).with(4).json();
    assert!(said["faults"].as_array().unwrap().iter().any(|fault| fault["kind"] == "rollback"), "{said:#?}");
}
