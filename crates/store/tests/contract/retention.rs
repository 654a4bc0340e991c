//! Deleting the oldest entries: what they leave behind, and what goes on as before.

use std::sync::Arc;

use sceau_ledger::{Head, Index, LeafHash, TreeSize, leaf_hash};
use sceau_store::{
    Ledger as _, Moved, MovedLeaves, SealText, Search as _, Store, StoreError,
    query::{Order, Page},
};

use super::{
    Home,
    events::{LIMIT, everything},
    ledger::fill,
    reopen,
    writer::{Writer, lines},
};

fn size(index: u64) -> usize {
    usize::try_from(index).unwrap()
}

/// A log of 1,700 entries of which the older ones are where the backend keeps them.
async fn settled<H: Home>(home: &H) -> (H::Store, Writer) {
    let store = home.open().await;
    let mut writer = Writer::new();
    fill(&store, &mut writer, 1_700).await;
    home.settle(&store).await;
    (store, writer)
}

/// Everything that a log must say whose entries below `kept` are deleted.
pub async fn check(store: &impl Store, writer: &Writer, kept: u64) {
    let all = &writer.entries;
    assert_eq!(store.kept_from().await.unwrap(), Index(kept));
    assert_eq!(store.head().await.unwrap(), writer.head());
    for gone in [0, kept / 2, kept.saturating_sub(1)].into_iter().filter(|gone| *gone < kept) {
        match store.entries(Index(gone), 3).await {
            Err(StoreError::Expired { index, first }) => assert_eq!((index, first), (gone, kept)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.entries(Index(kept), 10_000).await.unwrap().entries, all[size(kept)..]);
    for (n, bundle) in all.chunks(256).enumerate() {
        let leaves: Vec<[u8; 32]> = bundle.iter().map(|entry| leaf_hash(entry).0).collect();
        let width = u16::try_from(leaves.len()).unwrap();
        assert_eq!(store.tile(0, n as u64, width).await.unwrap(), leaves, "tile 0/{n}");
        assert_eq!(store.tile(0, n as u64, 1).await.unwrap(), leaves[..1]);
    }
    let found = store.count(&everything(), LIMIT).await.unwrap();
    assert_eq!(found.entries, all.len() as u64 - kept);
    let page = Page { order: Order::Oldest, limit: 1, after: None };
    let oldest = store.search(&everything(), &page, LIMIT).await.unwrap();
    assert_eq!(oldest.hits.first().map(|hit| hit.index), (kept < all.len() as u64).then_some(Index(kept)));
    assert!(store.stretches().await.unwrap().iter().all(|stretch| stretch.first >= kept && stretch.count > 0));
    audited(store, writer, kept).await;
}

/// What the auditor sees: leaves where entries are gone, then entries, without a gap.
async fn audited(store: &impl Store, writer: &Writer, kept: u64) {
    let mut next = 0;
    loop {
        let chunk = store.audit(Index(next)).await.unwrap();
        assert_eq!((chunk.first, &chunk.faults[..]), (next, &[][..]));
        assert!(chunk.entries.is_empty() || chunk.pruned.is_empty());
        if chunk.is_empty() {
            break;
        }
        let end = next + chunk.len() as u64;
        let wanted = &writer.entries[size(next)..size(end)];
        if chunk.entries.is_empty() {
            assert!(end <= kept && chunk.len() <= 65_536);
            let leaves: Vec<LeafHash> = wanted.iter().map(|entry| leaf_hash(entry)).collect();
            assert_eq!(chunk.pruned, leaves);
        } else {
            assert!(next >= kept);
            assert!(chunk.entries.iter().map(Option::as_deref).eq(wanted.iter().map(|entry| Some(&entry[..]))));
        }
        next = end;
    }
    assert_eq!(next, writer.entries.len() as u64);
    assert_eq!(store.audit_macs(0, 1_000).await.unwrap(), writer.all_tags());
}

pub async fn deleted_entries_leave_their_leaves<H: Home>(home: &H) {
    let (store, mut writer) = settled(home).await;
    check(&store, &writer, 0).await;
    let stretches = store.stretches().await.unwrap();
    let mut next = 0;
    for stretch in &stretches {
        assert_eq!((stretch.first, stretch.first % 256, stretch.count % 256), (next, 0, 0));
        assert!(stretch.bytes > 0);
        next = stretch.end();
    }
    assert!(next <= 1_700);
    // Nothing ends there yet.
    assert_eq!(store.prune(Index(255)).await.unwrap(), Index(0));
    let Some(first) = stretches.first() else { return };
    assert_eq!(store.prune(Index(first.end() - 1)).await.unwrap(), Index(0));
    check(&store, &writer, 0).await;
    assert_eq!(store.prune(Index(first.end() + 1)).await.unwrap(), Index(first.end()));
    check(&store, &writer, first.end()).await;
    // Again: nothing is left to do.
    assert_eq!(store.prune(Index(first.end())).await.unwrap(), Index(first.end()));
    let store = reopen(home, store).await;
    check(&store, &writer, first.end()).await;
    writer.commit(&store, vec![lines(&[b"one more"])]).await.unwrap();
    check(&store, &writer, first.end()).await;
    store.rebuild(super::deriver(), &|_, _| ()).await.unwrap();
    check(&store, &writer, first.end()).await;
}

pub async fn everything_old_can_go_and_the_log_goes_on<H: Home>(home: &H) {
    let (mut store, mut writer) = settled(home).await;
    for round in 1..4 {
        let end = store.stretches().await.unwrap().last().map(sceau_store::traits::Stretch::end);
        let kept = store.kept_from().await.unwrap();
        let end = end.map_or(kept, Index);
        assert_eq!(store.prune(Index(u64::MAX)).await.unwrap(), end);
        check(&store, &writer, end.0).await;
        store = reopen(home, store).await;
        check(&store, &writer, end.0).await;
        fill(&store, &mut writer, 1_700 + round * 1_024).await;
        home.settle(&store).await;
        check(&store, &writer, end.0).await;
    }
}

pub async fn readers_are_not_disturbed<H: Home>(home: &H) {
    let (store, writer) = settled(home).await;
    let store = Arc::new(store);
    let mut readers = tokio::task::JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..3 {
        let (store, entries, stopped) = (store.clone(), writer.entries.clone(), stopped.clone());
        readers.spawn(async move {
            let mut rounds = 0;
            while !*stopped.borrow() || rounds == 0 {
                let page = Page { order: Order::Oldest, limit: 1_000, after: None };
                let found = store.search(&everything(), &page, LIMIT).await.unwrap();
                for hit in found.hits {
                    assert_eq!(hit.entry, entries[size(hit.index.0)]);
                }
                match store.entries(Index(0), 2_000).await {
                    Ok(rows) => assert_eq!(rows.entries, entries),
                    Err(StoreError::Expired { index: 0, first }) => assert!(first > 0),
                    Err(other) => panic!("{other}"),
                }
                assert_eq!(store.tile(0, 0, 1).await.unwrap(), [leaf_hash(&entries[0]).0]);
                rounds += 1;
            }
        });
    }
    for stretch in store.stretches().await.unwrap() {
        assert_eq!(store.prune(Index(stretch.end())).await.unwrap(), Index(stretch.end()));
    }
    stop.send(true).unwrap();
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

/// A log that moved here after retention had deleted its beginning elsewhere.
pub async fn what_moved_is_as_if_it_had_been_deleted_here<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    let texts: Vec<String> = (0..768).map(|n| format!("gone {n}")).collect();
    let gone = lines(&texts.iter().map(String::as_bytes).collect::<Vec<_>>());
    let leaves = gone.leaves().to_vec();
    let commit = writer.commit_of(vec![gone], vec![]);
    let moved = |expected, leaves: &[LeafHash]| {
        let (head, tiles, macs) = (commit.head, commit.tiles.clone(), commit.macs.clone());
        Moved::Leaves(MovedLeaves { expected, head, leaves: leaves.to_vec(), tiles, macs })
    };
    store.adopt(moved(Head::empty(), &leaves[..700])).await.unwrap_err();
    store.adopt(moved(Head::empty(), &leaves)).await.unwrap();
    check(&store, &writer, 768).await;
    store.adopt(moved(Head::empty(), &leaves)).await.unwrap_err();
    assert_eq!(store.audit_macs(0, 9).await.unwrap(), writer.all_tags());
    fill(&store, &mut writer, 1_700).await;
    store.adopt(moved(writer.head(), &leaves)).await.unwrap_err();
    let seals: Vec<SealText> = (0..3).map(|epoch| SealText { epoch, text: format!("seal {epoch}") }).collect();
    let notes: Vec<_> = (1..4).map(|size| (TreeSize(size), format!("note {size}"))).collect();
    store.adopt(Moved::Seals(seals.clone())).await.unwrap();
    store.adopt(Moved::Checkpoints(notes.clone())).await.unwrap();
    let other = SealText { epoch: 1, text: "another".into() };
    store.adopt(Moved::Seals(vec![other])).await.unwrap_err();
    home.settle(&store).await;
    let store = reopen(home, store).await;
    check(&store, &writer, 768).await;
    assert_eq!(store.seals(0, 9).await.unwrap(), seals);
    assert_eq!(store.checkpoints(TreeSize(0), 9).await.unwrap(), notes);
}
