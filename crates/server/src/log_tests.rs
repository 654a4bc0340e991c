use sceau_store::traits::BundleTag;

use super::*;
use crate::{
    prover,
    testing::{Failure, Fixture},
};

#[tokio::test]
async fn a_bundle_of_which_leaves_are_missing_is_not_gone_on_with() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    for _ in 0..3 {
        log.ingest(Bytes::from_static(b"{}"), &IngestRequest::default()).await.unwrap();
    }
    let head = *log.head().borrow();
    assert_eq!(restore_bundle(&*store, log.keys(), head).await.unwrap().count(), 3);
    store.fail(Failure::ShortTile);
    let refused = restore_bundle(&*store, log.keys(), head).await.unwrap_err().to_string();
    assert!(refused.contains("2 leaves of bundle 0"), "{refused}");
}

/// Adds an entry to a closed log as somebody would who can write the database but has no key.
async fn intrude(fixture: &Fixture, entries: usize, macs: Vec<BundleTag>) {
    let reader = Reader::open(&fixture.config).await.unwrap();
    let store = reader.store();
    let expected = store.head().await.unwrap();
    let mut tree = prover::restore(&**store, expected.size).await.unwrap();
    let mut builder = BatchBuilder::new(reader.deriver().clone());
    let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
    (0..entries).for_each(|_| builder.push_json(&framer, b"{\"user\":\"mallory\"}").unwrap());
    let batch = Arc::new(builder.finish().unwrap());
    let tiles = tree.append(batch.leaves());
    let commit = sceau_store::Commit {
        batches: vec![batch],
        head: tree.head(),
        tiles,
        macs,
        tags: Vec::new(),
        state: Vec::new(),
    };
    store.commit(expected, commit).await.unwrap();
    reader.close().await.unwrap();
}

#[tokio::test]
async fn what_somebody_added_without_a_key_is_never_signed() {
    let tag = |bundle, count| BundleTag { bundle, count, tag: [7; 32] };
    for (entries, macs) in [(1, vec![]), (1, vec![tag(0, 4)]), (253, vec![tag(0, 256)]), (600, vec![tag(1, 256)])] {
        let fixture = Fixture::new().await;
        let log = fixture.log().await;
        for _ in 0..3 {
            log.ingest(Bytes::from_static(b"{}"), &IngestRequest::default()).await.unwrap();
        }
        log.close().await.unwrap();
        drop(log);
        fixture.log().await.close().await.unwrap();
        intrude(&fixture, entries, macs).await;
        let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
        assert!(refused.contains("the entries 0 to") && refused.contains("MAC"), "{entries}: {refused}");
        let reader = Reader::open(&fixture.config).await.unwrap();
        let newest = reader.store().checkpoints(sceau_ledger::TreeSize(0), 10).await.unwrap();
        assert_eq!(newest.iter().map(|(size, _)| size.0).max(), Some(3), "{entries}");
    }
}

#[tokio::test]
async fn what_the_note_of_the_head_does_not_cover_is_checked_by_its_macs() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    log.ingest(Bytes::from("line\n".repeat(700)), &IngestRequest { format: crate::Format::Text, ..Default::default() })
        .await
        .unwrap();
    log.close().await.unwrap();
    drop(log);
    // As after a power loss: the note was never written to the disk.
    std::fs::write(fixture.config.key_dir.join(crate::keydir::HEADS), [0; 1024]).unwrap();
    fixture.log().await.close().await.unwrap();
}
