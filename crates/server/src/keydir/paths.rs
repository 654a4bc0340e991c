//! Where the key directory may lie and who may read it.

use std::{
    fs::{DirBuilder, File, Metadata},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::error::ServerError;

/// Refuses a key directory inside the data directory, if there is one, or the other way round.
pub(crate) fn check_apart(keys: &Path, data: Option<&Path>) -> Result<(), ServerError> {
    let Some(data) = data else { return Ok(()) };
    let (whole_keys, whole_data) = (resolve(keys)?, resolve(data)?);
    let reason = if whole_keys == whole_data || same(&whole_keys, &whole_data) {
        "is the data directory too"
    } else if within(&whole_keys, &whole_data) {
        "lies inside the data directory"
    } else if within(&whole_data, &whole_keys) {
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

/// Whether two paths lead to one directory, be it through a second mount of it.
fn same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// Whether one directory lies somewhere in another.
fn within(inner: &Path, outer: &Path) -> bool {
    inner.starts_with(outer) || inner.ancestors().any(|above| same(above, outer))
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

/// Makes a directory, and those above it that are missing, for nobody else.
pub(super) fn create_directory(path: &Path) -> Result<(), ServerError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && parent != path && !parent.exists() => {
            create_directory(parent)?;
            create_directory(path)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let shown = path.display();
            let context = format!(
                "creating {shown} (make it as the administrator, for the user that this runs as: \
                 install -d -m 0700 -o USER '{shown}')"
            );
            Err(ServerError::io(context)(error))
        }
        Err(error) => Err(ServerError::io(format!("creating {}", path.display()))(error)),
    }
}

pub(super) fn sync_directory(path: &Path) -> Result<(), ServerError> {
    let directory = File::open(path).and_then(|directory| directory.sync_all());
    directory.map_err(ServerError::io(format!("fsync of {}", path.display())))
}

/// Refuses a directory that others can read or reach around: itself, and those above it.
pub(super) fn check_directory(path: &Path) -> Result<(), ServerError> {
    let found = check_mode(path, 0o700, |kind| kind.is_dir(), "is not a directory")?;
    let us = rustix::process::geteuid().as_raw();
    // The administrator may look at the keys of the account that runs the server.
    if found.uid() != us && us != 0 {
        return refuse(path, format!("belongs to the user {}, not to the one that this runs as ({us})", found.uid()));
    }
    let whole = path.canonicalize().map_err(ServerError::io(format!("looking up {}", path.display())))?;
    whole.ancestors().skip(1).try_for_each(|above| check_above(path, above, found.uid()))
}

/// Refuses a directory above the key directory in which somebody else could put another in its place.
fn check_above(keys: &Path, above: &Path, owner: u32) -> Result<(), ServerError> {
    let found = std::fs::metadata(above).map_err(ServerError::io(format!("looking at {}", above.display())))?;
    let reason = |what: String| {
        format!("can be replaced by others, because {} {what}: choose a directory elsewhere", above.display())
    };
    if found.uid() != 0 && found.uid() != owner && found.uid() != rustix::process::geteuid().as_raw() {
        return refuse(keys, reason(format!("belongs to the user {}", found.uid())));
    }
    let mode = found.permissions().mode() & 0o7777;
    let sticky = mode & 0o1000 != 0;
    // Many systems give each user a group of their own and let it write.
    let own_group = found.gid() == 0 || found.gid() == rustix::process::getegid().as_raw();
    if !sticky && (mode & 0o002 != 0 || mode & 0o020 != 0 && !own_group) {
        return refuse(keys, reason(format!("has mode {mode:04o}")));
    }
    Ok(())
}

/// Refuses a file that is none, that others can read, or that is not of the directory's owner.
pub(super) fn check_file(path: &Path) -> Result<(), ServerError> {
    let found = check_mode(path, 0o600, |kind| kind.is_file(), "is not a plain file")?;
    let directory = path.parent().map(std::fs::metadata).transpose().ok().flatten();
    let owner = directory.map_or(found.uid(), |directory| directory.uid());
    if found.uid() != owner {
        return refuse(
            path,
            format!("belongs to the user {}, its directory to {owner}; run: chown {owner}", found.uid()),
        );
    }
    Ok(())
}

fn refuse<T>(path: &Path, reason: String) -> Result<T, ServerError> {
    Err(ServerError::KeyDir { path: path.to_owned(), reason })
}

fn check_mode(
    path: &Path,
    allowed: u32,
    is_kind: impl Fn(&std::fs::FileType) -> bool,
    other: &str,
) -> Result<Metadata, ServerError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return refuse(
                path,
                "is missing: restore it from your backup. If it is lost for good, `sceau keys replace` puts new keys in \
                 the place of lost ones; a new log gets its keys by `sceau init`"
                    .to_owned(),
            );
        }
        Err(error) => return Err(ServerError::io(format!("looking at {}", path.display()))(error)),
    };
    if !is_kind(&found.file_type()) {
        return refuse(path, other.to_owned());
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & !allowed & 0o777 != 0 {
        let shown = path.display();
        let reason = format!("has mode {mode:04o}, so others can read keys; run: chmod {allowed:04o} '{shown}'");
        return refuse(path, reason);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_above_is_made_for_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/sceau/keys");
        create_directory(&path).unwrap();
        create_directory(&path).unwrap();
        for made in path.ancestors().take(3) {
            assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700, "{}", made.display());
        }
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(create_directory(&root.path().join("file/keys")).is_err());
    }

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
            assert_eq!(check_apart(&at(keys), Some(&at(data))).is_ok(), good, "{keys} {data}");
        }
    }
}
