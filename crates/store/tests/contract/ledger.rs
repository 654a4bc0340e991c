//! The sealed log.

use std::sync::Arc;

use sceau_event::Framer;
use sceau_ledger::{Head, Index, LeafHash, Tree, TreeSize, leaf_hash};
use sceau_store::{CommitError, Expect, Ledger as _, SealText, State as _, Store, StoreError};
use serde_json::json;

use super::{
    Home, deriver, events, reopen,
    state::put,
    writer::{Writer, batch, framer, lines},
};

pub async fn an_empty_log<H: Home>(home: &H) {
    let store = home.open().await;
    assert_eq!(store.head().await.unwrap(), Head::empty());
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, Vec::<Vec<u8>>::new());
    assert!(store.tile(0, 0, 1).await.is_err());
    assert_eq!(store.latest_checkpoint().await.unwrap(), None);
    assert_eq!(store.seals(0, 10).await.unwrap(), []);
    assert_eq!(store.fact("origin").await.unwrap(), None);
    let chunk = store.audit(Index(0)).await.unwrap();
    assert!(chunk.entries.is_empty() && chunk.faults.is_empty());
    let store = reopen(home, store).await;
    assert_eq!(store.head().await.unwrap(), Head::empty());
}

/// Lines and objects that a careless store would change.
fn odd_events() -> Vec<sceau_store::Batch> {
    let long = "x".repeat(60_000);
    let control: Vec<u8> = (1..32).filter(|byte| !b"\n\r".contains(byte)).collect();
    let odd: Vec<&[u8]> = vec![
        b" leading and trailing \t ",
        b"quote \" backslash \\ slash / \\u0041",
        "é € 𝄞 \u{2028} \u{feff} ßẞ İ e\u{301}".as_bytes(),
        b"not utf-8 \xff\xfe \xc3\x28",
        &control,
        long.as_bytes(),
        b"{\"looks\": \"like JSON\"}",
        b"$where: {$gt: 1}; '; DROP TABLE entries; --",
    ];
    let objects: [&[u8]; 4] = [
        br#"{"n":9007199254740993,"f":1.0,"e":1E400,"z":-0,"long":0.10000000000000000000000000001}"#,
        "{\"b\":1,\"a\":2,\"\":3,\"a.b\":4,\"$x\":5,\"_id\":6,\"é\":\"\\u00e9\\ud834\\udd1e\\/\"}".as_bytes(),
        br#"{}"#,
        br#"{"deep":{"er":[[],{},[1,[2,{"k":null}]],true]}, "spaced" : [ 1 , 2 ] }"#,
    ];
    let objects = batch(|builder| {
        for object in objects {
            builder.push_json(&framer("objects", -1), object).unwrap();
        }
    });
    vec![lines(&odd), objects, lines(&[])]
}

pub async fn entries_are_exact<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    writer.commit(&store, odd_events()).await.unwrap();
    writer.commit(&store, vec![lines(&[b"one more"])]).await.unwrap();
    assert_eq!(writer.entries.len(), 13);
    let check = async |store: &H::Store| {
        let all = store.entries(Index(0), 100).await.unwrap();
        assert_eq!((all.first, &all.entries), (Index(0), &writer.entries));
        for first in 0..writer.entries.len() {
            let some = store.entries(Index(first as u64), 3).await.unwrap();
            let last = writer.entries.len().min(first + 3);
            assert_eq!((some.first, &some.entries[..]), (Index(first as u64), &writer.entries[first..last]));
        }
        assert!(store.entries(Index(13), 3).await.unwrap().entries.is_empty());
        assert!(store.entries(Index(u64::MAX), 3).await.unwrap().entries.is_empty());
        assert_eq!(store.head().await.unwrap(), writer.head());
    };
    check(&store).await;
    let store = reopen(home, store).await;
    check(&store).await;
}

pub async fn a_stale_head_changes_nothing<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    let mut stale = writer.clone();
    writer.commit(&store, vec![lines(&[b"first"])]).await.unwrap();
    let state = vec![put("k", json!(1), Expect::Absent)];
    match stale.commit_with(&store, vec![lines(&[b"forked"])], state.clone()).await {
        Err(CommitError::HeadMoved { actual }) => assert_eq!(actual, writer.head()),
        other => panic!("{other:?}"),
    }
    // A head of the right size is not enough.
    let mut fork = Writer::new();
    fork.commit_of(vec![lines(&[b"forked"])], vec![]);
    assert!(matches!(
        fork.commit_with(&store, vec![lines(&[b"forked on"])], state).await,
        Err(CommitError::HeadMoved { .. })
    ));
    assert_eq!(store.get("c", "k", 0).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap(), writer.head());
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, writer.entries);
    writer.commit(&store, vec![lines(&[b"second"])]).await.unwrap();
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, writer.entries);
}

pub async fn a_state_conflict_changes_nothing<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    store.write(vec![put("taken", json!(1), Expect::Absent)]).await.unwrap();
    let state = vec![put("new", json!(2), Expect::Absent), put("taken", json!(2), Expect::Absent)];
    match writer.commit_with(&store, vec![lines(&[b"x"])], state).await {
        Err(CommitError::StateConflict { collection, key }) => assert_eq!((&*collection, &*key), ("c", "taken")),
        other => panic!("{other:?}"),
    }
    let store = reopen(home, store).await;
    assert_eq!(store.head().await.unwrap(), Head::empty());
    assert!(store.entries(Index(0), 1).await.unwrap().entries.is_empty());
    assert_eq!(store.get("c", "new", 0).await.unwrap(), None);
    assert_eq!(store.get("c", "taken", 0).await.unwrap().map(|d| d.value), Some(json!(1)));
}

pub async fn state_is_written_with_entries<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    let position = |number: u64, expect| vec![put("position", json!(number), expect)];
    writer.commit_with(&store, vec![lines(&[b"x"])], position(1, Expect::Absent)).await.unwrap();
    writer.commit_with(&store, vec![lines(&[b"y"])], position(2, Expect::Version(1))).await.unwrap();
    // State alone moves no head.
    writer.commit_with(&store, vec![], position(3, Expect::Version(2))).await.unwrap();
    let store = reopen(home, store).await;
    assert_eq!(store.get("c", "position", 0).await.unwrap().map(|d| (d.value, d.version)), Some((json!(3), 3)));
    assert_eq!(store.head().await.unwrap(), writer.head());
}

/// A log of so many small entries in commits of odd sizes.
pub async fn fill(store: &impl Store, writer: &mut Writer, count: usize) {
    let framer: Framer = framer("fill", 0);
    let mut sizes = [1, 255, 256, 257, 3, 500].into_iter().cycle();
    while writer.entries.len() < count {
        let from = writer.entries.len();
        let to = count.min(from + sizes.next().unwrap());
        let batch = batch(|builder| {
            (from..to).for_each(|n| builder.push_line(&framer, format!("entry {n}").as_bytes()).unwrap());
        });
        writer.commit(store, vec![batch]).await.unwrap();
    }
}

pub async fn tiles_are_those_of_the_tree<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    fill(&store, &mut writer, 1_500).await;
    home.settle(&store).await;
    let leaves: Vec<LeafHash> = writer.entries.iter().map(|entry| leaf_hash(entry)).collect();
    let bytes = |leaves: &[LeafHash]| leaves.iter().map(|leaf| leaf.0).collect::<Vec<_>>();
    for (n, tile) in leaves.chunks_exact(256).enumerate() {
        assert_eq!(store.tile(0, n as u64, 256).await.unwrap(), bytes(tile), "tile 0/{n}");
        assert_eq!(store.tile(0, n as u64, 7).await.unwrap(), bytes(&tile[..7]));
    }
    let partial = u16::try_from(1_500 % 256).unwrap();
    assert_eq!(store.tile(0, 5, partial).await.unwrap(), bytes(&leaves[1_280..]));
    assert!(store.tile(0, 5, partial + 1).await.is_err());
    let subtrees: Vec<[u8; 32]> = leaves
        .chunks_exact(256)
        .map(|subtree| {
            let mut tree = Tree::new();
            tree.append(subtree);
            tree.head().root.0
        })
        .collect();
    assert_eq!(store.tile(1, 0, 5).await.unwrap(), subtrees);
    assert_eq!(store.tile(1, 0, 2).await.unwrap(), subtrees[..2]);
    assert!(store.tile(1, 0, 6).await.is_err());
    assert!(store.tile(2, 0, 1).await.is_err());
    let stored = store.audit_tiles(1, 2, 2).await.unwrap();
    let stored: Vec<_> = stored.into_iter().map(|tile| (tile.level, tile.position, tile.hash)).collect();
    assert_eq!(stored, [(1, 2, subtrees[2]), (1, 3, subtrees[3])]);
    assert!(store.audit_tiles(1, 5, 10).await.unwrap().is_empty());
}

pub async fn what_the_auditor_sees<H: Home>(home: &H) {
    let store = home.open().await;
    let mut writer = Writer::new();
    fill(&store, &mut writer, 1_300).await;
    writer.commit(&store, events::batches(200, 5)).await.unwrap();
    home.settle(&store).await;
    let store = reopen(home, store).await;
    let deriver = deriver();
    let mut next = 0;
    loop {
        let chunk = store.audit(Index(next)).await.unwrap();
        assert_eq!((chunk.first, &chunk.faults[..]), (next, &[][..]));
        if chunk.entries.is_empty() {
            break;
        }
        assert!(chunk.entries.len() <= 65_536);
        assert_eq!(chunk.prefixes.len(), chunk.entries.len());
        let mut again = sceau_store::BatchBuilder::new(deriver.clone());
        for (entry, prefix) in chunk.entries.iter().zip(&chunk.prefixes) {
            let wanted = &writer.entries[usize::try_from(next).unwrap()];
            assert_eq!(entry.as_deref(), Some(&wanted[..]));
            assert_eq!(prefix.unwrap(), leaf_hash(wanted).0[..4]);
            again.push_entry(wanted).unwrap();
            next += 1;
        }
        if let Some((records, version)) = chunk.records {
            assert_eq!(version, deriver.version());
            let all = again.finish().unwrap();
            let mut row = 0;
            for part in &records {
                assert_eq!(*part, all.records().slice(row, part.num_rows()));
                row += part.num_rows();
            }
            assert_eq!(row, all.len());
        }
    }
    assert_eq!(next, 1_500);
    assert_eq!(store.audit_macs(0, 100).await.unwrap(), writer.all_tags());
    assert_eq!(store.audit_macs(3, 2).await.unwrap(), writer.all_tags()[3..5]);
}

pub async fn checkpoints_are_kept<H: Home>(home: &H) {
    let store = home.open().await;
    for size in [5, 3, 9] {
        store.put_checkpoint(TreeSize(size), &format!("note {size}\n")).await.unwrap();
    }
    store.put_checkpoint(TreeSize(5), "note 5\n").await.unwrap();
    let other = store.put_checkpoint(TreeSize(5), "another note 5\n").await;
    assert!(matches!(other, Err(StoreError::Exists(_))), "{other:?}");
    let store = reopen(home, store).await;
    assert_eq!(store.latest_checkpoint().await.unwrap().as_deref(), Some("note 9\n"));
    let note = |size: u64| (TreeSize(size), format!("note {size}\n"));
    assert_eq!(store.checkpoints(TreeSize(0), 10).await.unwrap(), [note(3), note(5), note(9)]);
    assert_eq!(store.checkpoints(TreeSize(4), 1).await.unwrap(), [note(5)]);
    for size in [10, 11, 14, 20] {
        store.put_checkpoint(TreeSize(size), &note(size).1).await.unwrap();
    }
    let thin = async |spans: &[(u64, u64)]| {
        let spans = spans.iter().map(|(above, to)| (TreeSize(*above), TreeSize(*to))).collect();
        store.thin_checkpoints(spans).await.unwrap()
    };
    assert_eq!(thin(&[(5, 8), (11, 13), (20, 30), (0, 0)]).await, 0);
    assert_eq!(thin(&[(0, 5), (5, 11), (11, 15)]).await, 3);
    assert_eq!(thin(&[(0, 5), (5, 11), (11, 15)]).await, 0);
    let store = reopen(home, store).await;
    let left = store.checkpoints(TreeSize(0), 10).await.unwrap();
    assert_eq!(left, [note(5), note(11), note(14), note(20)]);
}

pub async fn seals_are_kept<H: Home>(home: &H) {
    let store = home.open().await;
    let seal = |epoch, text: &str| SealText { epoch, text: text.into() };
    for epoch in [1, 0, 2] {
        store.put_seal(seal(epoch, &format!("seal {epoch}\n"))).await.unwrap();
    }
    // Whoever could not know whether it was kept asks again.
    store.put_seal(seal(1, "seal 1\n")).await.unwrap();
    let second = store.put_seal(seal(1, "another\n")).await;
    assert!(matches!(second, Err(StoreError::Exists(_))), "{second:?}");
    let store = reopen(home, store).await;
    let seals = async |from, limit| store.seals(from, limit).await.unwrap();
    assert_eq!(seals(0, 10).await, [seal(0, "seal 0\n"), seal(1, "seal 1\n"), seal(2, "seal 2\n")]);
    assert_eq!(seals(0, 2).await, [seal(0, "seal 0\n"), seal(1, "seal 1\n")]);
    assert_eq!(seals(2, 2).await, [seal(2, "seal 2\n")]);
    assert_eq!(seals(3, 2).await, []);
}

pub async fn facts_are_fixed<H: Home>(home: &H) {
    let store = home.open().await;
    store.fix_fact("origin", "example.org/log").await.unwrap();
    store.fix_fact("origin", "example.org/log").await.unwrap();
    let other = store.fix_fact("origin", "example.org/other").await;
    assert!(matches!(other, Err(StoreError::Exists(_))), "{other:?}");
    let store = reopen(home, store).await;
    assert_eq!(store.fact("origin").await.unwrap().as_deref(), Some("example.org/log"));
    assert_eq!(store.fact("writer").await.unwrap(), None);
}

pub async fn only_one_of_many_writers_wins<H: Home>(home: &H) {
    let store = Arc::new(home.open().await);
    let mut writer = Writer::new();
    for round in 0..5 {
        let mut rivals = tokio::task::JoinSet::new();
        for rival in 0..6 {
            let (store, mut writer) = (store.clone(), writer.clone());
            rivals.spawn(async move {
                let line = format!("round {round}, rival {rival}");
                match writer.commit(&*store, vec![lines(&[line.as_bytes()])]).await {
                    Ok(()) => Some(writer),
                    Err(CommitError::HeadMoved { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let mut winners: Vec<Writer> = rivals.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        writer = winners.remove(0);
    }
    assert_eq!(store.head().await.unwrap(), writer.head());
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, writer.entries);
}
