//! What windows do at their limits, with late records, and with snapshots from anybody.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod windows_common;

use proptest::prelude::*;
use sceau_detect::{
    Condition, CorrelationKind, Expression, Limits, Operator, Phase, SnapshotError, Window, Windows, unsupported,
};
use windows_common::{Bench, Event, MINUTE, MONTH_END, Plain, SECOND, all_of, correlation, counting, meta};

const DAY: i64 = 24 * 60 * MINUTE;

fn brute_force() -> Bench {
    Bench::of(vec![correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5)])
}

#[test]
fn it_fires_at_the_fifth_exactly_ten_minutes_after_the_first_and_counts_on() {
    let mut bench = brute_force();
    for at in 0..4 {
        assert_eq!(bench.push(&Event::at(at, MONTH_END + at as i64 * MINUTE, "10.0.0.1")), &[]);
    }
    let found = bench.push(&Event::at(10, MONTH_END + 10 * MINUTE, "10.0.0.1")).to_vec();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].phase, found[0].count, found[0].late), (Phase::Fired, 5, false));
    assert_eq!(found[0].evidence, [0, 1, 2, 3, 10]);
    assert_eq!(found[0].group, [("source.ip".to_owned(), "10.0.0.1".to_owned())]);
    let id = found[0].id.clone();
    // Windows from 1 to 11 minutes and from 3 to 13 hold; the record at 24 minutes is past the burst.
    assert_eq!(bench.push(&Event::at(11, MONTH_END + 11 * MINUTE, "10.0.0.1")), &[]);
    assert_eq!(bench.windows.open_bursts()[&id].count, 6);
    assert_eq!(bench.push(&Event { rules: vec![], ..Event::at(12, MONTH_END + 26 * MINUTE, "-") }), &[]);
    let ended = bench.push(&Event { rules: vec![], ..Event::at(13, MONTH_END + 26 * MINUTE + 1, "-") }).to_vec();
    assert_eq!((ended[0].id.as_str(), ended[0].phase, ended[0].count), (id.as_str(), Phase::Ended, 6));
    assert_eq!((ended[0].first.0, ended[0].last.0), (MONTH_END, MONTH_END + 11 * MINUTE));
    assert_eq!(ended[0].values["source.ip"], ["10.0.0.1"]);
    assert_eq!(bench.windows.stats(&bench.rules).groups, 0);
}

#[test]
fn a_microsecond_more_than_ten_minutes_is_too_far() {
    let mut bench = brute_force();
    (0..4).for_each(|at| assert!(bench.push(&Event::at(at, MONTH_END, "10.0.0.1")).is_empty()));
    assert_eq!(bench.push(&Event::at(4, MONTH_END + 10 * MINUTE + 1, "10.0.0.1")), &[]);
    // A late-comer that is in time completes the first window.
    assert_eq!(bench.push(&Event::at(5, MONTH_END + 6 * MINUTE, "10.0.0.1"))[0].evidence, [0, 1, 2, 3, 5]);
}

#[test]
fn a_repeated_message_counts_as_often_as_it_says() {
    let mut bench = brute_force();
    let found = bench.push(&Event { count: 1_000_000, ..Event::at(7, MONTH_END, "10.0.0.1") });
    assert_eq!((found[0].count, found[0].evidence.as_slice()), (1_000_000, &[7][..]));
}

#[test]
fn a_record_that_is_excepted_or_has_no_group_is_not_counted() {
    let mut bench = brute_force();
    for at in 0..9 {
        assert_eq!(bench.push(&Event::at(2 * at, MONTH_END, "10.66.66.66")), &[]);
        assert_eq!(bench.push(&Event { address: None, ..Event::at(2 * at + 1, MONTH_END, "") }), &[]);
    }
    let stats = bench.windows.stats(&bench.rules);
    assert_eq!((stats.groups, stats.rules["c1"].ungrouped), (0, 9));
}

#[test]
fn a_rule_that_matches_every_record_makes_one_finding_an_hour_and_entity() {
    let rules = vec![meta("noisy", "detection", true)];
    let mut bench = Bench::new(rules, Vec::new(), Limits::default(), 5 * MINUTE);
    for at in 0..1_000 {
        let user = Some("root".to_owned()).filter(|_| at % 2 == 1);
        bench.push(&Event { user, ..Event::at(at, MONTH_END + at as i64 * SECOND, "10.0.0.1") });
    }
    let groups: Vec<usize> = bench.found.iter().map(|found| found.group.len()).collect();
    assert_eq!(groups, [1, 2]);
    assert_eq!(bench.windows.open_bursts().values().map(|burst| burst.count).collect::<Vec<_>>(), [500, 500]);
    bench.push(&Event { rules: vec![], ..Event::at(2_000, MONTH_END + DAY, "-") });
    let ended: Vec<(u64, usize)> = bench.found[2..].iter().map(|found| (found.count, found.evidence.len())).collect();
    assert_eq!(ended, [(500, 100), (500, 100)]);
}

#[test]
fn a_sender_dated_2099_makes_nobody_late() {
    let mut bench = brute_force();
    let wrong = MONTH_END + 26_000 * DAY;
    bench.push(&Event { time: wrong, received: MONTH_END, ..Event::at(0, 0, "10.0.0.9") });
    for at in 1..6 {
        let time = MONTH_END + at as i64 * SECOND;
        let found = bench.push(&Event { received: time, ..Event::at(at, time, "10.0.0.1") });
        assert_eq!(found.len(), usize::from(at == 5));
        assert!(found.iter().all(|found| !found.late));
    }
    // And it is forgotten as if it had told the time at which it came.
    for at in 6..200 {
        let time = MONTH_END + at as i64 * MINUTE;
        bench.push(&Event { received: time, ..Event::at(at, time, "10.0.0.2") });
    }
    assert_eq!(bench.windows.stats(&bench.rules).groups, 1);
}

#[test]
fn what_is_too_late_is_judged_with_what_is_there_and_marked() {
    let mut bench = brute_force();
    bench.push(&Event { rules: vec![], ..Event::at(0, MONTH_END + DAY, "-") });
    // An older file by the same source.
    for at in 1..8 {
        bench.push(&Event::at(at, MONTH_END + at as i64 * SECOND, "10.0.0.1"));
    }
    assert_eq!(bench.found.len(), 1);
    assert!(bench.found[0].late);
    assert_eq!(bench.windows.stats(&bench.rules).late, 7);
    // Another source has a clock of its own: the same file is in time.
    for at in 8..15 {
        bench.push(&Event { source: "import".to_owned(), ..Event::at(at, MONTH_END + at as i64 * SECOND, "10.0.0.2") });
    }
    assert_eq!(bench.found.iter().map(|found| found.late).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn bursts_of_one_group_never_have_the_same_id() {
    let mut bench = brute_force();
    for at in 0..6 {
        bench.push(&Event::at(at, MONTH_END + at as i64, "10.0.0.1"));
    }
    bench.push(&Event { rules: vec![], ..Event::at(6, MONTH_END + DAY, "-") });
    for at in 7..20 {
        bench.push(&Event::at(at, MONTH_END + at as i64, "10.0.0.1"));
    }
    let mut fired: Vec<&str> =
        bench.found.iter().filter(|found| found.phase == Phase::Fired).map(|found| found.id.as_str()).collect();
    let all = fired.len();
    fired.sort_unstable();
    fired.dedup();
    assert_eq!((fired.len(), all), (2, 2));
}

#[test]
fn success_follows_at_the_fiftieth_minute_of_a_long_burst() {
    let mut failures = correlation(2, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5);
    failures.fires = false;
    let then = all_of(correlation(3, CorrelationKind::TemporalOrdered, &[2, 1], 10 * MINUTE, 1));
    let rules = vec![
        meta("failed", "detection", false),
        meta("succeeded", "detection", false),
        meta("burst", "event_count", false),
        meta("after", "temporal_ordered", true),
    ];
    let mut bench = Bench::new(rules, vec![then, failures], Limits::default(), 5 * MINUTE);
    for at in 0..100 {
        bench.push(&Event::at(at, MONTH_END + at as i64 * 30 * SECOND, "10.0.0.1"));
    }
    let found = bench.push(&Event { rules: vec![1], ..Event::at(100, MONTH_END + 50 * MINUTE, "10.0.0.1") }).to_vec();
    assert_eq!((found.len(), found[0].rule.as_str()), (1, "after"));
    assert_eq!(found[0].evidence.last(), Some(&100));
    assert_eq!(bench.push(&Event { rules: vec![1], ..Event::at(101, MONTH_END + 50 * MINUTE, "10.0.0.2") }), &[]);
}

#[test]
fn an_alias_tells_each_rules_name_of_a_field() {
    let mut both = all_of(correlation(2, CorrelationKind::Temporal, &[0, 1], MINUTE, 1));
    both.group_by = vec!["who".to_owned()];
    both.aliases.insert("who".to_owned(), vec![Some("source.ip".to_owned()), Some("user.name".to_owned())]);
    let rules = vec![meta("a", "detection", false), meta("b", "detection", false), meta("c2", "temporal", true)];
    let mut bench = Bench::new(rules, vec![both], Limits::default(), 0);
    bench.push(&Event::at(0, MONTH_END, "10.0.0.1"));
    let user = Some("10.0.0.1".to_owned());
    bench.push(&Event { user, rules: vec![1], ..Event::at(1, MONTH_END, "10.0.0.2") });
    assert_eq!(bench.found[0].group, [("who".to_owned(), "10.0.0.1".to_owned())]);
}

#[test]
fn one_hammered_group_takes_little_and_is_counted_to_the_last() {
    let users = counting(correlation(2, CorrelationKind::ValueCount, &[0], 10 * MINUTE, 5), "user.name");
    let mut bench = Bench::of(vec![correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5), users]);
    let mut most = 0;
    for at in 0..30_000 {
        let user = Some(format!("user{}", at % 7));
        bench.push(&Event { user, ..Event::at(at, MONTH_END + at as i64 * 10_000, "10.0.0.1") });
        most = most.max(bench.windows.stats(&bench.rules).bytes);
    }
    assert_eq!(bench.found.len(), 2);
    assert!(bench.windows.open_bursts().values().all(|burst| burst.count == 30_000));
    assert!(most < 200_000, "{most} bytes");
    let stats = bench.windows.stats(&bench.rules);
    assert!(stats.rules.values().all(|rule| rule.evicted == 0 && rule.thinned == 0));
}

#[test]
fn what_repeats_takes_little_and_still_leads_to_a_finding() {
    let rules =
        [("a", "detection"), ("b", "detection"), ("c2", "temporal"), ("c3", "temporal_ordered"), ("c4", "value_count")];
    let rules = rules.into_iter().map(|(id, kind)| meta(id, kind, kind != "detection")).collect();
    let all = vec![
        all_of(correlation(2, CorrelationKind::Temporal, &[0, 1], 10 * MINUTE, 1)),
        all_of(correlation(3, CorrelationKind::TemporalOrdered, &[0, 1], 10 * MINUTE, 1)),
        counting(correlation(4, CorrelationKind::ValueCount, &[0, 1], 10 * MINUTE, 2), "user.name"),
    ];
    let mut bench = Bench::new(rules, all, Limits::default(), 5 * MINUTE);
    for at in 0..20_000 {
        let user = Some("root".to_owned());
        bench.push(&Event { user, ..Event::at(at, MONTH_END + at as i64 * 25_000, "10.0.0.1") });
    }
    let stats = bench.windows.stats(&bench.rules);
    assert!(stats.bytes < 300_000, "{} bytes", stats.bytes);
    assert!(stats.rules.values().all(|rule| rule.thinned > 15_000 && rule.evicted == 0));
    let last = Event {
        user: Some("admin".to_owned()),
        rules: vec![1],
        ..Event::at(20_000, MONTH_END + 18 * MINUTE, "10.0.0.1")
    };
    let fired: Vec<String> = bench.push(&last).iter().map(|found| found.rule.clone()).collect();
    assert_eq!(fired, ["c2", "c3", "c4"]);
}

#[test]
fn records_beyond_the_limit_go_oldest_first_and_are_counted() {
    let sum = counting(correlation(1, CorrelationKind::ValueSum, &[0], 10 * MINUTE, 1_000_000), "size");
    let limits = Limits { records: 100, ..Limits::default() };
    let mut bench =
        Bench::new(vec![meta("a", "detection", false), meta("c1", "value_sum", true)], vec![sum], limits, 0);
    for at in 0..1_000 {
        bench.push(&Event { size: Some(1), ..Event::at(at, MONTH_END + at as i64, "10.0.0.1") });
    }
    assert_eq!(bench.windows.stats(&bench.rules).rules["c1"].evicted, 900);
}

/// An attack from very many addresses, one failure each, with real bursts in between.
fn attack(addresses: u64, limits: Limits) -> Bench {
    let rules = vec![meta("failed", "detection", false), meta("c1", "event_count", true)];
    let five = correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5);
    let mut bench = Bench::new(rules, vec![five], limits.clone(), 5 * MINUTE);
    let mut index = 0;
    for at in 0..addresses {
        let time = MONTH_END + at as i64 * 500;
        bench.push(&Event::at(index, time, &format!("2001:db8::{at:x}")));
        index += 1;
        // Each real one fails every thousandth time: its second failure comes long before it is its turn to go.
        if at % 1_000 < 10 {
            let real = at / 10_000 * 10 + at % 1_000;
            bench.push(&Event::at(index, time, &format!("10.0.{}.{}", real / 250, real % 250)));
            index += 1;
        }
        if at % 1_000 == 0 {
            assert!(bench.windows.stats(&bench.rules).bytes <= limits.bytes);
        }
    }
    let fired = bench.found.iter().filter(|found| found.phase == Phase::Fired).count() as u64;
    assert_eq!(fired, addresses / 10_000 * 10);
    bench
}

#[test]
fn very_many_addresses_stay_under_the_limit_and_hide_no_burst() {
    // A tenth of a million addresses in a tenth of the memory: nothing goes.
    let bench = attack(100_000, Limits { bytes: (256 << 20) / 10, ..Limits::default() });
    assert_eq!(bench.windows.stats(&bench.rules).rules["c1"].evicted, 0);
    // A fiftieth: those with one failure go, the others stay.
    let bench = attack(100_000, Limits { bytes: (256 << 20) / 50, ..Limits::default() });
    assert!(bench.windows.stats(&bench.rules).rules["c1"].evicted > 50_000);
    let bench = attack(20_000, Limits { groups: 5_000, ..Limits::default() });
    assert!(bench.windows.stats(&bench.rules).rules["c1"].evicted > 10_000);
}

#[test]
#[ignore = "a million addresses take a minute without optimisation"]
fn a_million_addresses_stay_under_the_limit_and_hide_no_burst() {
    let bench = attack(1_000_000, Limits::default());
    let stats = bench.windows.stats(&bench.rules);
    assert_eq!(stats.rules["c1"].evicted, 0);
    println!("{} groups, {} bytes", stats.groups, stats.bytes);
}

#[test]
fn a_burst_that_has_to_go_is_summed_up() {
    let mut bench = Bench::of(vec![correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 1)]);
    bench.limits.bursts = 10;
    bench = Bench::new(bench.rules, bench.correlations, bench.limits, 0);
    for at in 0..25 {
        bench.push(&Event::at(at, MONTH_END, &format!("10.0.0.{at}")));
    }
    let ended: Vec<&str> =
        bench.found.iter().filter(|f| f.phase == Phase::Ended).map(|f| f.group[0].1.as_str()).collect();
    assert_eq!(ended.len(), 15);
    assert_eq!(ended[0], "10.0.0.0");
    assert_eq!(bench.windows.open_bursts().len(), 10);
    assert_eq!(bench.windows.stats(&bench.rules).rules["c1"].ended_early, 15);
}

#[test]
fn sources_beyond_the_limit_share_a_clock() {
    let limits = Limits { sources: 2, ..Limits::default() };
    let rules = vec![meta("failed", "detection", false), meta("c1", "event_count", true)];
    let one = correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 1);
    let mut bench = Bench::new(rules, vec![one], limits, 0);
    for at in 0..10 {
        let source = format!("source{at}");
        bench.push(&Event { source, ..Event::at(at, MONTH_END - at as i64 * DAY, &format!("10.0.0.{at}")) });
    }
    assert_eq!(bench.windows.stats(&bench.rules).sources, 3);
    let late: Vec<bool> = bench.found.iter().filter(|f| f.phase == Phase::Fired).map(|found| found.late).collect();
    assert_eq!(late, [false, false, false, true, true, true, true, true, true, true]);
    bench.restarted();
}

#[test]
fn long_values_are_told_apart_and_cut() {
    let mut bench = Bench::of(vec![correlation(1, CorrelationKind::EventCount, &[0], MINUTE, 1)]);
    for (at, end) in ["a", "b"].into_iter().enumerate() {
        bench.push(&Event::at(at as u64, MONTH_END, &format!("{}{end}", "é".repeat(5_000))));
    }
    assert_eq!(bench.found.len(), 2);
    assert_ne!(bench.found[0].group, bench.found[1].group);
    assert!(bench.found.iter().all(|found| found.group[0].1.len() < 256));
}

#[test]
fn what_cant_be_decided_exactly_is_refused() {
    let count = |operator| {
        let mut one = correlation(1, CorrelationKind::EventCount, &[0], MINUTE, 5);
        one.condition = Condition::Threshold { predicates: vec![(operator, 5)], fields: Vec::new(), percentile: None };
        one
    };
    for operator in [Operator::Lt, Operator::Lte, Operator::Eq, Operator::Neq] {
        assert!(unsupported(&count(operator), 100).unwrap().contains(operator.name()));
    }
    assert_eq!(unsupported(&count(Operator::Gt), 6), None);
    assert!(unsupported(&count(Operator::Gt), 5).unwrap().contains("more than the 5"));
    let mut ordered = correlation(1, CorrelationKind::TemporalOrdered, &[0, 2], MINUTE, 1);
    assert!(unsupported(&ordered, 100).unwrap().contains("fewer than all"));
    ordered.condition = Condition::Expression(Expression::Or(vec![Expression::Rule(0), Expression::Rule(1)]));
    assert!(unsupported(&ordered, 100).is_some());
    assert_eq!(unsupported(&all_of(ordered), 100), None);
    let windows = Windows::new(
        &[meta("a", "detection", false), meta("b", "event_count", true)],
        &[count(Operator::Eq)],
        Limits::default(),
        0,
    );
    assert_eq!(windows.refused().len(), 1);
}

#[test]
fn a_burst_ends_when_the_log_has_gone_on_without_its_source() {
    let mut bench = Bench::of(vec![correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5)]);
    let received = MONTH_END + 400 * DAY;
    let old = |at: u64, second: i64, after: i64| Event {
        received: received + after * SECOND,
        ..Event::at(at, MONTH_END + second * SECOND, "10.0.0.1")
    };
    let other = |at: u64, after: i64| Event { source: "vpn".to_owned(), rules: Vec::new(), ..old(at, 0, after) };
    // An old log that is read slowly is judged on its own times, however new what others send is.
    for at in 0..6 {
        bench.push(&old(10 * at, at as i64, 200 * at as i64));
        assert_eq!(bench.push(&other(10 * at + 5, 200 * at as i64)).len(), 0);
    }
    assert_eq!(bench.windows.open_bursts().len(), 1);
    assert_eq!(bench.push(&other(1_000, 1_000 + 900)).len(), 0, "silent for exactly as long as may be");
    let mut bench = bench.restarted();
    let ended = bench.push(&other(1_001, 1_901)).to_vec();
    assert_eq!((ended.len(), ended[0].phase, ended[0].count), (1, Phase::Ended, 6));
    // What comes after all is a burst of its own, of what has not been counted.
    let again = bench.push(&old(1_002, 7, 2_000));
    assert_eq!((again.len(), again[0].phase, again[0].evidence.as_slice()), (1, Phase::Fired, &[1_002][..]));
}

/// Groups that stay, since another source could still add to them, are evicted in the order in which they were left.
#[test]
fn bursts_that_end_together_end_in_one_order_after_a_restart_too() {
    let mut bench = brute_force();
    let mut index = 0;
    let mut event = |second: i64, source: &str, address: &str| {
        index += 1;
        Event { source: source.to_owned(), ..Event::at(index, MONTH_END + second * SECOND, address) }
    };
    for address in ["10.0.0.1", "10.0.0.2"] {
        bench.push(&event(-1, "slow", address));
    }
    for second in 0..5 {
        bench.push(&event(second, "fast", "10.0.0.2"));
        bench.push(&event(second, "fast", "10.0.0.1"));
    }
    let mut restarted = bench.restarted();
    let end = event(16 * 60, "fast", "10.0.0.3");
    assert_eq!(bench.push(&end).len(), 2);
    assert_eq!(bench.windows.stats(&bench.rules).groups, 3, "they stay");
    restarted.push(&end);
    assert_eq!(restarted.found, bench.found);
    assert_eq!(restarted.windows.snapshot(&bench.rules), bench.windows.snapshot(&bench.rules));
}

#[test]
fn other_rules_begin_anew_and_the_others_go_on() {
    let both = |hash: &str| {
        let mut bench = Bench::of(vec![
            correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5),
            correlation(2, CorrelationKind::EventCount, &[0], 10 * MINUTE, 3),
        ]);
        bench.rules[2].hash = hash.to_owned();
        bench.rules[2].title = hash.to_owned();
        Bench::new(bench.rules, bench.correlations, bench.limits, bench.lateness)
    };
    let mut bench = both("before");
    (0..4).for_each(|at| {
        bench.push(&Event::at(at, MONTH_END, "10.0.0.1"));
    });
    let after = both("after");
    let mut out = Vec::new();
    let mut restored = both("after");
    let came = restored.windows.restore(&bench.windows.snapshot(&bench.rules)).unwrap();
    assert_eq!((came.kept, came.changed), (1, 1));
    bench.windows.replace_rules(&bench.rules, &after.rules, &after.correlations, &mut out);
    assert_eq!((out.len(), &out[0].id), (1, &bench.found[0].id));
    assert_eq!((out[0].phase, out[0].count, out[0].title.as_str()), (Phase::Ended, 4, "before"));
    assert_eq!(came.lost, out, "a restart under other rules tells the same as a change of rules");
    for windows in [&mut bench.windows, &mut restored.windows] {
        let mut found = Vec::new();
        let fifth = Event::at(4, MONTH_END, "10.0.0.1");
        windows.push(4, &fifth.record(), &[0], &after.rules, &Plain, &mut found);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rule.as_str(), found[0].count), ("c1", 5));
        let bursts = windows.open_bursts();
        assert_eq!(bursts.len(), 1);
    }
    assert_eq!(bench.windows.snapshot(&after.rules), restored.windows.snapshot(&after.rules));
}

/// Windows of several kinds with something in each.
fn filled() -> Bench {
    let mut session = correlation(3, CorrelationKind::EventCount, &[0], 10 * MINUTE, 2);
    session.window = Window::Session { gap: MINUTE };
    let mut bench = Bench::of(vec![
        correlation(1, CorrelationKind::EventCount, &[0], 10 * MINUTE, 5),
        counting(correlation(2, CorrelationKind::ValueCount, &[0], 10 * MINUTE, 3), "user.name"),
        session,
        counting(correlation(4, CorrelationKind::ValueSum, &[0], 10 * MINUTE, 30), "size"),
        all_of(correlation(5, CorrelationKind::TemporalOrdered, &[0, 1], 10 * MINUTE, 1)),
    ]);
    for at in 0..200 {
        let time = MONTH_END + (at as i64 * 7 % 40) * SECOND;
        let user = Some(format!("user{}", at % 5));
        bench.push(&Event { user, size: Some(at as i64 % 9), ..Event::at(at, time, &format!("10.0.0.{}", at % 3)) });
    }
    bench
}

#[test]
fn a_snapshot_that_is_cut_or_of_another_version_is_refused() {
    let bench = filled();
    let whole = bench.windows.snapshot(&bench.rules);
    let mut windows = bench.restarted().windows;
    for cut in (0..whole.len()).step_by(17) {
        assert!(windows.restore(&whole[..cut]).is_err());
    }
    assert_eq!(windows.restore(b"sceauW1\n"), Err(SnapshotError::Version));
    assert_eq!(windows.snapshot(&bench.rules), whole);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, there is no panic, then or later.
    #[test]
    fn bytes_of_anybody_do_no_harm(changes in prop::collection::vec((0..100_000usize, any::<u8>()), 1..6)) {
        let mut bench = filled();
        let mut bytes = bench.windows.snapshot(&bench.rules);
        for (at, byte) in changes {
            let at = 8 + at % (bytes.len() - 8);
            bytes[at] = byte;
        }
        if bench.windows.restore(&bytes).is_ok() {
            for at in 1_000..1_200 {
                let time = MONTH_END + (at as i64 * 11 % 700) * SECOND;
                let user = Some(format!("user{}", at % 5));
                bench.push(&Event { user, size: Some(3), ..Event::at(at, time, &format!("10.0.0.{}", at % 3)) });
            }
            bench.push(&Event { rules: vec![], ..Event::at(2_000, MONTH_END + 9 * DAY, "-") });
            let again = bench.windows.snapshot(&bench.rules);
            assert!(bench.restarted().windows.restore(&again).is_ok());
        }
    }
}
