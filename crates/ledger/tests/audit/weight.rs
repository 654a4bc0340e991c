//! Everything that is stored was made to fit a changed entry, but for one signed head: whose word counts.

use sceau_ledger::*;

use super::store::*;

const SIZE: u64 = 600;
const CHANGED: usize = 250;

/// The entry, its prefix, tiles, MACs, head and checkpoints, as whoever holds log key and MAC key makes them. The seals
/// are the true ones.
fn rewritten() -> (Store, Vec<Head>) {
    let mut store = store(SIZE);
    store.forge(CHANGED);
    store.forge_tiles();
    let leaves: Vec<LeafHash> = store.entries.iter().flatten().map(|entry| leaf_hash(entry)).collect();
    let mut tree = Tree::new();
    let mut heads = vec![tree.head()];
    for leaf in &leaves {
        tree.append(&[*leaf]);
        heads.push(tree.head());
    }
    let macs = leaves.chunks(256).zip(0..).map(|(leaves, bundle)| {
        let mut mac = BundleMac::start(&mac_key(), bundle);
        leaves.iter().for_each(|leaf| mac.push(*leaf));
        (bundle, mac.count(), mac.tag())
    });
    store.macs = macs.collect();
    store.checkpoints = (0..=SIZE).step_by(40).map(|at| sign_checkpoint(&log_key(), &heads[at as usize])).collect();
    store.head = *heads.last().unwrap();
    store.outside.clear();
    (store, heads)
}

fn named(store: &Store) -> Vec<(FaultKind, Option<u64>, Option<u64>)> {
    store.audit().faults.iter().map(|fault| (fault.kind, fault.first, fault.last)).collect()
}

#[test]
fn seals_count_more_than_the_log_key() {
    let (mut store, _) = rewritten();
    for pin in [true, false] {
        store.pin = pin;
        assert_eq!(named(&store), [(FaultKind::Seal, Some(200), Some(599))], "{}", store.audit());
        assert_eq!(store.audit().sealed.up_to, Some(199));
    }
}

#[test]
fn outside_heads_count_more_than_a_chain_that_nobody_pinned() {
    let (mut store, heads) = rewritten();
    store.seals = seals(&[100, 200, 300, 400, 500, 600], &heads);
    store.pin = false;
    assert_eq!(named(&store), []);
    let outside = |size: u64| vec![sign_checkpoint(&log_key(), &super::store::heads(SIZE)[size as usize])];
    // A checkpoint of the true log where a seal of the thief's ends, where none does, and before the change.
    for (size, wanted) in [(300, Some(299)), (510, Some(509)), (240, None)] {
        store.outside = outside(size);
        let wanted: Vec<_> = wanted.map(|last| (FaultKind::OutsideHead, Some(0), Some(last))).into_iter().collect();
        assert_eq!(named(&store), wanted, "{size}: {}", store.audit());
    }
    // Against the pinned chain it is one word against another.
    store.pin = true;
    store.outside = outside(300);
    assert_eq!(named(&store), [(FaultKind::OutsideHead, None, None)], "{}", store.audit());
}

#[test]
fn where_checkpoints_alone_say_where_a_change_begins_it_is_said() {
    let mut store = store(SIZE);
    let (_, heads) = rewritten();
    store.forge(CHANGED);
    (store.tiles, store.macs, store.mac_key) = (Vec::new(), Vec::new(), false);
    store.head = *heads.last().unwrap();
    let verdict = store.audit();
    let root =
        verdict.faults.iter().find(|fault| fault.kind == FaultKind::EntryChanged || fault.kind == FaultKind::Root);
    assert!(root.is_some_and(|fault| fault.first == Some(240)), "{verdict}");
    let detail = verdict.to_string();
    assert!(detail.contains("under the log key alone; the last seal or outside head that does: 200"), "{verdict}");
}
