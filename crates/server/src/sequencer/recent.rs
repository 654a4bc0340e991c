//! The newest committed batches, kept in memory for followers, so that they need not read and derive again what was just
//! written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sceau_store::Batch;

/// The most bytes kept, by [`Batch::weight`]: who is further behind reads the store.
const MAX_BYTES: usize = 32 << 20;

/// Consecutive batches with the index of their first entry.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    batches: VecDeque<(u64, Arc<Batch>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps what was committed from `first` on.
    pub fn push(&self, first: u64, batches: &[Arc<Batch>]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = kept.batches.partition_point(|(first, _)| *first <= index);
        let (first, batch) = kept.batches.get(behind.checked_sub(1)?)?;
        (index - first < batch.len() as u64).then(|| (*first, batch.clone()))
    }

    /// Forgets what lies before `index`: every follower has it.
    pub fn forget(&self, index: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let recent = Recent::default();
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
        assert_eq!(recent.0.lock().unwrap().bytes, 0);
    }
}
