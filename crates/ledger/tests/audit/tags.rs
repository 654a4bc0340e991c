//! A store that keeps the MAC of each entry beside it: which of them are missing or wrong is told entry by entry.

use sceau_ledger::*;

use super::store::*;

const SIZE: u64 = 600;

/// A store with a MAC beside each entry; only that, and no stored prefix, where `prefixes` is false.
#[derive(Clone)]
struct Tagged {
    store: Store,
    tags: Vec<Option<[u8; 32]>>,
}

fn tagged() -> Tagged {
    let store = store(SIZE);
    let tags = (0..).map(Index).zip(store.entries.iter().flatten());
    let tags = tags.map(|(index, entry)| Some(entry_mac(&mac_key(), index, leaf_hash(entry)))).collect();
    Tagged { store, tags }
}

impl Tagged {
    fn audit(&self) -> Verdict {
        self.audit_with(self.store.input())
    }

    fn audit_with(&self, input: AuditInput) -> Verdict {
        let mut auditor = Auditor::new(input);
        self.store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
        self.store.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
        self.store.side(&mut auditor);
        self.feed(&mut auditor, 0);
        auditor.finish()
    }

    fn feed(&self, auditor: &mut Auditor, first: usize) {
        for (n, bytes) in self.store.entries.iter().enumerate().skip(first) {
            let (prefix, received) = (self.store.prefixes.get(n).copied(), self.store.received.get(n).copied());
            auditor.tagged_entry(Index(n as u64), bytes.as_deref(), prefix, received, self.tags[n]);
        }
    }

    fn named(&self) -> Vec<(FaultKind, Option<u64>, Option<u64>)> {
        self.audit().faults.iter().map(|fault| (fault.kind, fault.first, fault.last)).collect()
    }

    /// Nothing that was signed, so that MACs and tiles are all there is.
    fn unsigned(mut self) -> Self {
        (self.store.checkpoints, self.store.seals, self.store.outside) = (Vec::new(), Vec::new(), Vec::new());
        self.store.current = 0;
        self
    }
}

fn at(kind: FaultKind, index: usize) -> (FaultKind, Option<u64>, Option<u64>) {
    (kind, Some(index as u64), Some(index as u64))
}

/// In a full bundle, at its edges, and in the unfinished one.
const PLACES: [usize; 6] = [0, 100, 255, 256, 511, 590];

#[test]
fn an_untouched_log_holds() {
    let verdict = tagged().audit();
    assert!(verdict.ok() && verdict.consistent, "{verdict}");
    assert_eq!(verdict.macs.up_to, Some(SIZE - 1));
}

#[test]
fn a_wrong_or_missing_mac_beside_a_right_entry_is_named() {
    for log in [tagged(), tagged().unsigned()] {
        for (n, tag) in PLACES.into_iter().flat_map(|n| [(n, None), (n, Some([7; 32]))]) {
            let mut log = log.clone();
            log.tags[n] = tag;
            let verdict = log.audit();
            assert_eq!(log.named(), [at(FaultKind::Mac, n)], "{verdict}");
            assert!(verdict.consistent && verdict.to_string().contains("the entry is right"), "{verdict}");
            assert_eq!(verdict.macs.up_to, (n as u64).checked_sub(1), "only what was checked counts");
        }
    }
}

#[test]
fn a_mac_of_another_entry_is_found() {
    let mut log = tagged();
    log.tags[300] = log.tags[301];
    log.tags[10] = log.tags[555];
    assert_eq!(log.named(), [at(FaultKind::Mac, 10), at(FaultKind::Mac, 300)], "{}", log.audit());
}

#[test]
fn an_entry_changed_with_everything_that_needs_no_key_is_named_exactly() {
    for log in [tagged(), tagged().unsigned()] {
        for n in PLACES {
            let mut log = log.clone();
            log.store.forge(n);
            assert_eq!(log.named(), [at(FaultKind::EntryChanged, n)], "{}", log.audit());
            // Likewise if it got the MAC of another one, or lost its own.
            for tag in [log.tags[n ^ 1], None] {
                log.tags[n] = tag;
                assert_eq!(log.named(), [at(FaultKind::EntryChanged, n)], "{}", log.audit());
            }
        }
    }
}

#[test]
fn exchanged_entries_are_both_named() {
    let mut log = tagged();
    log.store.entries.swap(40, 300);
    log.store.prefixes.swap(40, 300);
    log.tags.swap(40, 300);
    assert_eq!(log.named(), [at(FaultKind::EntryChanged, 40), at(FaultKind::EntryChanged, 300)], "{}", log.audit());
}

#[test]
fn neighbours_are_named_together() {
    let mut log = tagged();
    log.tags.iter_mut().for_each(|tag| *tag = None);
    assert_eq!(log.named(), [(FaultKind::Mac, Some(0), Some(SIZE - 1))], "{}", log.audit());
    // Another entry put in, and all behind it renumbered.
    let mut log = tagged();
    log.store.entries.splice(270..270, [Some(b"forged".to_vec())]).for_each(drop);
    log.store.prefixes.splice(270..270, [leaf_hash(b"forged").0[..4].try_into().unwrap()]).for_each(drop);
    log.tags.insert(270, log.tags[3]);
    (log.store.head.size.0, log.store.received) = (SIZE, Vec::new());
    let named = log.named();
    assert_eq!(named[0], (FaultKind::EntryChanged, Some(270), Some(SIZE - 1)), "{}", log.audit());
    assert_eq!(named.last(), Some(&at(FaultKind::EntryExtra, SIZE as usize)), "{}", log.audit());
}

#[test]
fn in_a_changed_bundle_an_entry_with_its_right_mac_is_right() {
    let mut log = tagged();
    log.store.forge(20);
    log.store.prefixes[30] = [0; 4];
    assert_eq!(log.named(), [at(FaultKind::EntryChanged, 20), at(FaultKind::Prefix, 30)], "{}", log.audit());
}

#[test]
fn right_macs_of_all_entries_outweigh_tile_and_bundle() {
    let mut log = tagged().unsigned();
    log.store.macs[0].2 = [9; 32];
    log.store.tiles[0].hash = [9; 32];
    let whole = |kind| (kind, Some(0), Some(255));
    let named = log.named();
    assert_eq!(named, [whole(FaultKind::Mac), whole(FaultKind::Tile)], "{}", log.audit());
    // One that is missing: then the two against it count, until the head says that no such entry leads to it.
    log.tags[77] = None;
    let root = (FaultKind::Root, Some(0), Some(SIZE - 1));
    assert_eq!(log.named(), [root, at(FaultKind::EntryChanged, 77)], "{}", log.audit());
}

#[test]
fn without_the_key_nothing_is_said_of_them() {
    let mut log = tagged();
    log.store.mac_key = false;
    log.tags[5] = None;
    let verdict = log.audit();
    assert!(verdict.ok() && verdict.macs.up_to.is_none() && verdict.macs.unproven.is_some(), "{verdict}");
    // The key of the first bundle was lost.
    let input = || AuditInput { mac_keys: Some(MacKeys::new(1, mac_key())), ..log.store.input() };
    assert!(log.audit_with(input()).ok(), "{}", log.audit_with(input()));
    log.tags[256] = None;
    let verdict = log.audit_with(input());
    assert_eq!(verdict.faults.iter().map(|fault| fault.first).collect::<Vec<_>>(), [Some(256)], "{verdict}");
}

#[test]
fn macs_under_a_lost_key_in_the_bundle_that_its_successor_begins_are_not_judged() {
    let lost_at = 530;
    let mut log = tagged();
    let new = MacKey::from_bytes([6; 32]);
    let mut mac = BundleMac::start(&new, 2);
    for n in 512..SIZE {
        let leaf = leaf_hash(log.store.entries[n as usize].as_deref().unwrap());
        mac.push(leaf);
        if n >= lost_at {
            log.tags[n as usize] = Some(entry_mac(&new, Index(n), leaf));
        }
    }
    log.store.macs[2] = (2, mac.count(), mac.tag());
    let change = KeyChange {
        origin: ORIGIN.into(),
        index: lost_at,
        lost: vec![Lost::Mac],
        log: None,
        mac: Some(MacChange { old: None, new: new.commitment(), bundle: 2 }),
        chain: None,
    };
    let signed = change.sign(None, &[Signer::Log(&log_key())]).unwrap();
    let input = |log: &Tagged| {
        let mut input = log.store.input();
        input.history.add(signed.text().as_bytes()).unwrap();
        input.mac_keys = Some(MacKeys::new(2, new.clone()));
        input
    };
    let verdict = log.audit_with(input(&log));
    assert!(verdict.ok(), "{verdict}");
    log.tags[lost_at as usize] = log.tags[lost_at as usize + 1];
    let verdict = log.audit_with(input(&log));
    assert_eq!(verdict.faults.iter().map(|fault| fault.first).collect::<Vec<_>>(), [Some(lost_at)], "{verdict}");
}

#[test]
fn an_audit_goes_on_within_a_bundle() {
    let log = tagged().unsigned();
    let half = store(300);
    let mut auditor = Auditor::new(AuditInput { current_epoch: None, outside: Vec::new(), ..half.input() });
    half.side(&mut auditor);
    for n in 0..300 {
        let entry = log.store.entries[n].as_deref();
        auditor.tagged_entry(Index(n as u64), entry, Some(log.store.prefixes[n]), None, log.tags[n]);
    }
    let (verdict, checked) = auditor.finish_checked();
    assert!(verdict.ok(), "{verdict}");
    let mut rest = log.clone();
    (rest.store.tiles, rest.store.macs) = (rest.store.tiles.split_off(1), rest.store.macs.split_off(1));
    // All 256 MACs of the bundle hold, those before and those after: it is the tile that is wrong.
    rest.store.tiles[0].hash = [9; 32];
    rest.store.macs[0].2 = [9; 32];
    let mut auditor = Auditor::resume(rest.store.input(), checked.unwrap());
    rest.store.side(&mut auditor);
    rest.feed(&mut auditor, 300);
    let kinds: Vec<_> = auditor.finish().faults.iter().map(|fault| (fault.kind, fault.first)).collect();
    assert_eq!(kinds, [(FaultKind::Mac, Some(256)), (FaultKind::Tile, Some(256))]);
}
