#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

use super::*;
use crate::{
    batch::BatchBuilder,
    embedded::{db::SegmentRow, segment::DIRECTORY, tail, write},
    query::{Filter, words::Phrase},
};

/// A segment with a row group for each text.
fn segment(dir: &std::path::Path, texts: &[&str]) -> Segment {
    const ROWS: usize = 256;
    let framer = Framer::new(Micros(0), &SourceId::parse("test").unwrap(), &Meta::default());
    let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
    for text in texts {
        (0..ROWS).for_each(|_| builder.push_line(&framer, text.as_bytes()).unwrap());
    }
    let rows = tail::rows(0, &[Arc::new(builder.finish().unwrap())]).unwrap();
    std::fs::create_dir(dir.join(DIRECTORY)).unwrap();
    let row = SegmentRow { first: 0, count: rows.num_rows() as u64, file: "seg-0.parquet".into() };
    write::write_segment(dir, &row.file, 0, "", &[rows], ROWS).unwrap();
    Segment::open(dir, row).unwrap()
}

#[test]
fn an_address_is_told_from_others_with_the_same_parts() {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["from 192.0.2.7 to 10.0.99.1, 2001:db8::2 a1", "host-192-0-2-99 asks", "by 2001:DB8::a1"];
    let segment = segment(dir.path(), &texts);
    for (asked, wanted) in [
        ("192.0.2.99", [false, true, false]),
        ("192.0.2.7", [true, false, false]),
        ("2001:db8::a1", [false, false, true]),
        ("192", [true, true, false]),
        ("absent", [false, false, false]),
    ] {
        let filter = Filter::Text(Phrase::new(asked, false).unwrap());
        let plan = Plan::new(&Query { filter, from: None, to: None, internal: true });
        let found: Vec<bool> = (0..texts.len()).map(|group| plan.may_match(&segment, group)).collect();
        assert_eq!(found, wanted, "{asked}");
    }
}
