//! A sandbox of the kernel's (Landlock): whatever a fault in this program could be used for, no file elsewhere is read or
//! written by it, and no other program is run.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, path_beneath_rules,
};

use crate::{config::Config, error::ServerError, net::TlsSource};

/// What every server reads that resolves names, checks certificates of databases and finds its libraries. What of it is
/// not there is passed over.
const SYSTEM: [&str; 24] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/passwd",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/local/share/ca-certificates",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/dev/urandom",
    "/sys/fs/cgroup",
    "/proc/sys/kernel/hostname",
    "/proc/self",
];
/// What is written besides the log and its keys.
const SINKS: [&str; 1] = ["/dev/null"];

/// How far the kernel holds a process to its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// In all that was asked for.
    Whole,
    /// In the rights that this kernel knows; a newer one knows more.
    Partial,
    /// Not at all: the kernel has no Landlock, or it is switched off.
    Absent,
}

/// Confines the calling thread, and all that it starts from now on, to what a server with these settings needs. To be called
/// before any other thread runs; it can't be undone. Directories must be there: what is not can't be allowed.
///
/// # Errors
/// [`ServerError::Config`]: the kernel has Landlock and refused.
pub fn confine(config: &Config) -> Result<Sandbox, ServerError> {
    confine_to(&read(config), &written(config))
}

/// What a server with these settings only reads.
fn read(config: &Config) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    paths.extend(config.parsers.clone());
    paths.extend(config.detection.rules.clone());
    if let Some(TlsSource::Files { certificate, key }) = &config.tls {
        for file in [certificate, key] {
            // A renewed file is another one, so its directory counts; and it may be a link into another directory.
            let behind = file.canonicalize().unwrap_or_else(|_| file.clone());
            paths.extend([directory_of(file), directory_of(&behind)]);
        }
    }
    paths
}

fn written(config: &Config) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = SINKS.iter().map(PathBuf::from).collect();
    paths.extend(config.place.directory().map(Path::to_owned));
    paths.push(config.key_dir.clone());
    paths
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn confine_to(read: &[PathBuf], written: &[PathBuf]) -> Result<Sandbox, ServerError> {
    let abi = ABI::V5;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = (AccessFs::from_all(abi) & !AccessFs::Execute) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let refused = |error: landlock::RulesetError| {
        ServerError::Config(format!("the sandbox (Landlock) can't be set up: {error}; --no-landlock goes without"))
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(read, reading)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(written, writing)))
        .and_then(|rules| rules.restrict_self())
        .map_err(refused)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Sandbox::Whole,
        RulesetStatus::PartiallyEnforced => Sandbox::Partial,
        RulesetStatus::NotEnforced => Sandbox::Absent,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind};

    use super::*;

    #[test]
    fn a_confined_thread_reads_and_writes_where_it_may_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["data", "keys", "rules", "elsewhere"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), name).unwrap();
        }
        let mut config = Config::new(at("data"), at("keys"));
        config.detection.rules = Some(at("rules"));
        // Only this thread is confined, and it ends with the test.
        let seen = std::thread::spawn(move || {
            if confine(&config).unwrap() == Sandbox::Absent {
                return None;
            }
            let written = |path: PathBuf| fs::write(path, "new").map_err(|error| error.kind());
            let read = |path: PathBuf| fs::read(path).map(|_| ()).map_err(|error| error.kind());
            let keys = config.key_dir;
            let root = keys.parent().unwrap();
            Some([
                written(root.join("data/new")),
                written(keys.join("file")),
                read(root.join("rules/file")),
                written(root.join("rules/file")),
                read(root.join("elsewhere/file")),
                written(root.join("elsewhere/new")),
            ])
        });
        let Some(seen) = seen.join().unwrap() else {
            eprintln!("skipped: this kernel has no Landlock");
            return;
        };
        let denied = Err(ErrorKind::PermissionDenied);
        assert_eq!(seen, [Ok(()), Ok(()), Ok(()), denied, denied, denied]);
    }
}
