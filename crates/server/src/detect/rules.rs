//! Rule files: the shipped ones and those of a directory, read again when they change.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sceau_detect::RuleFile;

use crate::error::ServerError;

/// The folder of field mappings in a directory of rules.
const MAPPINGS: &str = "mappings";
/// Files in a directory of rules.
const MAX_FILES: usize = 20_000;
/// Bytes of one file, and of all.
const MAX_FILE: u64 = 1 << 20;
const MAX_ALL: u64 = 64 << 20;
/// Folders in folders.
const MAX_DEPTH: usize = 16;

/// Files as they were found: when one is another, the rules are loaded again.
pub(super) type Fingerprint = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Rules and mappings, as text.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Rules.
    pub rules: Vec<RuleFile>,
    /// Field mappings.
    pub mappings: Vec<RuleFile>,
}

/// The shipped files and those of a directory, if there is one.
///
/// # Errors
/// The directory can't be read, or holds too much.
pub fn read(directory: Option<&Path>) -> Result<Files, ServerError> {
    let (rules, mappings) = sceau_detect::RuleSet::builtin_files();
    let mut files = Files { rules, mappings };
    if let Some(directory) = directory {
        let more = read_directory(directory)?;
        files.rules.extend(more.rules);
        files.mappings.extend(more.mappings);
    }
    Ok(files)
}

/// The files of a directory alone.
///
/// # Errors
/// The directory can't be read, or holds too much.
fn read_directory(directory: &Path) -> Result<Files, ServerError> {
    let mut files = Files::default();
    for path in look(directory)?.into_keys() {
        let reading = || ServerError::io(format!("reading the rule file {}", path.display()));
        // What is no rule file is refused by its name, as one that is none; the others count.
        let text = if fs::metadata(&path).map_err(reading())?.len() > MAX_FILE {
            format!("a rule file may have {MAX_FILE} bytes, this one has more")
        } else {
            let bytes = fs::read(&path).map_err(reading())?;
            String::from_utf8(bytes).unwrap_or_else(|_| "this file is not UTF-8".to_owned())
        };
        let relative = path.strip_prefix(directory).unwrap_or(&path);
        let file = RuleFile { path: relative.display().to_string(), text };
        if relative.starts_with(MAPPINGS) { files.mappings.push(file) } else { files.rules.push(file) }
    }
    Ok(files)
}

/// The rule files of a directory with their sizes and times.
///
/// # Errors
/// It can't be read, or holds too much.
pub(super) fn look(directory: &Path) -> Result<Fingerprint, ServerError> {
    let mut found = Fingerprint::new();
    walk(directory, 0, &mut found)?;
    let all: u64 = found.values().map(|(size, _)| *size).filter(|size| *size <= MAX_FILE).sum();
    if all > MAX_ALL {
        let text = format!("{}: the rule files have {all} bytes together, more than {MAX_ALL}", directory.display());
        return Err(ServerError::Config(text));
    }
    Ok(found)
}

fn walk(directory: &Path, depth: usize, found: &mut Fingerprint) -> Result<(), ServerError> {
    let reading = || ServerError::io(format!("reading the rule directory {}", directory.display()));
    if depth > MAX_DEPTH {
        return Err(ServerError::Config(format!("{}: more than {MAX_DEPTH} folders deep", directory.display())));
    }
    for entry in fs::read_dir(directory).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        let about = fs::metadata(&path).map_err(ServerError::io(format!("looking at {}", path.display())))?;
        if about.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            found.insert(path, (about.len(), about.modified().ok()));
            if found.len() > MAX_FILES {
                let text = format!("{}: more than {MAX_FILES} rule files", directory.display());
                return Err(ServerError::Config(text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_mappings_are_read_through_all_folders_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/c")).unwrap();
        fs::create_dir_all(dir.path().join("mappings")).unwrap();
        for (path, text) in [("z.yml", "z"), ("b/c/a.yaml", "a"), ("mappings/m.yml", "m"), ("README.md", "no")] {
            fs::write(dir.path().join(path), text).unwrap();
        }
        let files = read_directory(dir.path()).unwrap();
        let told =
            |files: &[RuleFile]| files.iter().map(|file| format!("{}={}", file.path, file.text)).collect::<Vec<_>>();
        assert_eq!(told(&files.rules), ["b/c/a.yaml=a", "z.yml=z"]);
        assert_eq!(told(&files.mappings), ["mappings/m.yml=m"]);
        let before = look(dir.path()).unwrap();
        fs::write(dir.path().join("z.yml"), "changed").unwrap();
        assert_ne!(look(dir.path()).unwrap(), before);
        fs::write(dir.path().join("large.yml"), vec![b'a'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        fs::write(dir.path().join("odd.yml"), b"title: \xff").unwrap();
        let files = read_directory(dir.path()).unwrap();
        let of = |name: &str| files.rules.iter().find(|file| file.path == name).unwrap().text.clone();
        assert!(of("large.yml").contains("bytes") && of("odd.yml").contains("UTF-8"));
        assert!(read(Some(&dir.path().join("absent"))).is_err());
        let shipped = read(None).unwrap();
        assert!(!shipped.rules.is_empty() && !shipped.mappings.is_empty());
    }
}
