//! Entries in segments: Parquet files and the catalogue that names them.

use std::path::Path;

use datafusion::arrow::array::{AsArray, StringArray};
use sceau_store::schema;

use crate::{
    edit::{edit_rows, put_rows, rows, segment, segment_file, sql, taken, with_entry, with_prefix, with_text},
    victim::{GROUP, SEGMENT, Victim, at, range, whole},
};

/// The second of three segments.
const FIRST: u64 = SEGMENT;
/// The last of it.
const LAST: u64 = 2 * SEGMENT - 1;

#[test]
fn changed_entries_are_named() {
    let victim = Victim::get();
    let (index, place) = (FIRST + 300, 300);
    victim.named("one word of an entry", &[at("entry_changed", index), at("record", index)], |data| {
        edit_rows(data, FIRST, |rows| with_entry(&rows, place, "failed", "passed", false));
    });
    victim.named("the same in its column", &[at("entry_changed", index)], |data| {
        edit_rows(data, FIRST, |rows| {
            let users: &StringArray = rows.column_by_name("user.name").unwrap().as_string();
            let other = users.value(place).replace("user", "evil");
            let rows = with_text(&rows, "user.name", place, &other);
            with_entry(&rows, place, "\"user\":\"user", "\"user\":\"evil", false)
        });
    });
    let narrowed = [victim.bundle("entry_changed", index), at("record", index)];
    victim.named("an entry and its prefix", &narrowed, |data| {
        edit_rows(data, FIRST, |rows| with_entry(&rows, place, "failed", "passed", true));
    });
    victim.named("a prefix", &[at("prefix", index)], |data| {
        edit_rows(data, FIRST, |rows| with_prefix(&rows, place, [1, 2, 3, 4]));
    });
}

#[test]
fn rows_that_come_go_or_change_places_are_named() {
    let victim = Victim::get();
    let all = usize::try_from(SEGMENT).unwrap();
    let segment = range("segment", FIRST, LAST);
    victim.named("a row taken out", &[segment.clone(), at("entry_missing", FIRST + 100)], |data| {
        edit_rows(data, FIRST, |rows| taken(&rows, (0..all).filter(|place| *place != 100)));
    });
    victim.named("a row that comes twice", &[segment.clone(), at("order", FIRST + 101)], |data| {
        edit_rows(data, FIRST, |rows| {
            taken(&rows, (0..all).flat_map(|place| vec![place; 1 + usize::from(place == 100)]))
        });
    });
    let both = [range("order", FIRST + 100, FIRST + 101)];
    victim.named("two rows exchanged", &both, |data| {
        edit_rows(data, FIRST, |rows| {
            taken(
                &rows,
                (0..all).map(|place| match place {
                    100 => 101,
                    101 => 100,
                    _ => place,
                }),
            )
        });
    });
    // Cut down by the seal inside these 256 entries.
    let narrowed = [range("entry_changed", victim.facts.early, FIRST + 255)];
    victim.named("two rows exchanged but for their indexes", &narrowed, |data| {
        edit_rows(data, FIRST, |rows| {
            let moved = taken(
                &rows,
                (0..all).map(|place| match place {
                    100 => 101,
                    101 => 100,
                    _ => place,
                }),
            );
            crate::edit::with_column(&moved, schema::INDEX, rows.column_by_name(schema::INDEX).unwrap().clone())
        });
    });
}

#[test]
fn columns_that_differ_from_their_entries_are_named() {
    let victim = Victim::get();
    let index = FIRST + 300;
    for (name, value) in [
        ("user.name", "mallory"),
        ("source.ip", "192.0.2.1"),
        ("message", "nothing"),
        ("event.outcome", "success"),
        ("source", "other"),
    ] {
        victim.named(&format!("the column {name}"), &[at("record", index)], |data| {
            edit_rows(data, FIRST, |rows| with_text(&rows, name, 300, value));
        });
    }
}

#[test]
fn damaged_and_missing_files_are_named() {
    let victim = Victim::get();
    let unusable = [range("entry_missing", FIRST, LAST), range("segment", FIRST, LAST)];
    victim.named("the file gone", &unusable, |data| {
        std::fs::remove_file(segment_file(data, FIRST)).unwrap();
    });
    victim.named("the file cut", &unusable, |data| {
        let path = segment_file(data, FIRST);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    victim.named("an empty file", &unusable, |data| std::fs::write(segment_file(data, FIRST), b"").unwrap());
}

/// Whatever byte of the file is changed: either a fault is named there, or it is one that says nothing.
#[test]
fn changed_bytes_of_a_file_are_named() {
    let victim = Victim::get();
    let place = victim.copy();
    let length = std::fs::metadata(segment_file(&place.data(), FIRST)).unwrap().len();
    for part in 0..8 {
        let copy = victim.copy();
        let path = segment_file(&copy.data(), FIRST);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = usize::try_from(length * (2 * part + 1) / 16).unwrap();
        bytes[middle..middle + 32].iter_mut().for_each(|byte| *byte ^= 0xA5);
        std::fs::write(&path, bytes).unwrap();
        let said = copy.run(&["verify", "--json"]).with(4);
        let faults = said.json()["faults"].as_array().unwrap().clone();
        let inside = |fault: &serde_json::Value| (FIRST..=LAST).contains(&fault["first"].as_u64().unwrap());
        assert!(faults.iter().all(inside), "bytes from {middle}: {said:#?}");
    }
}

fn exchange(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    for (from, to) in [(one, &*aside), (other, one), (&*aside, other)] {
        std::fs::rename(from, to).unwrap();
    }
}

#[test]
fn exchanged_and_stale_files_are_named() {
    let victim = Victim::get();
    let two = [
        range("entry_missing", 0, LAST),
        range("segment", 0, SEGMENT - 1),
        range("segment", FIRST, LAST),
        whole("state"),
        whole("state"),
    ];
    victim.named("two files exchanged", &two, |data| exchange(&segment_file(data, 0), &segment_file(data, FIRST)));
    victim.named(
        "a copy of another file",
        &[range("entry_missing", FIRST, LAST), range("segment", FIRST, LAST)],
        |data| {
            std::fs::copy(segment_file(data, 0), segment_file(data, FIRST)).unwrap();
        },
    );
    let groups = (0..4).map(|group| range("order", GROUP * group, GROUP * (group + 1) - 1));
    let fitted: Vec<_> =
        [range("entry_missing", 0, LAST)].into_iter().chain(groups).chain([whole("state"), whole("state")]).collect();
    victim.named("two files exchanged and made to fit", &fitted, |data| {
        let (one, other) = (rows(data, 0), rows(data, FIRST));
        put_rows(data, 0, other);
        put_rows(data, FIRST, one);
    });
    // Each 256 entries; the first of them cut down by the seal inside.
    let copied = [range("entry_changed", FIRST, victim.facts.early - 1), range("entry_changed", FIRST + 256, LAST)];
    victim.named("a copy of another file, with the right indexes", &copied, |data| {
        let (one, other) = (rows(data, 0), rows(data, FIRST));
        let indexes = other.column_by_name(schema::INDEX).unwrap().clone();
        put_rows(data, FIRST, crate::edit::with_column(&one, schema::INDEX, indexes));
    });
    victim.named("the file under a name outside", &[at("segment", FIRST)], |data| {
        let path = segment_file(data, FIRST);
        std::fs::rename(&path, data.join("elsewhere.parquet")).unwrap();
        sql(data, &format!("UPDATE segment SET file = '../elsewhere.parquet' WHERE first = {FIRST}"));
    });
}

#[test]
fn a_catalogue_that_says_otherwise_is_named() {
    let victim = Victim::get();
    let (next, tail) = (at("segment", LAST + 1), victim.facts.tail);
    let missing = range("entry_missing", FIRST, LAST);
    victim.named("a segment not named", &[missing.clone(), next.clone()], |data| {
        sql(data, &format!("DELETE FROM segment WHERE first = {FIRST}"));
    });
    let none = [range("entry_missing", 0, tail - 1), at("order", tail), whole("state"), whole("state"), whole("state")];
    victim.named("none named", &none, |data| sql(data, "DELETE FROM segment"));
    let file = range("segment", FIRST, LAST);
    let one_less = [range("segment", FIRST, LAST - 1), at("entry_missing", LAST), at("order", LAST), next.clone()];
    for (count, wanted) in [
        ("count - 1", &one_less[..]),
        ("count + 1", &[file.clone(), next.clone()]),
        ("0", &[missing.clone(), at("segment", FIRST), next.clone()]),
        ("9223372036854775807", &[file.clone(), next.clone()]),
    ] {
        victim.named(&format!("a count of {count}"), wanted, |data| {
            sql(data, &format!("UPDATE segment SET count = {count} WHERE first = {FIRST}"));
        });
    }
    let moved = [missing, at("segment", FIRST + 1), range("segment", FIRST + 1, LAST), next];
    victim.named("another first", &moved, |data| {
        sql(data, &format!("UPDATE segment SET first = first + 1 WHERE first = {FIRST}"));
    });
}

/// A search passes over row groups whose word filter lacks the word.
#[test]
fn a_word_filter_that_hides_a_row_is_named() {
    let victim = Victim::get();
    let copy = victim.copy();
    assert_eq!(copy.run(&["count", "zebra"]).with(0).out.trim(), "1");
    let found = copy.run(&["search", "--json", "zebra"]).with(0).lines();
    let index = found[0]["index"].as_u64().unwrap();
    let first = index / SEGMENT * SEGMENT;
    let (group, whole_group) = ((index - first) / GROUP, index / GROUP * GROUP);
    let path = segment_file(&copy.data(), first);
    let (offset, length) = segment(&copy.data(), first).groups[usize::try_from(group).unwrap()].words;
    let intact = std::fs::read(&path).unwrap();
    let most = usize::try_from(offset + length / 8).unwrap()..usize::try_from(offset + length).unwrap();
    // One of these hides the word: which one depends on its hash.
    let hides = (1..=255u8).find(|change| {
        let mut bytes = intact.clone();
        bytes[most.clone()].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= change.wrapping_mul(at as u8 | 1));
        std::fs::write(&path, bytes).unwrap();
        copy.run(&["count", "zebra"]).with(0).out.trim() == "0"
    });
    assert!(hides.is_some());
    victim.names("a word filter", &copy, &[range("record", whole_group, whole_group + GROUP - 1)]);
}

/// The same of addresses and users, whose whole values are in the filter too.
#[test]
fn a_filter_of_other_rows_is_named() {
    let victim = Victim::get();
    let copy = victim.copy();
    let index = copy.run(&["search", "--json", "user.name:rarely"]).with(0).lines()[0]["index"].as_u64().unwrap();
    let first = index / SEGMENT * SEGMENT;
    let place = usize::try_from(index - first).unwrap();
    let group = usize::try_from((index - first) / GROUP).unwrap();
    let (path, true_rows) = (segment_file(&copy.data(), first), rows(&copy.data(), first));
    // The filter that the group would have without that user and that word, grown to the place of the true one.
    let renamed = with_text(&with_text(&true_rows, "user.name", place, "user1"), "message", place, "attempt 1");
    let intact = std::fs::read(&path).unwrap();
    put_rows(&copy.data(), first, renamed);
    let other = segment(&copy.data(), first).groups[group].words;
    let other = std::fs::read(&path).unwrap()[usize::try_from(other.0).unwrap()..][..usize::try_from(other.1).unwrap()]
        .to_vec();
    std::fs::write(&path, &intact).unwrap();
    let (offset, length) = segment(&copy.data(), first).groups[group].words;
    assert_eq!(other.len() as u64, length, "a set of nearly the same size has a filter of the same size");
    let mut bytes = intact;
    bytes[usize::try_from(offset).unwrap()..][..other.len()].copy_from_slice(&other);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(copy.run(&["count", "user.name:rarely"]).with(0).out.trim(), "0");
    let whole_group = index / GROUP * GROUP;
    victim.names("a filter of other rows", &copy, &[range("record", whole_group, whole_group + GROUP - 1)]);
}
