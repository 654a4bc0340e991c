//! The newest committed batches, kept in memory for followers, so that they need not read and derive again what was just
//! written.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use sceau_store::Batch;

/// The most bytes kept, by [`Batch::weight`]: who is further behind reads the store.
const MAX_BYTES: usize = 32 << 20;

/// Consecutive batches with the index of their first entry.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    /// Whether the detector follows: what it has seen is forgotten then.
    detector: bool,
    /// Streams that are open.
    streams: AtomicUsize,
}

/// Keeps what is recent for a stream, as long as it is there.
#[derive(Debug)]
pub(crate) struct Streaming(Arc<Recent>);

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 && !self.0.detector {
            *self.0.lock() = Kept::default();
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    batches: VecDeque<(u64, Arc<Batch>)>,
    bytes: usize,
}

impl Recent {
    /// For a log that a detector follows, or not.
    pub fn new(detector: bool) -> Self {
        Self { detector, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream begins: what is committed from now on is kept for it, as far as there is room.
    pub fn stream(self: &Arc<Self>) -> Streaming {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Streaming(self.clone())
    }

    /// Keeps what was committed from `first` on, if anybody follows.
    pub fn push(&self, first: u64, batches: &[Arc<Batch>]) {
        if !self.detector && self.streams.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut kept = self.lock();
        let mut first = first;
        for batch in batches {
            kept.bytes += batch.weight();
            kept.batches.push_back((first, batch.clone()));
            first = first.saturating_add(batch.len() as u64);
        }
        while kept.bytes > MAX_BYTES {
            let Some((_, gone)) = kept.batches.pop_front() else { break };
            kept.bytes -= gone.weight();
        }
    }

    /// The batch that holds the entry `index`, and its first index.
    pub fn holding(&self, index: u64) -> Option<(u64, Arc<Batch>)> {
        let kept = self.lock();
        let behind = kept.batches.partition_point(|(first, _)| *first <= index);
        let (first, batch) = kept.batches.get(behind.checked_sub(1)?)?;
        (index - first < batch.len() as u64).then(|| (*first, batch.clone()))
    }

    /// Forgets what lies before `index`, which the detector has seen, unless a stream may still want it.
    pub fn forget(&self, index: u64) {
        if self.streams.load(Ordering::Relaxed) > 0 {
            return;
        }
        let mut kept = self.lock();
        while let Some((first, batch)) = kept.batches.front()
            && first.saturating_add(batch.len() as u64) <= index
        {
            let weight = batch.weight();
            kept.bytes -= weight;
            kept.batches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
    use sceau_store::BatchBuilder;

    use super::*;

    fn batch(entries: usize, size: usize) -> Arc<Batch> {
        let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
        let framer = Framer::new(Micros(7), &SourceId::parse("test").unwrap(), &Meta::default());
        (0..entries).for_each(|_| builder.push_line(&framer, "x".repeat(size).as_bytes()).unwrap());
        Arc::new(builder.finish().unwrap())
    }

    #[test]
    fn what_is_new_is_found_by_index_and_what_is_too_much_goes() {
        let recent = Recent::new(true);
        assert!(recent.holding(0).is_none());
        recent.push(10, &[batch(5, 10), batch(3, 10)]);
        let first = |index| recent.holding(index).map(|(first, batch)| (first, batch.len()));
        assert_eq!((first(9), first(10), first(14)), (None, Some((10, 5)), Some((10, 5))));
        assert_eq!((first(15), first(17), first(18)), (Some((15, 3)), Some((15, 3)), None));
        recent.forget(14);
        assert_eq!(first(14), Some((10, 5)));
        recent.forget(15);
        assert_eq!((first(14), first(15)), (None, Some((15, 3))));
        let large = batch(200, 60_000);
        let at = |n: u64| 18 + 200 * n;
        (0..4).for_each(|n| recent.push(at(n), std::slice::from_ref(&large)));
        assert!(first(15).is_none() && first(at(0)).is_none());
        assert_eq!(first(at(3)), Some((at(3), 200)));
        recent.forget(u64::MAX);
        assert_eq!(recent.lock().bytes, 0);
    }

    #[test]
    fn streams_keep_what_the_detector_has_seen_and_nothing_is_kept_for_nobody() {
        let recent = Arc::new(Recent::new(true));
        let stream = recent.stream();
        recent.push(0, &[batch(5, 10)]);
        recent.forget(5);
        assert!(recent.holding(4).is_some());
        drop(stream);
        recent.forget(5);
        assert!(recent.holding(4).is_none());
        let alone = Arc::new(Recent::new(false));
        alone.push(0, &[batch(5, 10)]);
        assert!(alone.holding(0).is_none());
        let (first, second) = (alone.stream(), alone.stream());
        alone.push(5, &[batch(5, 10)]);
        drop(first);
        assert!(alone.holding(5).is_some());
        drop(second);
        assert!(alone.holding(5).is_none());
    }
}
