//! Rules and windows together: the shipped rules on records made by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod windows_common;

use std::sync::Arc;

use sceau_detect::{Detector, FINDING_SOURCE, Finding, Limits, Phase, RuleSet, Settings};
use sceau_event::{Keyword, Record};
use windows_common::{Event, MINUTE, SECOND};

/// 2026-11-23T10:00:00Z, a Monday.
const MORNING: i64 = 1_795_428_000 * SECOND;

fn shipped(settings: &Settings) -> Arc<RuleSet> {
    let (rules, mappings) = RuleSet::builtin_files();
    let rules = RuleSet::load(&rules, &mappings, settings).unwrap();
    assert_eq!(rules.refusals(), &[]);
    Arc::new(rules)
}

fn detector() -> Detector {
    let settings = Settings::default();
    let detector = Detector::new(shipped(&settings), Limits::default(), settings.lateness);
    assert_eq!(detector.refused(), &[]);
    detector
}

fn login(at: u64, time: i64, address: &str, user: &str, outcome: &str) -> (u64, Record<'static>) {
    let event = Event { user: Some(user.to_owned()), received: time, ..Event::at(at, time, address) };
    let mut record = event.record();
    record.keywords[Keyword::EventOutcome as usize] = Some(outcome.to_owned().into());
    record.keywords[Keyword::EventAction as usize] = Some("login".into());
    (at, record)
}

fn fired<'f>(found: &'f [Finding], title: &str) -> Vec<&'f Finding> {
    found.iter().filter(|found| found.title == title && found.phase == Phase::Fired).collect()
}

/// Seven failures and a success, from inside the allowed ranges.
fn attack() -> Vec<(u64, Record<'static>)> {
    let mut records: Vec<_> = (0..7)
        .map(|at| login(at, MORNING + at as i64 * 2 * MINUTE, "10.0.3.7", &format!("user{at}"), "failure"))
        .collect();
    records.push(login(7, MORNING + 13 * MINUTE, "10.0.3.7", "user3", "success"));
    records
}

#[test]
fn five_failures_and_a_success_are_brute_force_that_went_well() {
    let mut detector = detector();
    let mut found = Vec::new();
    for (at, record) in attack() {
        detector.push(at, &record, &mut found);
        assert_eq!(fired(&found, "Brute force from one address").len(), usize::from(at >= 4), "{at}");
    }
    let brute = fired(&found, "Brute force from one address")[0];
    assert_eq!((brute.evidence.as_slice(), brute.count), (&[0, 1, 2, 3, 4][..], 5));
    assert_eq!(brute.group, [("source.ip".to_owned(), "10.0.3.7".to_owned())]);
    assert_eq!(detector.open_bursts()[&brute.id].count, 7);
    let after: Vec<&Finding> = found.iter().filter(|found| found.evidence.contains(&7)).collect();
    assert_eq!(after.len(), 1, "{after:?}");
    assert_eq!(after[0].level, sceau_detect::Level::Critical);
    assert_eq!(detector.stats().late, 0);
}

#[test]
fn an_address_outside_is_one_finding_with_a_count() {
    let mut detector = detector();
    let mut found = Vec::new();
    for at in 0..50 {
        let (at, record) = login(at, MORNING + at as i64 * SECOND, "192.0.2.1", "root", "success");
        detector.push(at, &record, &mut found);
    }
    let outside = fired(&found, "Address outside the allowed ranges");
    assert_eq!(outside.len(), 1);
    assert_eq!(detector.open_bursts()[&outside[0].id].count, 50);
}

#[test]
fn findings_find_nothing() {
    let mut detector = detector();
    let mut found = Vec::new();
    for at in 0..50 {
        let (at, mut record) = login(at, MORNING + at as i64 * SECOND, "192.0.2.1", "root", "failure");
        record.source = FINDING_SOURCE.into();
        detector.push(at, &record, &mut found);
    }
    assert_eq!((found.len(), detector.stats().sources), (0, 0));
}

#[test]
fn a_restart_or_a_change_of_another_rule_changes_nothing() {
    let mut settings = Settings::default();
    let mut whole = detector();
    let mut expected = Vec::new();
    attack().iter().for_each(|(at, record)| whole.push(*at, record, &mut expected));
    for cut in 0..8 {
        let (mut first, mut found) = (detector(), Vec::new());
        attack()[..cut].iter().for_each(|(at, record)| first.push(*at, record, &mut found));
        let mut second = detector();
        assert_eq!(second.restore(&first.snapshot()).unwrap().lost, []);
        settings.lists.insert("unusual_hours".to_owned(), vec!["3".to_owned()]);
        second.replace_rules(shipped(&settings), &mut found);
        attack()[cut..].iter().for_each(|(at, record)| second.push(*at, record, &mut found));
        assert_eq!(found, expected, "{cut}");
    }
}
