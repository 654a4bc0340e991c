//! The low-disk guard: nothing more is taken in while there is still room for what was taken.
//!
//! What was acknowledged is durable already; what still needs room is the write-ahead log, segments made of the tail,
//! the server's own audit entries, checkpoints and seals. They go on below the limit, which leaves room for them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{config::Config, error::ServerError, metrics::Metrics};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is kept free where the log lies, unless that is more than a twentieth of it: room for two segments of entries
/// that can't be compressed.
const KEPT: u64 = 512 << 20;
/// The least that is kept there all the same: the write-ahead log and two segments of common entries.
const LEAST: u64 = 64 << 20;
/// What is kept where the keys lie: their files are written in place, so this is room for the file system itself.
const KEPT_FOR_KEYS: u64 = 1 << 20;

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    /// What an ordinary user may still write.
    free: u64,
    /// All of it.
    total: u64,
}

type Reading = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

struct Watched {
    name: &'static str,
    path: PathBuf,
    /// What must stay free; `None`: chosen by the size of the file system.
    keep: Option<u64>,
    free: AtomicU64,
    kept: AtomicU64,
    low: AtomicBool,
}

/// The guard.
pub(crate) struct Disk {
    watched: Vec<Watched>,
    read: Box<Reading>,
    metrics: Arc<Metrics>,
}

impl Disk {
    /// The guard of a log's directories, which has looked once.
    pub fn of(config: &Config, metrics: Arc<Metrics>) -> Self {
        let keys = config.min_free.map_or(KEPT_FOR_KEYS, |keep| keep.min(KEPT_FOR_KEYS));
        let keys = (("key", config.key_dir.clone()), Some(keys));
        // A database's disk is its own server's to watch.
        let data = config.place.directory().map(|dir| (("data", dir.to_owned()), config.min_free));
        Self::new(data.into_iter().chain([keys]).collect(), Box::new(space), metrics)
    }

    fn new(dirs: Vec<((&'static str, PathBuf), Option<u64>)>, read: Box<Reading>, metrics: Arc<Metrics>) -> Self {
        let watched = dirs.into_iter().map(|((name, path), keep)| Watched {
            name,
            path,
            keep,
            free: AtomicU64::new(u64::MAX),
            kept: AtomicU64::new(0),
            low: AtomicBool::new(false),
        });
        let disk = Self { watched: watched.collect(), read, metrics };
        disk.look();
        disk
    }

    /// Reads how much is free. What can't be read is taken as it was.
    pub fn look(&self) {
        for watched in &self.watched {
            match (self.read)(&watched.path) {
                Ok(space) => self.judge(watched, space),
                Err(error) => {
                    tracing::warn!(dir = %watched.path.display(), %error, "free space can't be read");
                }
            }
        }
    }

    fn judge(&self, watched: &Watched, space: Space) {
        let keep = watched.keep.unwrap_or_else(|| KEPT.min(space.total / 20).max(LEAST));
        watched.free.store(space.free, Ordering::Relaxed);
        watched.kept.store(keep, Ordering::Relaxed);
        self.metrics.disk_free(watched.name, space.free);
        let was = watched.low.load(Ordering::Relaxed);
        // A little more to begin again than to stop, so that it doesn't flutter.
        let low = space.free < if was { keep.saturating_add(keep / 8) } else { keep };
        watched.low.store(low, Ordering::Relaxed);
        let (free, dir) = (space.free, watched.path.display());
        if low && !was {
            tracing::error!(%dir, free, keep, "the disk is nearly full: events are refused until there is room");
        } else if was && !low {
            tracing::info!(%dir, free, keep, "there is room again: events are accepted");
        }
    }

    /// Refuses while there is too little, as of the last look.
    ///
    /// # Errors
    /// [`ServerError::DiskFull`].
    pub fn check(&self) -> Result<(), ServerError> {
        let Some(low) = self.watched.iter().find(|watched| watched.low.load(Ordering::Relaxed)) else { return Ok(()) };
        let (free, keep) = (low.free.load(Ordering::Relaxed), low.kept.load(Ordering::Relaxed));
        Err(ServerError::DiskFull { dir: low.name, free, keep })
    }
}

/// Looks until `stop` says so.
pub(crate) async fn run(disk: Arc<Disk>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => disk.look(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// What the system says of the file system that a directory lies on.
fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn disk(keep: Option<u64>, total: u64) -> (Disk, Arc<Mutex<io::Result<u64>>>) {
        let free: Arc<Mutex<io::Result<u64>>> = Arc::new(Mutex::new(Ok(total)));
        let read = {
            let free = free.clone();
            move |_: &Path| match &*free.lock().unwrap() {
                Ok(free) => Ok(Space { free: *free, total }),
                Err(error) => Err(io::Error::other(error.to_string())),
            }
        };
        let dirs = vec![(("data", PathBuf::from("/nowhere")), keep)];
        (Disk::new(dirs, Box::new(read), Arc::new(Metrics::new())), free)
    }

    #[test]
    fn it_stops_in_time_and_begins_again_with_a_little_more() {
        let (disk, free) = disk(Some(800), 10_000);
        for (now, accepts) in [(800, true), (799, false), (800, false), (899, false), (900, true), (800, true)] {
            *free.lock().unwrap() = Ok(now);
            disk.look();
            assert_eq!(disk.check().is_ok(), accepts, "{now}");
        }
        *free.lock().unwrap() = Ok(1);
        disk.look();
        let error = disk.check().unwrap_err();
        assert_eq!((error.status(), error.code()), (503, "disk_full"));
        assert_eq!(crate::Problem::from(&error).retry_after, Some(30));
        assert!(disk.metrics.render(&[]).contains("sceau_disk_free_bytes{dir=\"data\"} 1"));
        // What can't be read stays as it was.
        *free.lock().unwrap() = Err(io::Error::other("gone"));
        disk.look();
        assert!(disk.check().is_err());
    }

    #[test]
    fn how_much_is_kept_depends_on_the_disk() {
        for (total, keep) in [(1 << 40, KEPT), (4 << 30, (4 << 30) / 20), (100 << 20, LEAST)] {
            let (disk, free) = disk(None, total);
            *free.lock().unwrap() = Ok(keep);
            disk.look();
            assert!(disk.check().is_ok(), "{total}");
            *free.lock().unwrap() = Ok(keep - 1);
            disk.look();
            assert!(disk.check().is_err(), "{total}");
        }
    }

    #[test]
    fn a_real_file_system_is_read() {
        let found = space(Path::new("/tmp")).unwrap();
        assert!(found.total > 0 && found.free <= found.total);
        assert!(space(Path::new("/no/such/directory")).is_err());
    }
}
