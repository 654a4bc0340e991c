//! An audit that goes on where an earlier one ended.

use sceau_ledger::*;

use super::store::*;

fn feed(mut auditor: Auditor, store: &Store, first: u64) -> Auditor {
    store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    store.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
    store.side(&mut auditor);
    for (n, bytes) in store.entries.iter().enumerate().skip(first as usize) {
        auditor.entry(Index(n as u64), bytes.as_deref(), Some(store.prefixes[n]), Some(store.received[n]));
    }
    auditor
}

/// The parts of a log that an audit which goes on from `size` entries and `epochs` seals still has to see.
fn added(store: &Store, size: u64, epochs: u64) -> Store {
    let signed = |note: &String| note.lines().nth(1).and_then(|line| line.parse::<u64>().ok()).unwrap_or(u64::MAX);
    let span = |tile: &TileHash| 256u64.pow(u32::from(tile.level));
    Store {
        tiles: store.tiles.iter().copied().filter(|tile| (tile.position + 1) * span(tile) > size).collect(),
        macs: store.macs.iter().copied().filter(|(bundle, ..)| *bundle >= size / 256).collect(),
        seals: store.seals.iter().skip(epochs as usize).cloned().collect(),
        checkpoints: store.checkpoints.iter().filter(|note| signed(note) > size).cloned().collect(),
        ..store.clone()
    }
}

#[test]
fn an_audit_goes_on_where_the_last_one_ended() {
    for (first, last) in [(256, 600), (300, 301), (299, 900), (512, 512), (1, 700)] {
        let whole = store(last);
        let begun = store(first);
        let (verdict, checked) = feed(begun.auditor(), &begun, 0).finish_checked();
        assert!(verdict.ok(), "{verdict}");
        let checked = checked.unwrap();
        assert_eq!(checked.size(), first);
        let rest = added(&whole, first, checked.epochs());
        let verdict = feed(Auditor::resume(whole.input(), checked.clone()), &rest, first).finish();
        assert!(verdict.ok() && verdict.consistent, "{first} {last}: {verdict}");
        assert_eq!(verdict.root, Some(whole.head.root));
        // What was added is changed; or another log is put behind what was checked.
        if last > first {
            let mut changed = rest.clone();
            changed.entries[last as usize - 1] = Some(b"another entry".to_vec());
            let (verdict, next) = feed(Auditor::resume(whole.input(), checked), &changed, first).finish_checked();
            assert!(verdict.faults.iter().any(|fault| fault.first == Some(last - 1)), "{first} {last}: {verdict}");
            assert!(next.is_none());
        }
    }
}
