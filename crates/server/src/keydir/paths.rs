//! Where the key directory may lie and who may read it.

use std::{
    fs::{DirBuilder, File},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::error::ServerError;

/// Refuses a key directory inside the data directory, or the other way round.
pub(super) fn check_apart(keys: &Path, data: &Path) -> Result<(), ServerError> {
    let (whole_keys, whole_data) = (resolve(keys)?, resolve(data)?);
    let reason = if whole_keys == whole_data {
        "is the data directory too"
    } else if whole_keys.starts_with(&whole_data) {
        "lies inside the data directory"
    } else if whole_data.starts_with(&whole_keys) {
        "contains the data directory"
    } else {
        return Ok(());
    };
    let reason = format!(
        "{reason} ({}). Whoever copies the data would have the keys: choose a directory elsewhere with --key-dir",
        data.display()
    );
    Err(ServerError::KeyDir { path: keys.to_owned(), reason })
}

/// The path without symbolic links, even where its end does not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, ServerError> {
    let failed = |path: &Path| ServerError::io(format!("looking up {}", path.display()));
    let whole = std::path::absolute(path).map_err(failed(path))?;
    let mut existing = whole.as_path();
    let mut missing = Vec::new();
    loop {
        match existing.canonicalize() {
            Ok(found) => return Ok(missing.iter().rev().fold(found, |path, name| path.join(name))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(existing)(error)),
        }
        match (existing.file_name(), existing.parent()) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return Ok(whole),
        }
    }
}

pub(super) fn create_directory(path: &Path) -> Result<(), ServerError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(ServerError::io(format!("creating {}", path.display()))(error)),
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_directory(parent)
}

pub(super) fn sync_directory(path: &Path) -> Result<(), ServerError> {
    let directory = File::open(path).and_then(|directory| directory.sync_all());
    directory.map_err(ServerError::io(format!("fsync of {}", path.display())))
}

pub(super) fn check_directory(path: &Path) -> Result<(), ServerError> {
    check_mode(path, 0o700, |kind| kind.is_dir(), "is not a directory")
}

pub(super) fn check_file(path: &Path) -> Result<(), ServerError> {
    check_mode(path, 0o600, |kind| kind.is_file(), "is not a plain file")
}

fn check_mode(
    path: &Path,
    allowed: u32,
    is_kind: impl Fn(&std::fs::FileType) -> bool,
    other: &str,
) -> Result<(), ServerError> {
    let refuse = |reason: String| Err(ServerError::KeyDir { path: path.to_owned(), reason });
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return refuse(
                "is missing: restore it from your backup, or make the log's keys with `sceau init`".to_owned(),
            );
        }
        Err(error) => return Err(ServerError::io(format!("looking at {}", path.display()))(error)),
    };
    if !is_kind(&found.file_type()) {
        return refuse(other.to_owned());
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & !allowed & 0o777 != 0 {
        let path = path.display();
        return refuse(format!("has mode {mode:04o}, so others can read keys; run: chmod {allowed:04o} '{path}'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_contains_the_other() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("data")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        for (keys, data, good) in [
            ("keys", "data", true),
            ("data2", "data", true),
            ("data", "data", false),
            ("data/keys", "data", false),
            ("keys", "keys/data", false),
            ("link/new/keys", "data", false),
            ("data/../keys", "data", true),
        ] {
            assert_eq!(check_apart(&at(keys), &at(data)).is_ok(), good, "{keys} {data}");
        }
    }
}
