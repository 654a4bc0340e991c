#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

use super::*;
use crate::batch::BatchBuilder;

/// Chunks of rows, given the lengths of their lines.
fn chunks(lengths: &[Vec<usize>]) -> Vec<RecordBatch> {
    let framer = Framer::new(Micros(0), &SourceId::parse("test").unwrap(), &Meta::default());
    let mut first = 0;
    let mut chunk = |lengths: &Vec<usize>| {
        let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
        for length in lengths {
            builder.push_line(&framer, "x".repeat(*length).as_bytes()).unwrap();
        }
        let rows = tail::rows(first, &[Arc::new(builder.finish().unwrap())]).unwrap();
        first += lengths.len() as u64;
        rows
    };
    lengths.iter().map(&mut chunk).collect()
}

fn sizes(rows: &[RecordBatch], most: usize, heavy: usize) -> Vec<usize> {
    let groups = split(rows, most, heavy).unwrap();
    let flat: Vec<_> = groups.iter().flatten().cloned().collect();
    let whole = |rows: &[RecordBatch]| datafusion::arrow::compute::concat_batches(&schema::rows(), rows).unwrap();
    assert_eq!(whole(&flat), whole(rows), "rows are lost or out of order");
    groups.iter().map(|group| group.iter().map(RecordBatch::num_rows).sum()).collect()
}

#[test]
fn row_groups_end_by_rows_and_by_bytes_behind_whole_bundles() {
    let short = chunks(&[vec![1; 300], vec![1; 100], vec![1; 700]]);
    assert_eq!(sizes(&short, 512, usize::MAX), [512, 512, 76]);
    // Only what is heavy is cut early, wherever it stands.
    let uneven = chunks(&[vec![1; 300], vec![2_000; 500], vec![1; 900]]);
    assert_eq!(sizes(&uneven, 1024, 1 << 19), [512, 256, 932]);
    assert_eq!(sizes(&uneven, 1024, 1 << 20), [768, 932]);
    assert_eq!(sizes(&uneven, 1024, 1), [256, 256, 256, 256, 256, 256, 164]);
}
