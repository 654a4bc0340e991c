#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};

use super::*;
use crate::{
    batch::BatchBuilder,
    embedded::{
        db::SegmentRow,
        segment::{DIRECTORY, Rows},
        tail, write,
    },
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

/// A file whose footer is whole and whose pages are not.
fn garbled(dir: &std::path::Path) -> Segment {
    let segment = segment(dir, &["a text"]);
    let path = dir.join(DIRECTORY).join(&segment.row.file);
    let mut bytes = std::fs::read(&path).unwrap();
    let footer = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[footer..footer + 4].try_into().unwrap());
    bytes[4..footer - length as usize].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    Segment::open(dir, segment.row.clone()).unwrap()
}

#[test]
fn whatever_reads_a_garbled_segment_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let segment = Arc::new(garbled(dir.path()));
    let columns = [schema::INDEX, schema::ENTRY];
    let all = |rows: Result<Rows<'_>, StoreError>| rows.and_then(Iterator::collect::<Result<Vec<_>, _>>).unwrap_err();
    let filter = Filter::Not(Box::new(Filter::Text(Phrase::new("absent", false).unwrap())));
    let plan = Plan::new(&Query { filter, from: None, to: None, internal: true });
    let block = Block::Group { segment: segment.clone(), group: 0, first: 0 };
    let (stop, _cancel) = Stop::after(Duration::from_secs(600));
    let accept = || -> Accept { Box::new(|rows| Ok(BooleanArray::from(vec![true; rows.num_rows()]))) };
    for (what, error) in [
        ("rows", all(segment.read(0, &columns, None, None))),
        ("rows that are filtered", all(segment.read(0, &columns, Some((&[schema::TIME], accept())), None))),
        ("rows by pages", all(segment.pages(0, &columns))),
        ("all rows", segment.rows(0, &columns).unwrap_err()),
        ("some rows", segment.entries_at(0, [3, 7].into_iter()).unwrap_err()),
        ("a search", plan.read(&block, &[schema::INDEX], &stop, |_| Ok(())).unwrap_err()),
    ] {
        let StoreError::Unusable { path, .. } = &error else { panic!("{what}: {error}") };
        assert!(path.ends_with(&segment.row.file), "{what}: {error}");
    }
}

#[test]
fn what_a_filter_says_is_no_fault_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let segment = segment(dir.path(), &["a text"]);
    let accept: Accept = Box::new(|_| Err(ArrowError::ExternalError(Box::new(StoreError::Timeout(7)))));
    let error = segment.read(0, &[schema::INDEX], Some((&[schema::TIME], accept)), None).unwrap_err();
    assert!(matches!(error, StoreError::Timeout(7)), "{error}");
}
