//! What the store costs, so that one knows where the time goes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;

/// CPU time by stage, and writes that waited for the disk.
#[derive(Debug, Default)]
pub struct Costs {
    /// Commits: columns put together, entries compressed, SQLite.
    pub commit: Stage,
    /// Segments: written, read back and checked.
    pub segment: Stage,
    /// SQLite's log moved into its file.
    pub wal: Stage,
    /// Calls of fsync, as far as we cause them.
    pub fsyncs: AtomicU64,
    /// Time that commits of SQLite took, of which nearly all is waiting for the disk.
    pub sync: Stage,
}

impl Costs {
    /// Counts calls of fsync.
    pub fn synced(&self, calls: u64) {
        self.fsyncs.fetch_add(calls, Ordering::Relaxed);
    }

    /// Names and values, for `/metrics`.
    pub fn gauges(&self) -> [(&'static str, f64); 5] {
        [
            ("store_commit_cpu_seconds", self.commit.seconds()),
            ("store_segment_cpu_seconds", self.segment.seconds()),
            ("store_wal_cpu_seconds", self.wal.seconds()),
            ("store_sync_seconds", self.sync.seconds()),
            ("store_fsyncs", self.fsyncs.load(Ordering::Relaxed) as f64),
        ]
    }
}

/// Time of one kind of work: of the CPU or, where it waits for the disk, on the wall.
#[derive(Debug, Default)]
pub struct Stage(AtomicU64);

impl Stage {
    /// Does some work that begins and ends on this thread.
    pub fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = ThreadTime::try_now();
        let done = work();
        let spent = begun.and_then(|begun| begun.try_elapsed()).unwrap_or_default();
        self.0.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        done
    }

    /// Does some work that waits for the disk.
    pub fn waiting<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.0.fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(0), Ordering::Relaxed);
        done
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.0.load(Ordering::Relaxed)).as_secs_f64()
    }
}
