//! The workspace itself: which crate may use which.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The arrows of DESIGN's table; any other is a mistake.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("sceau-event", &[]),
    ("sceau-ledger", &[]),
    ("sceau-detect", &["sceau-event"]),
    ("sceau-store", &["sceau-event", "sceau-ledger"]),
    ("sceau-server", &["sceau-event", "sceau-ledger", "sceau-store", "sceau-detect"]),
    ("sceau", &["sceau-event", "sceau-ledger", "sceau-store", "sceau-server", "sceau-detect"]),
];

#[test]
fn crates_use_only_what_they_may() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let asked = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = allowed.get(name) else { panic!("the crate {name} is not in the table of crates") };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let ours = dependency["path"].is_string();
            assert!(!ours || allowed.contains(&used), "{name} may not use {used}");
        }
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Runners hide what passing tests print, so a test must be left out by the one function that leaves a note.
#[test]
fn no_test_is_left_out_in_silence() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for name in ["event", "ledger", "store", "detect", "server", "cli"] {
        sources(&crates.join(name).join("src"), &mut found);
        let tests = crates.join(name).join("tests");
        if tests.is_dir() {
            sources(&tests, &mut found);
        }
    }
    let word = ["SKIP", "PED"].concat();
    let loud: Vec<_> = found.iter().filter(|path| fs::read_to_string(path).unwrap().contains(&word)).collect();
    assert_eq!(loud, [&crates.join("cli/tests/common/shared.rs")]);
}
