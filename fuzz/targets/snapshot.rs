//! Snapshots of a detector's windows: bytes of anybody are refused or taken, and then it goes on without a panic and can be
//! stored and restored again, within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_detect::{Detector, Limits, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};
use std::sync::{Arc, LazyLock};

static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let (rules, mappings) = RuleSet::builtin_files();
    Arc::new(RuleSet::load(&rules, &mappings, &Settings::default()).expect("good rules"))
});
static DERIVER: LazyLock<Deriver> = LazyLock::new(Deriver::builtin);

/// A snapshot with something in it, to be changed.
static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (mut detector, mut found) = (detector(), Vec::new());
    go_on(&mut detector, 0, &mut found);
    detector.snapshot()
});

fn detector() -> Detector {
    Detector::new(RULES.clone(), Limits { bytes: 8 << 20, ..Limits::default() }, Settings::default().lateness)
}

/// Shows it failures and successes of two addresses, then something much later.
fn go_on(detector: &mut Detector, from: u64, found: &mut Vec<sceau_detect::Finding>) {
    let source = SourceId::parse("fuzz").expect("a good name");
    let mut entry = Vec::new();
    for n in 0..24u64 {
        let second = if n == 23 { 7 * 86_400 } else { (n * 7) as i64 % 60 };
        let time = Micros(1_795_334_400_000_000 + second * 1_000_000);
        let framer = Framer::new(time, &source, &Meta::default());
        let status = if n % 8 == 7 { "ok" } else { "failed" };
        let event = format!(
            r#"{{"timestamp":"{time}","ip":"10.0.3.{}","user":"u{}","action":"login","status":"{status}"}}"#,
            n % 2,
            n % 3
        );
        entry.clear();
        let record: Record<'_> = DERIVER.push_json(&framer, event.as_bytes(), &mut entry).expect("a good event");
        detector.push(from + n, &record, found);
    }
}

/// The input is a snapshot, or says where the whole one is to be changed: place in two bytes, then the byte to put there.
fuzz_target!(|data: &[u8]| {
    restore(data);
    let mut changed = WHOLE.clone();
    for change in data.chunks_exact(3).take(64) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
        changed[at] = change[2];
    }
    restore(&changed);
});

fn restore(bytes: &[u8]) {
    let mut detector = detector();
    let empty = detector.snapshot();
    let Ok(restored) = detector.restore(bytes) else {
        assert_eq!(detector.snapshot(), empty, "what is refused changes nothing");
        return;
    };
    let mut found = restored.lost;
    go_on(&mut detector, 1_000, &mut found);
    assert!(detector.stats().bytes <= 8 << 20);
    let again = detector.snapshot();
    let mut other = self::detector();
    other.restore(&again).expect("its own snapshot");
    assert_eq!(other.snapshot(), again);
}
