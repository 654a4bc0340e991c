//! Files that are cut or garbled so that nothing can be read from them: whoever is refused is told which, and what to do.

use std::{fs, path::Path};

use crate::{
    common::Place,
    edit::segment_file,
    victim::{SEGMENT, Victim, names, range},
};

/// What is done to a file, in words and in deed.
type Case = (&'static str, fn(&Path));

const SEGMENT_ADVICE: &str = "put the file back from a backup";
/// Commands that open the store as a server does.
const OPENING: [&[&str]; 2] = [&["count"], &["rebuild"]];

/// Who needs the file is refused, and told which it is and what to do.
fn refused(what: &str, file: &Path, commands: &[&[&str]], place: &Place, advice: &str) {
    for args in commands {
        let said = place.run(args);
        assert_eq!(said.code, 1, "{what}: {said:#?}");
        for part in [file.to_str().unwrap(), advice] {
            assert!(said.err.contains(part), "{what}: {part} is not in {said:#?}");
        }
    }
}

fn cut(file: &Path, part: u64) {
    let length = fs::metadata(file).unwrap().len();
    fs::File::options().write(true).open(file).unwrap().set_len(length * part / 100).unwrap();
}

fn garble(file: &Path, from: usize) {
    let mut bytes = fs::read(file).unwrap();
    let end = bytes.len().min(from + 4_000);
    bytes[from..end].fill(0xa5);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_segment_that_is_no_parquet_file_is_named() {
    let victim = Victim::get();
    let (first, last) = (SEGMENT, 2 * SEGMENT - 1);
    let cases: [Case; 5] = [
        ("cut in half", |file| cut(file, 50)),
        ("cut by little", |file| cut(file, 99)),
        ("empty", |file| cut(file, 0)),
        ("its footer overwritten", |file| {
            garble(file, usize::try_from(fs::metadata(file).unwrap().len()).unwrap() - 600)
        }),
        ("gone", |file| fs::remove_file(file).unwrap()),
    ];
    for (what, harm) in cases {
        let place = victim.copy();
        let file = segment_file(&place.data(), SEGMENT);
        let intact = fs::read(&file).unwrap();
        harm(&file);
        refused(what, &file, &OPENING, &place, SEGMENT_ADVICE);
        let missing = [range("entry_missing", first, last), range("segment", first, last)];
        let said = names(what, &place, &[], &missing);
        assert!(said.out.contains(file.file_name().unwrap().to_str().unwrap()), "{said:#?}");
        // What the advice says helps.
        fs::write(&file, intact).unwrap();
        place.run(&["count"]).with(0);
    }
}

/// Such a file can be opened: whoever needs what can't be read is told where that is.
#[test]
fn a_segment_with_garbled_pages_is_named() {
    let place = Victim::get().copy();
    let file = segment_file(&place.data(), SEGMENT);
    let mut bytes = fs::read(&file).unwrap();
    let footer = 8 + u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize;
    let pages = bytes.len() - footer;
    bytes[4..pages].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    refused("read by a search", &file, &[&["top", "user.name"]], &place, SEGMENT_ADVICE);
    // Asks no word filter, but the columns.
    refused("filtered by a search", &file, &[&["count", "user.name:>a"]], &place, SEGMENT_ADVICE);
    refused("read by a rebuild", &file, &[&["rebuild"]], &place, SEGMENT_ADVICE);
    refused("read by an export", &file, &[&["export"]], &place, SEGMENT_ADVICE);
}

#[test]
fn a_database_that_is_none_is_named() {
    let victim = Victim::get();
    let cases: [Case; 4] = [
        ("cut in half", |file| cut(file, 50)),
        ("cut to a page", |file| fs::File::options().write(true).open(file).unwrap().set_len(4096).unwrap()),
        ("its header overwritten", |file| garble(file, 0)),
        ("its tables overwritten", |file| garble(file, 100)),
    ];
    for (what, harm) in cases {
        let place = victim.copy();
        let file = place.data().join("sceau.db");
        harm(&file);
        let advice = "put the whole data directory back from its newest backup";
        refused(what, &file, &OPENING, &place, advice);
        let said = place.run(&["verify"]);
        assert!(
            said.code != 0 && format!("{}{}", said.out, said.err).contains(file.to_str().unwrap()),
            "{what}: {said:#?}"
        );
    }
}
