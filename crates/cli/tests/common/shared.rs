//! The one way in which a test is left out, for the tests of all crates: aloud, and where `make test` finds it.

use std::path::{Path, PathBuf};

/// Says that a test was left out, and why: on standard error, and in a file that `make test` prints at its end.
pub fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED: {what}: {why}");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(what.replace([' ', '/'], "-")), format!("== NOT tested: {what} ({why})\n")).unwrap();
}

/// A file or folder of the test data that lies beside the repository (or in `SCEAU_SHARED`).
pub fn shared(path: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let found = std::env::var_os("SCEAU_SHARED").map_or_else(beside, PathBuf::from).join(path);
    if found.exists() {
        return Some(found);
    }
    skip(path, &format!("no test data at {}", found.display()));
    None
}
