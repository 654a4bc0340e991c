//! Figures of the hot paths. Run with `--no-capture`; the bounds are loose, so that a busy machine does not fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use sceau_ledger::*;
use std::time::Instant;

const COUNT: u64 = 512_000;
const SLICE: u64 = 5_120;

/// Runs in slices of [`SLICE`] and reports the fastest, since other programs take their share of the machine.
fn per_item(what: &str, limit: f64, mut run: impl FnMut(std::ops::Range<u64>)) {
    let mut best = f64::MAX;
    let whole = Instant::now();
    for first in (0..COUNT).step_by(SLICE as usize) {
        let start = Instant::now();
        run(first..first + SLICE);
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / SLICE as f64);
    }
    let mean = whole.elapsed().as_secs_f64() * 1e6 / COUNT as f64;
    eprintln!("{what}: {best:.3} µs, on average {mean:.3} µs");
    assert!(best < limit, "{what}: {best} µs");
}

#[test]
fn hot_paths() {
    let entry = vec![b'x'; 300];
    let mut leaves = Vec::new();
    per_item("leaf_hash of 300 bytes", 5.0, |slice| leaves.extend(slice.map(|_| leaf_hash(&entry))));
    let mut tree = Tree::new();
    let mut tiles = Vec::new();
    per_item("Tree::append per leaf", 2.0, |slice| {
        let slice = &leaves[slice.start as usize..slice.end as usize];
        slice.chunks(512).for_each(|batch| tiles.extend(tree.append(batch)));
    });
    let key = MacKey::from_bytes([1; 32]);
    let mut macs = Vec::new();
    per_item("BundleMac per leaf", 2.0, |slice| {
        for bundle in slice.start / 256..slice.end / 256 {
            let mut mac = BundleMac::start(&key, bundle);
            let first = bundle as usize * 256;
            leaves[first..first + 256].iter().for_each(|leaf| mac.push(*leaf));
            macs.push((bundle, mac.count(), mac.tag()));
        }
    });
    let log = LogKey::from_seed("logs.example", &[1; 32]).unwrap();
    per_item("sign_checkpoint per entry of a batch of 5120", 1.0, |_| drop(sign_checkpoint(&log, &tree.head())));
    let mut auditor = Auditor::new(AuditInput {
        origin: "logs.example".into(),
        head: tree.head(),
        history: KeyHistory::new(log.verifier(), EpochKey::from_seed(0, &[1; 32]).public()),
        mac_keys: Some(MacKeys::new(0, key)),
        current_epoch: None,
        pins: Vec::new(),
        outside: Vec::new(),
    });
    let prefix = leaves[0].0.first_chunk::<4>().copied();
    tiles.iter().for_each(|tile| auditor.tile_hash(tile.level, tile.position, tile.hash));
    macs.iter().for_each(|(bundle, count, tag)| auditor.bundle_mac(*bundle, *count, *tag));
    per_item("Auditor::entry of 300 bytes", 10.0, |slice| {
        slice.for_each(|n| auditor.entry(Index(n), Some(&entry), prefix, Some(0)));
    });
    assert!(auditor.finish().ok());
}
