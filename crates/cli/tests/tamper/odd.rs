//! Values that no column should hold: whatever somebody writes into a table, `verify` ends and names it.

use std::time::Duration;

use crate::victim::{Victim, database};

/// Each table, the order of its rows, its columns, and those in which such a value says nothing.
const TABLES: [(&str, &str, &[&str], &[&str]); 9] = [
    ("head", "id", &["size", "root"], &[]),
    ("tail", "first", &["first", "count", "prefixes", "data"], &[]),
    ("tile", "level * 100000 + position", &["level", "position", "hash"], &[]),
    ("mac", "bundle", &["bundle", "count", "tag"], &[]),
    // A checkpoint of no size is one that is not there.
    ("checkpoint", "size", &["size", "note"], &["size"]),
    ("seal", "epoch", &["epoch", "text"], &[]),
    ("segment", "first", &["first", "count", "file"], &[]),
    // The version serves compare-and-set, nothing else.
    ("state", "collection || key", &["collection", "key", "value", "version", "expires", "mac"], &["version"]),
    ("fact", "name", &["value"], &[]),
];

#[test]
fn values_that_no_column_should_hold_are_named_and_verify_ends() {
    let victim = Victim::get();
    for (table, order, columns, harmless) in TABLES {
        for column in columns {
            for value in ["-1", "9223372036854775807", "'text'", "x'00ff'"] {
                let copy = victim.copy();
                let newest = format!("{order} = (SELECT max({order}) FROM {table})");
                let statement = format!("UPDATE {table} SET {column} = {value} WHERE {newest}");
                // The database itself refuses some.
                if database(&copy.data()).execute(&statement, []).is_err() {
                    continue;
                }
                let late = victim.late();
                let mut verify =
                    copy.command(&["verify", "--json", "--pin", &victim.facts.pin, "--since-checkpoint", &late]);
                let said = crate::common::run_within(&mut verify, Duration::from_secs(60));
                assert!(said.code == 4 || harmless.contains(column), "{statement}: {said:#?}");
            }
        }
    }
}
