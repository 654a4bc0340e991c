//! Noticing that a file is no longer the one that was read: put aside, cut, or written anew.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::lines::{TAIL, Tail};

/// A file's identity, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// Whose these facts are.
    pub fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

/// Notices that a followed file was rotated.
#[derive(Clone, Debug)]
pub struct Watch {
    path: PathBuf,
    identity: Identity,
    rewritten: Arc<AtomicBool>,
}

impl Watch {
    /// Watches the file at `path`, which is the one of that identity now.
    pub fn new(path: PathBuf, identity: Identity, rewritten: Arc<AtomicBool>) -> Self {
        Self { path, identity, rewritten }
    }

    /// Whether another file is there now, or this one was cut and written again.
    pub fn replaced(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => Identity::of(&found) != self.identity || self.rewritten(),
            // Between a rename and the new file; the old one may still grow.
            Err(_) => self.rewritten(),
        }
    }

    /// Whether reading came to the end of what is left of the file as it was.
    pub fn rewritten(&self) -> bool {
        self.rewritten.load(Ordering::Relaxed)
    }
}

/// Reads a file that others may write to, and ends where what is there no longer follows on what was read.
pub struct Plain {
    file: File,
    at: u64,
    before: Tail,
    count: Arc<AtomicU64>,
    rewritten: Arc<AtomicBool>,
}

impl Plain {
    /// Reads from `at` on, and counts it; `rewritten` turns true where the file as it was ends.
    pub fn new(file: File, at: u64, count: Arc<AtomicU64>, rewritten: Arc<AtomicBool>) -> Self {
        Self { file, at, before: Tail::default(), count, rewritten }
    }

    /// Whether the bytes before the place are still those that were read.
    fn goes_on(&self) -> io::Result<bool> {
        let before = self.before.bytes();
        let mut found = [0; TAIL];
        let found = &mut found[..before.len()];
        match self.file.read_exact_at(found, self.at - before.len() as u64) {
            Ok(()) => Ok(found == before),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rewritten.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let read = self.file.read_at(buffer, self.at)?;
        // Only now, so that what was read is what lay behind these bytes.
        if !self.goes_on()? {
            self.rewritten.store(true, Ordering::Relaxed);
            return Ok(0);
        }
        self.before.push(&buffer[..read]);
        self.at += read as u64;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{
        input::Source,
        lines::{Next, Shape},
    };

    #[test]
    fn nothing_is_believed_behind_bytes_that_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live");
        let text = |word: &str, lines: u32| (0..lines).map(|n| format!("{word} {n}\n")).collect::<String>();
        // At its end; and in the middle, as when a server is away while the file is long.
        for (lines, read) in [(100, 100), (100_000, 10)] {
            std::fs::write(&path, text("before", lines)).unwrap();
            let source = Source::new(&path, File::open(&path).unwrap()).unwrap();
            let watch = source.watch();
            let mut events = source.read_from(0, None, Shape::Lines).unwrap().unwrap();
            for _ in 0..read {
                assert_eq!(events.next(false).unwrap(), Next::Event);
            }
            if read == lines {
                assert_eq!(events.next(false).unwrap(), Next::End);
            }
            assert!(!watch.replaced());
            std::fs::write(&path, text("behind", lines + 50_000)).unwrap();
            while events.next(false).unwrap() == Next::Event {
                assert!(events.event().starts_with(b"before"), "{:?}", String::from_utf8_lossy(events.event()));
            }
            assert!(watch.replaced() && watch.rewritten());
        }
    }

    #[test]
    fn a_link_is_watched_not_what_it_led_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let link = |to: &str| {
            std::os::unix::fs::symlink(to, at("new")).unwrap();
            std::fs::rename(at("new"), at("current")).unwrap();
        };
        std::fs::write(at("one"), "a\n").unwrap();
        std::fs::write(at("two"), "b\n").unwrap();
        link("one");
        let source = Source::new(&at("current"), File::open(at("current")).unwrap()).unwrap();
        assert!(!source.watch().replaced());
        link("two");
        assert!(source.watch().replaced());
    }
}
