//! What is stored beside the entries: hashes, codes, head, checkpoints, facts, leaves of deleted entries.

use crate::{
    edit::sql,
    victim::{Victim, at, clean, database, range, whole},
};

#[test]
fn stored_hashes_and_codes_are_named() {
    let victim = Victim::get();
    let five = |kind| range(kind, 1_280, 1_535);
    for (what, wanted, statement) in [
        ("a subtree's hash", five("tile"), "UPDATE tile SET hash = zeroblob(32) WHERE level = 1 AND position = 5"),
        ("a subtree's hash gone", five("tile"), "DELETE FROM tile WHERE level = 1 AND position = 5"),
        ("a subtree's hash too many", whole("tile"), "INSERT INTO tile VALUES (1, 5000, zeroblob(32))"),
        ("a bundle's code", five("mac"), "UPDATE mac SET tag = zeroblob(32) WHERE bundle = 5"),
        ("a bundle's code gone", five("mac"), "DELETE FROM mac WHERE bundle = 5"),
        ("a bundle's code of fewer entries", five("mac"), "UPDATE mac SET count = 255 WHERE bundle = 5"),
        ("a bundle's code too many", whole("mac"), "INSERT INTO mac VALUES (5000, 256, zeroblob(32))"),
        ("the head's root", whole("root"), "UPDATE head SET root = zeroblob(32)"),
    ] {
        victim.named(what, &[wanted], |data| sql(data, statement));
    }
    victim.named("all codes gone", &[range("mac", 0, victim.facts.size - 1)], |data| sql(data, "DELETE FROM mac"));
    let exchanged = [range("mac", 1_024, 1_279), five("mac")];
    victim.named("two codes exchanged", &exchanged, |data| {
        sql(
            data,
            "UPDATE mac SET bundle = 4000 WHERE bundle = 4; UPDATE mac SET bundle = 4 WHERE bundle = 5;
                   UPDATE mac SET bundle = 5 WHERE bundle = 4000",
        );
    });
}

#[test]
fn a_head_of_another_size_is_named() {
    let victim = Victim::get();
    let size = victim.facts.size;
    let (bundle, last) = ((size - 1) / 256 * 256, size - 1);
    let less = [range("entry_changed", bundle, last - 1), at("entry_extra", last), at("rollback", last)];
    victim.named("one less", &less, |data| sql(data, "UPDATE head SET size = size - 1"));
    victim.named("one more", &[at("entry_missing", size)], |data| sql(data, "UPDATE head SET size = size + 1"));
    let far = [range("entry_missing", size, 4_611_686_018_427_387_903)];
    victim.named("far more", &far, |data| sql(data, "UPDATE head SET size = 4611686018427387904"));
}

#[test]
fn checkpoints_are_named() {
    let victim = Victim::get();
    let newest = "(SELECT max(size) FROM checkpoint)";
    for (what, wanted, statement) in [
        ("no note", whole("checkpoint"), format!("UPDATE checkpoint SET note = 'nothing' WHERE size = {newest}")),
        (
            "one root",
            whole("checkpoint"),
            format!(
                "UPDATE checkpoint SET note = replace(note, char(10) || char(10), 'A' || char(10) || char(10)) WHERE size = {newest}"
            ),
        ),
        ("another size", whole("checkpoint"), format!("UPDATE checkpoint SET size = size + 1 WHERE size = {newest}")),
    ] {
        victim.named(what, &[wanted], |data| sql(data, &statement));
    }
}

/// Checkpoints in the store are not chained: what counts is the one that is kept elsewhere.
#[test]
fn checkpoints_that_are_gone_are_no_fault() {
    let victim = Victim::get();
    let copy = victim.copy();
    sql(&copy.data(), "DELETE FROM checkpoint");
    let said = clean(&copy, &["--pin", &victim.facts.pin, "--since-checkpoint", &victim.late()]);
    assert!(said.out.contains(&format!("anchored to entry {} by", victim.facts.size - 1)), "{}", said.out);
    let said = clean(&copy, &["--json"]).json();
    assert_eq!(said["checkpoints"], 0, "{said:#}");
}

#[test]
fn what_the_log_says_of_itself_is_named() {
    let victim = Victim::get();
    let other = sceau_ledger::EpochKey::from_seed(0, &[5; 32]).public();
    let edit = |name: &str, value: &str| format!("UPDATE fact SET value = '{value}' WHERE name = '{name}'");
    for (what, wanted, statement) in [
        ("another first key", vec![whole("seal"), whole("pin")], edit("first_epoch_key", &other.to_string())),
        ("no first key", vec![whole("state")], edit("first_epoch_key", "x")),
        ("another writer", vec![whole("seal_chain")], edit("writer", "00112233445566778899aabbccddeeff")),
        ("no writer", vec![whole("state")], edit("writer", "x")),
        ("another origin", vec![whole("state")], edit("origin", "other.example/log")),
        ("no verifier key", vec![whole("state")], edit("verifier_key", "x")),
    ] {
        victim.named(what, &wanted, |data| sql(data, &statement));
    }
}

/// Leaves may stand for entries that retention deleted and told of, for no others.
#[test]
fn leaves_in_the_place_of_entries_are_named() {
    let victim = Victim::get();
    let copy = victim.copy();
    let forge = crate::forge::Forge::of(&copy, 512, |_| ());
    let database = database(&copy.data());
    for bundle in 0..2u64 {
        let leaves: Vec<u8> =
            (256 * bundle..256 * bundle + 256).flat_map(|at| sceau_ledger::leaf_hash(forge.entry(at)).0).collect();
        let row = rusqlite::params![i64::try_from(bundle).unwrap(), leaves];
        database.execute("INSERT INTO leaf_tile VALUES (?1, ?2)", row).unwrap();
    }
    drop(database);
    drop(forge);
    sql(&copy.data(), "DELETE FROM segment WHERE first = 0");
    // Those of the first token and of the first link explain documents.
    let unexplained = [range("entry_missing", 0, 511), whole("state"), whole("state")];
    victim.names("a segment exchanged for its leaves", &copy, &unexplained);
}
