//! Whether a row group's word filter hides something that is there.

use datafusion::arrow::array::RecordBatch;

use super::{
    filter::WordFilter,
    needed::{Recent, needed},
};
use crate::{error::StoreError, query::words::Rules};

/// Whether the filter lacks something that the rows' texts need.
pub fn hides(filter: &WordFilter, rules: Rules, rows: &[RecordBatch]) -> Result<bool, StoreError> {
    let mut hides = false;
    needed(rows, rules, &mut Recent::new(1 << 13), |hash| hides |= !filter.holds(hash))?;
    Ok(hides)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{io::Write as _, sync::Arc};

    use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

    use super::*;
    use crate::{
        batch::BatchBuilder,
        embedded::{filter, needed::tests::naive, segment::Pread},
    };

    fn rows(from: usize) -> RecordBatch {
        let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
        let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
        for n in from..from + 20 {
            let event = format!(
                "{{\"user\":\"u {}\",\"ip\":\"10.0.0.{n}\",\"host\":\"\",\"x\":{},\"message\":\"Grüße an {n} de 10.1.2.{n}\"}}",
                n % 3,
                n / 2
            );
            builder.push_json(&framer, event.as_bytes()).unwrap();
        }
        builder.push_json(&framer, b"{\"user\":\"\",\"deep\":{\"er\":[\"a b\",\"c\"]}}").unwrap();
        builder.finish().unwrap().records().clone()
    }

    #[test]
    fn every_single_hash_is_asked_for() {
        // Parts of batches too: their lists don't begin at 0.
        let rows = [rows(0), rows(10).slice(3, 18)];
        let (mut checked, mut passed) = (0, 0);
        for rules in [Rules::Words, Rules::Addresses] {
            let all = naive(&rows, rules);
            let hides = |hashes: Vec<u64>| {
                let bytes = filter::encode(hashes).unwrap();
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                let place = (0, bytes.len() as u64);
                let filter = WordFilter::load(&Pread::open(file.path()).unwrap(), Rules::NEWEST, place).unwrap();
                hides(&filter, rules, &rows).unwrap()
            };
            assert!(!hides(all.iter().copied().collect()));
            for missing in &all {
                checked += 1;
                passed += usize::from(!hides(all.iter().copied().filter(|hash| hash != missing).collect()));
            }
        }
        // The filter itself says of one in 65,536 that it is there.
        assert!(checked > 150 && passed <= 1, "{passed} of {checked}");
    }
}
