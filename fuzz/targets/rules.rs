//! Rule files and mappings: whatever a file holds, it is refused by name or runs; what runs is found by its id, is judged
//! without a panic, and loads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_detect::{Detector, Limits, RuleFile, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use std::sync::{Arc, LazyLock};

/// What divides a rule file from a mapping in the input.
const BETWEEN: u8 = 0xff;

/// Two of those that come with Sceau: reading all of them would take most of the time.
static MAPPINGS: LazyLock<Vec<RuleFile>> = LazyLock::new(|| {
    let mut mappings = RuleSet::builtin_files().1;
    mappings.retain(|file| file.path.ends_with("sceau.yml") || file.path.ends_with("web.yml"));
    assert_eq!(mappings.len(), 2);
    mappings
});
static DERIVER: LazyLock<Deriver> = LazyLock::new(Deriver::builtin);
static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// Entries for rules to judge.
static ENTRIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let source = SourceId::parse("fuzz").expect("a good name");
    let framer = Framer::new(Micros(1_795_334_400_123_456), &source, &Meta::default());
    let event = |event: &&str| {
        let mut entry = Vec::new();
        DERIVER.push_json(&framer, event.as_bytes(), &mut entry).expect("a good event");
        entry
    };
    let events = [
        r#"{"timestamp":"2026-11-22T08:00:00Z","ip":"10.0.3.7","user":"alice","action":"login","status":"failed"}"#,
        r#"{"timestamp":"2026-11-22T02:00:01Z","ip":"192.0.2.1","user":"","message":"a\nb *?\\","n":-1.5,"a":[1,"x"]}"#,
        r#"{"EventID":4688,"Image":"C:\\a\\b.exe","CommandLine":"b.exe -enc QQ==","host":"h","service":"sshd"}"#,
    ];
    events.iter().map(event).collect()
});

fuzz_target!(|data: &[u8]| {
    let (rules, mapping) = match data.iter().position(|byte| *byte == BETWEEN) {
        Some(at) => (&data[..at], Some(&data[at + 1..])),
        None => (data, None),
    };
    let file = |path: &str, text: &[u8]| RuleFile { path: path.into(), text: String::from_utf8_lossy(text).into() };
    let rules = [file("fuzz.yml", rules)];
    let mut mappings = MAPPINGS.clone();
    mappings.extend(mapping.map(|text| file("mapping.yml", text)));
    let load = |only: Option<&str>| RuleSet::load_only(&rules, &mappings, &SETTINGS, only);
    // Whatever is wrong with a file is no fault of the settings.
    let set = load(None).expect("good settings");
    for refusal in set.refusals() {
        assert!(!refusal.reason.is_empty() && refusal.line >= 1, "{refusal:?}");
    }
    // One of the two is enough for an input: loading is what takes the time.
    match set.rules().first().filter(|_| data.len() % 2 == 0) {
        Some(meta) => assert!(load(Some(&meta.id)).expect("good settings").has(&meta.id)),
        None => assert_eq!(load(None).expect("good settings").hash(), set.hash()),
    }
    judge(set);
});

fn judge(set: RuleSet) {
    let mut detector = Detector::new(Arc::new(set), Limits::default(), SETTINGS.lateness);
    let mut found = Vec::new();
    let mut replay = DERIVER.replay();
    for (index, entry) in (0..).zip(ENTRIES.iter().cycle().take(12)) {
        detector.push(index, &replay.derive(entry).expect("a good entry"), &mut found);
    }
    for finding in &found {
        assert!(finding.count >= 1 && !finding.evidence.is_empty(), "{finding:?}");
    }
}
