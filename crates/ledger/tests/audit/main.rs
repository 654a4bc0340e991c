//! The auditor against a log in which everything is changed, one thing at a time and several together.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod resume;
mod store;
mod tags;
mod weight;
mod writers;

use FaultKind as K;
use common::{Memory, entry};
use sceau_ledger::*;
use store::*;

fn only(verdict: &Verdict) -> &Fault {
    assert_eq!(verdict.faults.len(), 1, "{verdict}");
    &verdict.faults[0]
}

fn kinds(verdict: &Verdict) -> Vec<K> {
    verdict.faults.iter().map(|fault| fault.kind).collect()
}

#[test]
fn an_untouched_log_says_how_far_each_guard_reaches() {
    let store = store(650);
    for verdict in [store.audit(), store.audit_late()] {
        assert!(verdict.ok() && verdict.consistent, "{verdict}");
        assert_eq!(verdict.root, Some(store.head.root));
        assert_eq!((verdict.entries, verdict.checkpoints, verdict.seals), (650, 17, 6));
        assert_eq!((verdict.macs.up_to, verdict.macs.younger), (Some(649), 0));
        assert_eq!((verdict.sealed.up_to, verdict.sealed.younger), (Some(599), 50));
        assert_eq!((verdict.anchored.up_to, verdict.anchored.younger), (Some(324), 325));
        let text = verdict.to_string();
        let pinned = format!("sealed to entry 599 under pinned key {}; 50 younger", epoch_key(0).public());
        for part in
            ["consistent: all 650", "MACs hold to entry 649", &pinned, "anchored to entry 324 by the checkpoint"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("Unproven"), "{text}");
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["sealed"]["up_to"], 599);
    }
}

#[test]
fn what_was_not_given_is_unproven() {
    let mut store = store(650);
    (store.pin, store.mac_key, store.outside) = (false, false, Vec::new());
    let verdict = store.audit();
    assert!(verdict.ok(), "{verdict}");
    assert_eq!(verdict.sealed.up_to, Some(599));
    assert!(
        verdict.sealed.unproven.is_some() && verdict.macs.unproven.is_some() && verdict.anchored.unproven.is_some()
    );
    let text = verdict.to_string();
    assert_eq!(text.matches("Unproven").count(), 3, "{text}");
    assert!(text.contains("unpinned key"), "{text}");
}

#[test]
fn an_empty_log_works() {
    let mut empty = store(0);
    for verdict in [empty.audit(), empty.audit_late()] {
        assert!(verdict.ok() && verdict.consistent, "{verdict}");
        assert_eq!((verdict.macs.up_to, verdict.sealed.up_to, verdict.anchored.up_to), (None, None, None));
    }
    empty.seals = seals(&[0, 0, 0], &heads(0));
    empty.current = 3;
    assert_eq!(empty.audit().seals, 3);
    empty.outside = store(10).outside;
    assert_eq!(only(&empty.audit()).kind, K::Rollback);
}

/// With or without the MAC key, with tiles early or late, every single changed entry is named.
#[test]
fn every_changed_entry_is_named_exactly_by_its_prefix() {
    let original = store(600);
    for n in 0..600 {
        let mut store = original.clone();
        store.mac_key = n % 2 == 0;
        let bytes = store.entries[n].as_mut().unwrap();
        let at = n % bytes.len();
        bytes[at] ^= 1 << (n % 8);
        let verdict = store.audit();
        let fault = only(&verdict);
        let named = (K::EntryChanged, Some(n as u64), Some(n as u64));
        assert_eq!((fault.kind, fault.first, fault.last), named, "{verdict}");
        assert!(!verdict.consistent);
        if n % 5 == 0 {
            let late = store.audit_late();
            let first = &late.faults[0];
            assert_eq!((first.kind, first.first, first.last), named, "{late}");
        }
    }
}

#[test]
fn what_lies_behind_a_change_is_still_checked() {
    let mut store = store(600);
    store.entries[3] = Some(b"x".to_vec());
    let verdict = store.audit();
    assert_eq!(verdict.sealed.up_to, Some(599), "the stored tile hash stands in for the changed bundle: {verdict}");
    store.entries[530] = Some(b"y".to_vec());
    store.entries[270] = Some(b"z".to_vec());
    let verdict = store.audit();
    let named: Vec<_> = verdict.faults.iter().map(|fault| (fault.kind, fault.first)).collect();
    assert_eq!(named, [(K::EntryChanged, Some(3)), (K::EntryChanged, Some(270)), (K::EntryChanged, Some(530))]);
}

#[test]
fn a_changed_entry_with_a_forged_prefix_is_narrowed_down() {
    for (n, mac_key) in (0..600).step_by(7).flat_map(|n| [(n, true), (n, false)]) {
        let mut store = store(600);
        store.mac_key = mac_key;
        store.forge(n);
        let verdict = store.audit();
        let fault = only(&verdict);
        let (first, last) = (fault.first.unwrap(), fault.last.unwrap());
        let kind_fits = fault.kind == K::EntryChanged || fault.kind == K::Root;
        assert!(kind_fits && first <= n as u64 && n as u64 <= last && last - first < 256, "{n}: {verdict}");
        assert!(last - first < 40, "checkpoints every 40 entries narrow it down: {verdict}");
    }
}

#[test]
fn without_heads_inside_a_bundle_the_mac_or_tile_names_its_range() {
    let mut store = store(1024);
    (store.checkpoints, store.seals, store.current) = (Vec::new(), Vec::new(), 0);
    store.forge(300);
    let fault = only(&store.audit()).clone();
    assert_eq!((fault.kind, fault.first, fault.last), (K::EntryChanged, Some(256), Some(511)));
    store.mac_key = false;
    let fault = only(&store.audit()).clone();
    assert_eq!(
        (fault.kind, fault.first, fault.last),
        (K::EntryChanged, Some(256), Some(511)),
        "the outside head decides"
    );
    store.outside.clear();
    let fault = only(&store.audit()).clone();
    assert_eq!((fault.first, fault.last), (Some(256), Some(511)), "nothing signed: {fault}");
}

#[test]
fn with_everything_beside_it_forged_the_heads_name_the_range() {
    for n in (0..600).step_by(13) {
        let mut store = store(600);
        store.mac_key = false;
        store.forge(n);
        store.forge_tiles();
        let verdict = store.audit();
        let n = n as u64;
        assert!(!verdict.ok());
        for fault in &verdict.faults {
            let (first, last) = (fault.first.unwrap(), fault.last.unwrap());
            assert!(first <= n && n <= last && last - first < 300, "{n}: {verdict}");
        }
        assert_eq!(verdict.sealed.up_to, (n >= 100).then(|| n / 100 * 100 - 1));
    }
}

#[test]
fn a_rewritten_tail_shows_by_what_was_signed_before() {
    let mut store = store(600);
    (450..600).for_each(|n| store.forge(n));
    store.forge_tiles();
    store.head = Memory::of(store.entries.iter().flatten().cloned()).tree.head();
    store.mac_key = false;
    let verdict = store.audit();
    assert!(verdict.faults.iter().any(|fault| fault.first >= Some(440) && fault.first <= Some(450)), "{verdict}");
    assert_eq!(verdict.sealed.up_to, Some(399));
    assert!(!verdict.consistent);
}

#[test]
fn missing_and_unreadable_entries_are_named() {
    let original = store(600);
    for n in (0..600).step_by(11) {
        let mut store = original.clone();
        store.entries[n] = None;
        let verdict = store.audit();
        let fault = only(&verdict);
        assert_eq!(
            (fault.kind, fault.first, fault.last),
            (K::EntryUnreadable, Some(n as u64), Some(n as u64)),
            "{verdict}"
        );
        assert_eq!(verdict.entries, 599);
    }
    let mut auditor = original.auditor();
    original.side(&mut auditor);
    for n in (0..600usize).filter(|n| !(100..140).contains(n)) {
        auditor.entry(Index(n as u64), original.entries[n].as_deref(), None, None);
    }
    let mut verdict = auditor.finish();
    verdict.faults.retain(|fault| fault.kind != K::SealChain);
    let fault = only(&verdict);
    assert_eq!((fault.kind, fault.first, fault.last), (K::EntryMissing, Some(100), Some(139)));
}

#[test]
fn removed_reordered_repeated_and_extra_entries_are_named() {
    let original = store(600);
    let mut removed = original.clone();
    removed.entries.remove(100);
    let verdict = removed.audit();
    assert_eq!(verdict.faults[0].first, Some(100), "{verdict}");
    assert!(kinds(&verdict).contains(&K::EntryMissing), "the last one is gone: {verdict}");

    let mut swapped = original.clone();
    swapped.entries.swap(200, 300);
    let named: Vec<_> = swapped.audit().faults.iter().map(|fault| (fault.kind, fault.first)).collect();
    assert_eq!(named, [(K::EntryChanged, Some(200)), (K::EntryChanged, Some(300))]);

    let mut longer = original.clone();
    longer.entries.push(Some(b"more".to_vec()));
    let fault = only(&longer.audit()).clone();
    assert_eq!((fault.kind, fault.first), (K::EntryExtra, Some(600)));

    let mut auditor = original.auditor();
    original.side(&mut auditor);
    original.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    for n in 0..600u64 {
        auditor.entry(Index(n), original.entries[n as usize].as_deref(), None, None);
        if n == 50 {
            auditor.entry(Index(20), Some(b"again"), None, None);
        }
    }
    let fault = only(&auditor.finish()).clone();
    assert_eq!((fault.kind, fault.first), (K::Order, Some(20)));
}

#[test]
fn a_truncated_log_is_named() {
    for size in [0usize, 1, 255, 256, 257, 500, 599] {
        let mut cut = store(600);
        cut.entries.truncate(size);
        let verdict = cut.audit();
        let fault = only(&verdict);
        assert_eq!((fault.kind, fault.first, fault.last), (K::EntryMissing, Some(size as u64), Some(599)), "{verdict}");
        assert_eq!(verdict.sealed.up_to, (size / 100 * 100).checked_sub(1).map(|last| last as u64), "{size}");
        // The thief makes all of the store that small: what was signed still shows it.
        let mut smaller = store(size as u64);
        (smaller.outside, smaller.current) = (store(1300).outside, 6);
        assert_eq!(kinds(&smaller.audit()), [K::Rollback, K::SealChain], "{size}");
    }
}

#[test]
fn absurd_heads_and_indexes_end_soon() {
    let mut store = store(10);
    store.head.size = TreeSize(u64::MAX);
    let mut auditor = store.auditor();
    store.side(&mut auditor);
    store.entries(&mut auditor);
    auditor.entry(Index(1 << 60), Some(b"far"), Some([0; 4]), Some(0));
    auditor.entry(Index(u64::MAX - 1), Some(b"far"), None, None);
    auditor.tile_hash(255, u64::MAX, [0; 32]);
    auditor.bundle_mac(u64::MAX, 9, [0; 32]);
    let verdict = auditor.finish();
    assert!(!verdict.consistent && verdict.root.is_none());
    assert!(kinds(&verdict).contains(&K::EntryMissing), "{verdict}");
}

#[test]
fn wrong_prefixes_macs_tiles_and_heads_are_told_from_wrong_entries() {
    let original = store(1000);
    for mac_key in [true, false] {
        for n in (0..960).step_by(31) {
            let mut store = original.clone();
            store.mac_key = mac_key;
            store.prefixes[n][2] ^= 4;
            let fault = only(&store.audit()).clone();
            assert_eq!((fault.kind, fault.first), (K::Prefix, Some(n as u64)), "MAC key {mac_key}");
        }
        for tile in 0..original.tiles.len() {
            let mut store = original.clone();
            store.mac_key = mac_key;
            store.tiles[tile].hash[0] ^= 1;
            for verdict in [store.audit(), store.audit_late()] {
                let fault = only(&verdict);
                assert_eq!((fault.kind, fault.first), (K::Tile, Some(256 * tile as u64)), "{verdict}");
            }
            store.tiles.remove(tile);
            assert_eq!(only(&store.audit()).kind, K::Tile);
        }
        let mut store = original.clone();
        (store.mac_key, store.head.root.0[5]) = (mac_key, 0);
        assert_eq!(only(&store.audit()).kind, K::Root);
    }
    for bundle in 0..original.macs.len() {
        let mut store = original.clone();
        store.macs[bundle].2[9] ^= 1;
        for verdict in [store.audit(), store.audit_late()] {
            let fault = only(&verdict);
            assert_eq!((fault.kind, fault.first), (K::Mac, Some(256 * bundle as u64)), "{verdict}");
            assert_eq!(verdict.macs.up_to, (256 * bundle as u64).checked_sub(1));
        }
        store.macs.remove(bundle);
        assert_eq!(only(&store.audit()).kind, K::Mac);
    }
    let mut moved = original.clone();
    let tag = moved.macs[0].2;
    moved.macs[0].2 = std::mem::replace(&mut moved.macs[1].2, tag);
    assert_eq!(kinds(&moved.audit()), [K::Mac, K::Mac]);
}

#[test]
fn checkpoint_attacks() {
    let original = store(600);
    let heads = heads(600);
    let other = Head { root: RootHash([3; 32]), ..heads[120] };
    let forked = sign_checkpoint(&log_key(), &other);
    let mut twice = original.clone();
    twice.checkpoints.insert(4, forked.clone());
    assert!(kinds(&twice.audit()).iter().all(|kind| *kind == K::Checkpoint) && !twice.audit().ok());
    let mut replaced = original.clone();
    replaced.checkpoints[3] = forked.clone();
    assert!(!replaced.audit().ok());
    let mut swapped = original.clone();
    swapped.checkpoints.swap(3, 4);
    assert!(kinds(&swapped.audit()).contains(&K::Checkpoint));
    let stranger = LogKey::from_seed(ORIGIN, &[8; 32]).unwrap();
    let mut foreign = original.clone();
    foreign.checkpoints[3] = sign_checkpoint(&stranger, &heads[120]);
    assert_eq!(only(&foreign.audit()).kind, K::Checkpoint);
    let mut ahead = original.clone();
    ahead.checkpoints.push(sign_checkpoint(&log_key(), &Head { size: TreeSize(601), ..other }));
    assert_eq!(only(&ahead.audit()).kind, K::Rollback);

    let mut outside = original.clone();
    outside.outside = vec![sign_checkpoint(&stranger, &heads[120]), "garbage".into(), forked];
    let verdict = outside.audit();
    assert_eq!(kinds(&verdict), [K::OutsideHead, K::OutsideHead, K::OutsideHead], "{verdict}");
    assert!(verdict.anchored.up_to.is_none() && verdict.anchored.unproven.is_some());
    let mut rolled = original.clone();
    rolled.outside = store(2000).outside;
    let verdict = rolled.audit();
    let fault = only(&verdict);
    assert!(fault.kind == K::Rollback && fault.detail.contains("1000") && fault.detail.contains("600"), "{fault}");
}

fn resealed(body: &SealBody, key: &EpochKey) -> String {
    Seal::close(body.clone(), key).unwrap().text().to_owned()
}

#[test]
fn seal_chain_attacks() {
    let original = store(600);
    let parsed = |n: usize| Seal::parse(original.seals[n].as_bytes()).unwrap();
    let attack = |change: &dyn Fn(&mut Vec<String>)| {
        let mut store = original.clone();
        change(&mut store.seals);
        store.audit()
    };
    let dropped = attack(&|seals| drop(seals.remove(2)));
    assert_eq!((kinds(&dropped), dropped.sealed.up_to), (vec![K::SealChain], Some(199)), "{dropped}");
    let first = attack(&|seals| drop(seals.remove(0)));
    assert_eq!((kinds(&first), first.sealed.up_to), (vec![K::SealChain], None));
    let last = attack(&|seals| drop(seals.pop()));
    assert_eq!((kinds(&last), last.sealed.up_to), (vec![K::SealChain], Some(499)));
    let reordered = attack(&|seals| seals.swap(2, 3));
    assert!(kinds(&reordered).iter().all(|kind| *kind == K::SealChain), "{reordered}");
    assert_eq!(reordered.sealed.up_to, Some(199));
    let garbage = attack(&|seals| seals[2] = "garbage".into());
    assert_eq!(kinds(&garbage)[0], K::Seal);

    // Whoever breaks in later has a later key, and uses it on an older epoch.
    let later = attack(&|seals| {
        let body = SealBody { time_micros: 1, ..parsed(2).body().clone() };
        seals[2] = resealed(&body, &EpochKey::from_seed(2, &epoch_key(5).seed()));
    });
    assert!(kinds(&later).contains(&K::Seal) && later.sealed.up_to == Some(199), "{later}");

    let shrunk = attack(&|seals| {
        let body = SealBody { head: heads(600)[50], ..parsed(5).body().clone() };
        seals[5] = resealed(&body, &epoch_key(5));
    });
    assert!(kinds(&shrunk).contains(&K::SealChain), "{shrunk}");
    for change in [
        |body: &mut SealBody| body.origin = "other.example/log".into(),
        |body: &mut SealBody| body.writer = WriterId([2; 16]),
        |body: &mut SealBody| body.previous = [0; 32],
        |body: &mut SealBody| body.time_micros = 0,
        |body: &mut SealBody| body.head.root = RootHash([0; 32]),
        |body: &mut SealBody| body.next = epoch_key(9).public(),
        |body: &mut SealBody| body.epoch = 9,
    ] {
        let verdict = attack(&|seals| {
            let mut body = parsed(5).body().clone();
            change(&mut body);
            seals[5] = resealed(&body, &EpochKey::from_seed(body.epoch, &epoch_key(5).seed()));
        });
        assert!(!verdict.ok(), "{verdict}");
    }
}

#[test]
fn another_pin_proves_nothing() {
    let store = store(600);
    let mut auditor = Auditor::new(AuditInput {
        origin: ORIGIN.into(),
        head: store.head,
        history: KeyHistory::new(log_key().verifier(), epoch_key(0).public()),
        mac_keys: None,
        current_epoch: None,
        pins: vec![epoch_key(42).public()],
        outside: Vec::new(),
    });
    store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    store.side(&mut auditor);
    store.entries(&mut auditor);
    let verdict = auditor.finish();
    assert_eq!(only(&verdict).kind, K::Pin);
    assert_eq!(verdict.sealed.up_to, None);
    assert!(verdict.sealed.unproven.is_some());
}

#[test]
fn receive_times_lie_between_their_seals() {
    let original = store(600);
    // Entry 250 is sealed at 200 s; the seal before is of 150 s.
    for (at, fault) in [(90, false), (89, true), (260, false), (261, true), (-5, true)] {
        let mut store = original.clone();
        store.received[250] = at * SECOND;
        let verdict = store.audit();
        assert_eq!(verdict.ok(), !fault, "{at}: {verdict}");
        if fault {
            let found = only(&verdict);
            assert_eq!((found.kind, found.first, found.last), (K::Time, Some(250), Some(250)));
        }
    }
    let mut run = original.clone();
    run.received[210..240].fill(0);
    let verdict = run.audit();
    let fault = only(&verdict);
    assert_eq!((fault.first, fault.last), (Some(210), Some(239)), "neighbours are one fault");
}

#[test]
fn an_epoch_held_open_is_named_and_an_interrupted_one_noted() {
    let mut store = store(150);
    let heads = heads(150);
    let body = |epoch, size: usize, time, previous| SealBody {
        origin: ORIGIN.into(),
        writer: WriterId([1; 16]),
        epoch,
        head: heads[size],
        time_micros: time * SECOND,
        previous,
        next: epoch_key(epoch + 1).public(),
    };
    let first = Seal::close(body(0, 100, 200, FIRST_PREVIOUS), &epoch_key(0)).unwrap();
    let second = Seal::close(body(1, 150, 20_000, first.hash()), &epoch_key(1)).unwrap();
    store.seals = vec![first.text().into(), second.text().into()];
    store.current = 2;
    store.received.fill(190 * SECOND);
    let stopped = store.audit();
    assert!(stopped.ok() && stopped.notes.len() == 1, "the machine was off: {stopped}");
    store.received[149] = 19_990 * SECOND;
    let held = store.audit();
    let fault = only(&held);
    assert_eq!((fault.kind, fault.first), (K::Time, Some(149)), "{held}");
}

#[test]
fn faults_of_the_store_are_merged_and_long_lists_cut() {
    let mut store = store(600);
    store.entries.iter_mut().step_by(2).for_each(|entry| *entry = Some(b"x".to_vec()));
    let verdict = store.audit();
    assert_eq!(verdict.faults.len(), 300);
    let mut auditor = store.auditor();
    for n in 0..MAX_FAULTS as u64 + 7 {
        auditor.fault(Fault::at(K::Record, n, "differs"));
    }
    auditor.fault(Fault::whole(K::Segment, "a file is missing"));
    let verdict = auditor.finish();
    assert_eq!(verdict.more_faults, 7);
    assert!(kinds(&verdict).contains(&K::Segment) && verdict.to_string().contains("and 7 more"));
    assert!(verdict.to_string().contains("FAULT record, entry 3: differs"), "{verdict}");
}

/// A log that was set back to `kept` entries and grew to 600 others, all of it right in itself.
fn regrown(kept: u64) -> Store {
    let mut memory = Memory::of((0..600).map(|n| if n < kept { entry(n) } else { entry(n + 10_000) }));
    let mut store = store(600);
    store.entries = (0..600).map(|n| Some(if n < kept { entry(n) } else { entry(n + 10_000) })).collect();
    store.prefixes = memory.leaves.iter().map(|leaf| leaf.0[..4].try_into().unwrap()).collect();
    store.tiles = std::mem::take(&mut memory.completed);
    store.head = memory.tree.head();
    (store.mac_key, store.checkpoints, store.outside) = (false, Vec::new(), Vec::new());
    (store.seals, store.current) = (Vec::new(), 0);
    store
}

fn audit_with_note(store: &Store, noted: Head) -> Verdict {
    let mut auditor = store.auditor();
    auditor.noted_head(noted);
    store.side(&mut auditor);
    store.entries(&mut auditor);
    auditor.finish()
}

#[test]
fn a_noted_head_that_does_not_fit_is_a_rollback() {
    let right = heads(601);
    for size in [0, 1, 256, 300, 512, 600] {
        let mut store = store(600);
        (store.seals, store.current) = (Vec::new(), 0);
        let verdict = audit_with_note(&store, right[size]);
        assert!(verdict.ok(), "{size}: {verdict}");
        for kept in [0, 200, 512] {
            let store = regrown(kept);
            let bare = store.audit();
            assert!(bare.ok(), "{kept}: {bare}");
            let verdict = audit_with_note(&store, right[size]);
            if size as u64 <= kept {
                assert!(verdict.ok(), "{kept} {size}: {verdict}");
                continue;
            }
            let fault = only(&verdict);
            assert_eq!(
                (fault.kind, fault.first, fault.last),
                (K::Rollback, Some(0), Some(size as u64 - 1)),
                "{verdict}"
            );
            assert!(fault.detail.contains("key directory noted"), "{verdict}");
        }
    }
    let verdict = audit_with_note(&regrown(600), right[601]);
    assert_eq!((only(&verdict).kind, only(&verdict).first), (K::Rollback, Some(600)), "{verdict}");
}

#[test]
fn what_can_not_be_read_any_more_does_not_hide_what_was_found() {
    let mut store = store(600);
    store.entries[3] = Some(b"forged".to_vec());
    let mut auditor = store.auditor();
    store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    store.side(&mut auditor);
    store.entries.truncate(300);
    store.entries(&mut auditor);
    auditor.cut_off("the disk is on fire");
    let verdict = auditor.finish();
    let told: Vec<_> = verdict.faults.iter().map(|fault| (fault.kind, fault.first, fault.last)).collect();
    let wanted = [(K::EntryChanged, Some(3), Some(3)), (K::EntryUnreadable, Some(300), Some(599))];
    assert_eq!(told, wanted, "{verdict}");
    assert!(!verdict.consistent && verdict.entries == 300);
}

#[test]
fn large_logs_cross_tile_levels() {
    let size = 66_000;
    let mut store = store(size);
    assert!(store.audit().ok(), "{}", store.audit());
    store.entries[65_535] = None;
    let fault = only(&store.audit()).clone();
    assert_eq!((fault.kind, fault.first), (K::EntryUnreadable, Some(65_535)));
    store.entries[65_535] = Some(entry(65_535));
    let top = store.tiles.iter().position(|tile| tile.level == 2).unwrap();
    store.tiles[top].hash[0] ^= 1;
    let fault = only(&store.audit()).clone();
    assert_eq!((fault.kind, fault.first, fault.last), (K::Tile, Some(0), Some(65_535)));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]

    /// Any number of changes, each plain or with a forged prefix, with or without all tiles forged: none goes
    /// unnoticed, plain ones are named exactly, and nothing that is right is named exactly.
    #[test]
    fn several_changes_at_once(
        plain in proptest::collection::btree_set(0usize..900, 0..5),
        forged in proptest::collection::btree_set(0usize..900, 0..5),
        tiles: bool, mac_key: bool, late: bool, checkpoints: bool, sealed: bool,
    ) {
        let mut store = store(900);
        store.mac_key = mac_key;
        if !checkpoints {
            store.checkpoints.clear();
        }
        if !sealed {
            (store.seals, store.current) = (Vec::new(), 0);
        }
        forged.iter().for_each(|n| store.forge(*n));
        plain.difference(&forged).for_each(|n| store.entries[*n] = Some(b"changed".to_vec()));
        if tiles {
            store.forge_tiles();
        }
        let verdict = if late { store.audit_late() } else { store.audit() };
        proptest::prop_assert_eq!(verdict.ok(), plain.is_empty() && forged.is_empty(), "{}", verdict);
        proptest::prop_assert_eq!(verdict.consistent, verdict.ok());
        let exact = verdict.faults.iter().filter(|fault| fault.kind == K::EntryChanged && fault.first == fault.last);
        let exact: Vec<usize> = exact.filter_map(|fault| fault.first).map(|first| first as usize).collect();
        for n in plain.difference(&forged) {
            proptest::prop_assert!(exact.contains(n), "{} is not named: {}", n, verdict);
        }
        for n in exact {
            proptest::prop_assert!(plain.contains(&n) || forged.contains(&n), "{} is named: {}", n, verdict);
        }
    }
}

/// A log whose first `gone` entries are there as leaves only, as an auditor sees it that is told what retention deleted.
fn audit_pruned(store: &Store, gone: usize, explained: u64) -> Verdict {
    let mut auditor = store.auditor();
    store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    store.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
    store.side(&mut auditor);
    for (n, bytes) in store.entries.iter().enumerate() {
        let index = Index(n as u64);
        match bytes.as_deref() {
            Some(bytes) if n < gone => auditor.pruned(index, leaf_hash(bytes)),
            None if n < gone => {}
            bytes => auditor.entry(index, bytes, Some(store.prefixes[n]), Some(store.received[n])),
        }
    }
    auditor.explain_pruned(explained);
    auditor.finish()
}

#[test]
fn deleted_entries_are_checked_by_their_leaves() {
    let store = store(1_000);
    let verdict = audit_pruned(&store, 512, 512);
    assert!(verdict.ok() && verdict.consistent, "{verdict}");
    assert_eq!((verdict.entries, verdict.pruned), (488, 512));
    let whole = store.audit();
    assert_eq!((verdict.checkpoints, verdict.seals), (whole.checkpoints, whole.seals));
    assert_eq!((&verdict.macs, &verdict.sealed, &verdict.anchored), (&whole.macs, &whole.sealed, &whole.anchored));
    assert!(verdict.to_string().contains("entries 0 to 511 were deleted by retention"), "{verdict}");
    assert!(!whole.to_string().contains("retention"), "{whole}");
}

#[test]
fn a_deletion_that_the_log_does_not_tell_of_is_none_by_retention() {
    let store = store(1_000);
    let verdict = audit_pruned(&store, 512, 256);
    let fault = only(&verdict);
    assert_eq!((fault.kind, fault.first, fault.last), (K::EntryMissing, Some(256), Some(511)));
    assert_eq!(verdict.pruned, 256);
    assert_eq!(only(&audit_pruned(&store, 512, 0)).first, Some(0));
}

#[test]
fn a_forged_leaf_of_a_deleted_entry_is_named() {
    let mut store = store(1_000);
    store.entries[300] = Some(b"forged".to_vec());
    let verdict = audit_pruned(&store, 512, 512);
    let fault = only(&verdict);
    assert_eq!(fault.kind, K::EntryChanged);
    assert!(fault.first <= Some(300) && fault.last >= Some(300), "{verdict}");
    // Leaves that are not there any more are missing, whatever the log says about its retention.
    store = self::store(1_000);
    (256..512).for_each(|n| store.entries[n] = None);
    let verdict = audit_pruned(&store, 512, 512);
    let fault = only(&verdict);
    assert_eq!((fault.kind, fault.first, fault.last), (K::EntryMissing, Some(256), Some(511)));
}
