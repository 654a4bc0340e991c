//! A group that is more than one commit of the store should hold.

use std::sync::Arc;

use sceau_store::{Batch, traits::CommitLimits};

/// The entries of a group in parts that a store takes, in order. Of one that is too heavy by itself nobody knows how heavy
/// its halves are: they are looked at again.
pub(super) fn split(batches: Vec<Arc<Batch>>, limits: CommitLimits) -> Vec<Vec<Arc<Batch>>> {
    let fits = |entries: usize, bytes: usize| entries <= limits.entries && bytes <= limits.bytes;
    let (mut parts, mut part): (Vec<Vec<Arc<Batch>>>, Vec<Arc<Batch>>) = (Vec::new(), Vec::new());
    let (mut entries, mut bytes) = (0, 0);
    let mut waiting: Vec<Arc<Batch>> = batches.into_iter().rev().collect();
    while let Some(batch) = waiting.pop() {
        let (len, weight) = (batch.len(), batch.weight());
        if !fits(len, weight) && len > 1 {
            let wanted = len.div_ceil(limits.entries.max(1)).max(weight.div_ceil(limits.bytes.max(1))).clamp(2, len);
            let step = len.div_ceil(wanted);
            let pieces = (0..len).step_by(step).map(|from| Arc::new(batch.slice(from, step)));
            waiting.extend(pieces.collect::<Vec<_>>().into_iter().rev());
            continue;
        }
        if !part.is_empty() && !fits(entries + len, bytes + weight) {
            parts.push(std::mem::take(&mut part));
            (entries, bytes) = (0, 0);
        }
        (entries, bytes) = (entries + len, bytes + weight);
        part.push(batch);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
    use sceau_store::BatchBuilder;

    use super::*;

    fn batch(texts: &[String]) -> Arc<Batch> {
        let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
        let framer = Framer::new(Micros(7), &SourceId::parse("test").unwrap(), &Meta::default());
        texts.iter().for_each(|text| builder.push_line(&framer, text.as_bytes()).unwrap());
        Arc::new(builder.finish().unwrap())
    }

    /// The entries and what is known of them, one by one.
    fn entries(batches: &[Arc<Batch>]) -> Vec<(Vec<u8>, sceau_ledger::LeafHash)> {
        let of = |batch: &Arc<Batch>| -> Vec<_> {
            let entries = batch.entries().iter().map(|entry| entry.unwrap().to_vec());
            entries.zip(batch.leaves().iter().copied()).collect()
        };
        batches.iter().flat_map(of).collect()
    }

    #[test]
    fn every_part_fits_and_nothing_is_lost() {
        let texts: Vec<String> = (0..500).map(|n| format!("user={n} {}", "x".repeat(n * 7 % 900))).collect();
        let all = vec![batch(&texts[..3]), batch(&texts[3..400]), batch(&texts[400..])];
        for (count, bytes) in
            [(500, usize::MAX), (499, usize::MAX), (64, usize::MAX), (1, usize::MAX), (77, 9_000), (500, 1)]
        {
            let limits = CommitLimits { entries: count, bytes };
            let parts = split(all.clone(), limits);
            for part in &parts {
                let len: usize = part.iter().map(|batch| batch.len()).sum();
                let weight: usize = part.iter().map(|batch| batch.weight()).sum();
                assert!(len <= count && (weight <= bytes || len == 1), "{len} {weight} of {limits:?}");
                let spans = part.iter().all(|batch| batch.received() == Some((7, 7)));
                assert!(spans && part.iter().all(|batch| batch.records().num_rows() == batch.len()));
            }
            assert_eq!(entries(&parts.concat()), entries(&all), "{limits:?}");
            let weight = |batches: &[Arc<Batch>]| batches.iter().map(|batch| batch.weight()).sum::<usize>();
            assert_eq!(weight(&parts.concat()), weight(&all), "{limits:?}");
            let unparsed = |batches: &[Arc<Batch>]| batches.iter().map(|batch| batch.unparsed()).sum::<usize>();
            assert_eq!(unparsed(&parts.concat()), unparsed(&all), "{limits:?}");
        }
        assert!(split(Vec::new(), CommitLimits::NONE).is_empty());
        assert_eq!(split(all, CommitLimits::NONE).len(), 1);
    }
}
