//! Windows against an oracle that remembers everything and looks at all of it each time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod windows_common;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sceau_detect::{
    Condition, Correlation, CorrelationKind, Expression, Finding, Level, Limits, Operator, Phase, Window,
};
use sceau_event::Micros;
use sha2::{Digest, Sha256};
use windows_common::{Bench, Event, MONTH_END, SECOND, all_of, correlation, counting, meta};

const LATENESS: i64 = 6 * SECOND;

#[derive(Clone, Debug)]
struct Kept {
    time: i64,
    index: u64,
    count: u64,
    value: String,
    slots: u32,
    matched: bool,
    member: bool,
    source: String,
    user: Option<String>,
    address: Option<String>,
}

#[derive(Clone, Debug)]
struct Open {
    id: String,
    matched: (i64, i64),
    source: String,
    members: Vec<Kept>,
}

#[derive(Default)]
struct Group {
    kept: Vec<Kept>,
    open: Vec<Open>,
}

struct Oracle {
    correlations: Vec<Correlation>,
    groups: Vec<BTreeMap<Vec<String>, Group>>,
    clocks: BTreeMap<String, i64>,
    /// When each source was heard of last, by the times of receipt.
    heard: BTreeMap<String, i64>,
    out: Vec<Finding>,
}

fn bucket(correlation: &Correlation, time: i64) -> i64 {
    if correlation.window == Window::Tumbling { time.div_euclid(correlation.timespan) } else { 0 }
}

/// The window of a record: all before it that belong to it, in time order, and itself.
fn window(correlation: &Correlation, kept: &[Kept], at: usize) -> Vec<usize> {
    let mut window = vec![at];
    for other in (0..at).rev() {
        let apart = kept[at].time - kept[other].time;
        let inside = match correlation.window {
            Window::Sliding => apart <= correlation.timespan,
            Window::Tumbling => bucket(correlation, kept[at].time) == bucket(correlation, kept[other].time),
            Window::Session { gap } => {
                apart <= correlation.timespan && kept[window[window.len() - 1]].time - kept[other].time <= gap
            }
        };
        if !inside {
            break;
        }
        window.push(other);
    }
    window.reverse();
    window
}

fn value_of(event: &Event, field: &str) -> Option<String> {
    match field {
        "source.ip" => event.address.clone(),
        "user.name" => event.user.clone(),
        _ => event.size.map(|size| size.to_string()),
    }
}

fn numbers(window: &[&Kept]) -> Vec<i64> {
    let each = |kept: &&Kept| std::iter::repeat_n(kept.value.parse::<i64>().unwrap(), kept.count as usize);
    let mut all: Vec<i64> = window.iter().flat_map(each).collect();
    all.sort_unstable();
    all
}

fn percentile(all: &[i64], percent: u64) -> i64 {
    all[((all.len() as u64 * percent).div_ceil(100).max(1) - 1) as usize]
}

fn holds(correlation: &Correlation, window: &[&Kept]) -> bool {
    use CorrelationKind as Kind;
    let slots = window.iter().fold(0, |slots, kept| slots | kept.slots);
    let (predicates, percent) = match &correlation.condition {
        Condition::Expression(expression) => {
            return match correlation.kind {
                Kind::TemporalOrdered => {
                    let mut next = 0;
                    window.iter().for_each(|kept| next += usize::from(kept.slots & (1 << next) != 0));
                    next >= correlation.refers.len()
                }
                _ => expression.holds(&mut |at| slots & (1 << at) != 0),
            };
        }
        Condition::Threshold { predicates, percentile, .. } => (predicates, percentile.unwrap_or(50)),
    };
    predicates.iter().all(|&(operator, bound)| {
        let bound = bound as i64;
        match correlation.kind {
            Kind::EventCount => operator.holds(window.iter().map(|kept| kept.count as i64).sum(), bound),
            Kind::ValueCount => {
                let values: std::collections::BTreeSet<&str> = window.iter().map(|kept| kept.value.as_str()).collect();
                operator.holds(values.len() as i64, bound)
            }
            Kind::ValueSum => operator.holds(numbers(window).iter().sum(), bound),
            Kind::ValueAvg => operator.holds(numbers(window).iter().sum(), bound * numbers(window).len() as i64),
            Kind::ValuePercentile | Kind::ValueMedian => operator.holds(percentile(&numbers(window), percent), bound),
            Kind::Temporal | Kind::TemporalOrdered => operator.holds(i64::from(slots.count_ones()), bound),
        }
    })
}

fn told(correlation: &Correlation, window: &[&Kept]) -> BTreeMap<String, Vec<String>> {
    let fields = match &correlation.condition {
        Condition::Threshold { fields, .. } => fields.clone(),
        Condition::Expression(_) => return BTreeMap::new(),
    };
    match correlation.kind {
        CorrelationKind::ValueCount => {
            let mut values: Vec<String> = window.iter().map(|kept| kept.value.clone()).collect();
            values.sort();
            values.dedup();
            BTreeMap::from([(fields[0].clone(), values)])
        }
        CorrelationKind::ValueSum => {
            BTreeMap::from([("sum of size".to_owned(), vec![numbers(window).iter().sum::<i64>().to_string()])])
        }
        // The mean has a fraction: not looked at.
        CorrelationKind::ValueAvg => BTreeMap::new(),
        CorrelationKind::ValueMedian => {
            BTreeMap::from([("percentile of size".to_owned(), vec![percentile(&numbers(window), 50).to_string()])])
        }
        _ => BTreeMap::new(),
    }
}

impl Oracle {
    fn new(correlations: Vec<Correlation>) -> Self {
        let groups = correlations.iter().map(|_| BTreeMap::new()).collect();
        Self { correlations, groups, clocks: BTreeMap::new(), heard: BTreeMap::new(), out: Vec::new() }
    }

    fn finding(
        &self,
        at: usize,
        open: &Open,
        phase: Phase,
        values: BTreeMap<String, Vec<String>>,
        key: &[String],
    ) -> Finding {
        let rule = format!("c{}", self.correlations[at].rule);
        let mut members = open.members.clone();
        members.sort_by_key(|kept| (kept.time, kept.index));
        let mut values = values;
        if phase == Phase::Ended {
            for (name, of) in [
                ("user.name", (|k: &Kept| k.user.clone()) as fn(&Kept) -> Option<String>),
                ("source.ip", |k| k.address.clone()),
            ] {
                let mut all: Vec<String> = members.iter().filter_map(of).collect();
                all.sort();
                all.dedup();
                if !all.is_empty() {
                    values.insert(name.to_owned(), all);
                }
            }
        }
        Finding {
            id: open.id.clone(),
            phase,
            title: format!("the rule {rule}"),
            rule_hash: format!("hash of {rule}"),
            rule,
            level: Level::High,
            tags: ["attack.t1110".to_owned()].into(),
            group: self.correlations[at].group_by.iter().cloned().zip(key.iter().cloned()).collect(),
            evidence: members.iter().map(|kept| kept.index).take(100).collect(),
            count: members.iter().map(|kept| kept.count).sum(),
            first: Micros(members[0].time),
            last: Micros(members[members.len() - 1].time),
            values,
            late: false,
        }
    }

    fn push(&mut self, event: &Event) {
        let clock = self.clocks.entry(event.source.clone()).or_insert(i64::MIN);
        *clock = (*clock).max(event.time.min(event.received));
        let clock = *clock;
        let heard = self.heard.entry(event.source.clone()).or_insert(i64::MIN);
        *heard = (*heard).max(event.received);
        let now = self.heard.values().copied().max().unwrap_or(i64::MIN);
        let mut ended = Vec::new();
        for at in 0..self.correlations.len() {
            let one = &self.correlations[at];
            let patience = one.timespan + LATENESS;
            let over = |open: &Open| {
                open.source == event.source && open.matched.1 + patience < clock
                    || self.heard[&open.source] + patience < now
            };
            let mut done = Vec::new();
            for (key, group) in &mut self.groups[at] {
                group.open.retain(|open| {
                    if over(open) {
                        done.push((key.clone(), open.clone()));
                    }
                    !over(open)
                });
            }
            ended.extend(done.iter().map(|(key, open)| self.finding(at, open, Phase::Ended, BTreeMap::new(), key)));
        }
        ended.sort_by(|a, b| (a.last, &a.id).cmp(&(b.last, &b.id)));
        self.out.extend(ended);
        // Matches on their way: correlation, slot, the record as it is kept, the group it matched in.
        let mut hits: Vec<(usize, usize, Kept, Event)> = Vec::new();
        for &rule in &event.rules {
            for (at, one) in self.correlations.iter().enumerate() {
                if let Some(slot) = one.refers.iter().position(|&other| other == rule) {
                    hits.push((at, slot, keep(event), event.clone()));
                }
            }
        }
        for at in 0..self.correlations.len() {
            let mut entering: Vec<(Vec<String>, Kept)> = Vec::new();
            let (mine, others) = hits.into_iter().partition(|hit| hit.0 == at);
            hits = others;
            let mine: Vec<(usize, usize, Kept, Event)> = mine;
            for (_, slot, mut kept, of) in mine {
                let one = &self.correlations[at];
                let key: Option<Vec<String>> = one.group_by.iter().map(|name| value_of(&of, name)).collect();
                let counted = match &one.condition {
                    Condition::Threshold { fields, .. } if !fields.is_empty() => value_of(&of, &fields[0]),
                    _ => Some(String::new()),
                };
                let (Some(key), Some(counted)) = (key, counted) else { continue };
                (kept.matched, kept.member) = (false, false);
                kept.slots = 1 << slot;
                kept.value = counted;
                match entering.iter_mut().find(|(other, old)| *other == key && old.index == kept.index) {
                    Some((_, old)) => old.slots |= kept.slots,
                    None => entering.push((key, kept)),
                }
            }
            for (key, kept) in entering {
                let fresh = self.enter(at, &key, kept);
                let rule = self.correlations[at].rule;
                for (parent, one) in self.correlations.iter().enumerate() {
                    if let Some(slot) = one.refers.iter().position(|&other| other == rule) {
                        hits.extend(fresh.iter().map(|kept| {
                            let of = Event {
                                user: kept.user.clone(),
                                address: kept.address.clone(),
                                size: None,
                                ..event.clone()
                            };
                            (parent, slot, kept.clone(), of)
                        }));
                    }
                }
            }
        }
    }

    fn enter(&mut self, at: usize, key: &[String], new: Kept) -> Vec<Kept> {
        let one = self.correlations[at].clone();
        let mut group = self.groups[at].remove(key).unwrap_or_default();
        match group.kept.iter_mut().find(|old| old.index == new.index) {
            Some(old) => old.slots |= new.slots,
            None => group.kept.push(new.clone()),
        }
        group.kept.sort_by_key(|kept| (kept.time, kept.index));
        let place = group.kept.iter().position(|kept| kept.index == new.index).unwrap();
        let mut handed = Vec::new();
        for later in place..group.kept.len() {
            let window = window(&one, &group.kept, later);
            if !window.contains(&place) {
                continue;
            }
            let fresh = !group.kept[later].matched;
            let items: Vec<&Kept> = window.iter().map(|&at| &group.kept[at]).collect();
            if fresh && !holds(&one, &items) {
                continue;
            }
            let values = told(&one, &items);
            group.kept[later].matched = true;
            let from = group.kept[window[0]].time;
            let mut members = Vec::new();
            for at in window {
                if !std::mem::replace(&mut group.kept[at].member, true) {
                    members.push(group.kept[at].clone());
                }
            }
            let matched = group.kept[later].clone();
            if fresh {
                handed.push(matched.clone());
            }
            if !one.fires || (!fresh && members.is_empty()) {
                continue;
            }
            self.burst(at, key, &mut group.open, (&matched, from), members, values);
        }
        self.groups[at].insert(key.to_vec(), group);
        handed
    }

    fn burst(
        &mut self,
        at: usize,
        key: &[String],
        open: &mut Vec<Open>,
        (matched, from): (&Kept, i64),
        members: Vec<Kept>,
        values: BTreeMap<String, Vec<String>>,
    ) {
        let one = &self.correlations[at];
        let within =
            |open: &Open, pause: i64| matched.time >= open.matched.0 - pause && matched.time <= open.matched.1 + pause;
        let near = |open: &&mut Open| match one.window {
            Window::Tumbling => bucket(one, open.matched.0) == bucket(one, matched.time),
            Window::Sliding => within(open, one.timespan),
            Window::Session { gap } => within(open, gap) || (from <= open.matched.1 && matched.time >= open.matched.0),
        };
        if let Some(open) = open.iter_mut().find(near) {
            if matched.time >= open.matched.1 {
                open.source.clone_from(&matched.source);
            }
            open.matched = (open.matched.0.min(matched.time), open.matched.1.max(matched.time));
            open.members.extend(members);
            return;
        }
        let Some(first) = members.first() else { return };
        let mut hash = Sha256::new_with_prefix(b"sceau-finding-1\n");
        for text in std::iter::once(&format!("c{}", one.rule)).chain(key) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update(first.index.to_be_bytes());
        let id = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let new = Open { id, matched: (matched.time, matched.time), source: matched.source.clone(), members };
        let fired = self.finding(at, &new, Phase::Fired, values, key);
        self.out.push(fired);
        open.push(new);
    }
}

fn keep(event: &Event) -> Kept {
    Kept {
        time: event.time,
        index: event.index,
        count: event.count as u64,
        value: String::new(),
        slots: 0,
        matched: false,
        member: false,
        source: event.source.clone(),
        user: event.user.clone(),
        address: event.address.clone(),
    }
}

/// Correlations of all kinds over the rules `failed` (0) and `succeeded` (1); their own places are from 2.
fn correlations(timespan: i64, least: u64, window: Window) -> Vec<Correlation> {
    use CorrelationKind as Kind;
    let by = |mut one: Correlation, field: &str| {
        one.group_by = vec![field.to_owned()];
        one
    };
    let with = |mut one: Correlation, operator: Operator| {
        if let Condition::Threshold { predicates, .. } = &mut one.condition {
            predicates[0].0 = operator;
        }
        one
    };
    let mut either = correlation(7, Kind::Temporal, &[0, 1, 2], timespan, 1);
    either.condition = Condition::Expression(Expression::Or(vec![
        Expression::And(vec![Expression::Rule(0), Expression::Rule(1)]),
        Expression::AtLeast(2, vec![Expression::Rule(2), Expression::Rule(1)]),
    ]));
    let mut hidden = correlation(12, Kind::EventCount, &[1], timespan, least);
    hidden.fires = false;
    let mut all = vec![
        correlation(2, Kind::EventCount, &[0], timespan, least),
        correlation(3, Kind::EventCount, &[0, 1], timespan, 1),
        counting(correlation(4, Kind::ValueCount, &[0], timespan, least), "user.name"),
        counting(by(correlation(5, Kind::ValueCount, &[0, 1], timespan, least), "user.name"), "source.ip"),
        all_of(correlation(6, Kind::Temporal, &[0, 1], timespan, 1)),
        either,
        all_of(correlation(8, Kind::TemporalOrdered, &[2, 1], timespan, 1)),
        with(counting(correlation(9, Kind::ValueSum, &[0], timespan, 3 * least), "size"), Operator::Gt),
        with(counting(correlation(10, Kind::ValueAvg, &[0, 1], timespan, 2), "size"), Operator::Lt),
        counting(correlation(11, Kind::ValueMedian, &[0], timespan, 3), "size"),
        hidden,
        // Chains of chains: counted, in another group, and with a rule of its own.
        by(correlation(13, Kind::EventCount, &[12, 2], timespan, 2), "user.name"),
        all_of(by(correlation(14, Kind::TemporalOrdered, &[13, 0], 2 * timespan, 1), "source.ip")),
        correlation(15, Kind::EventCount, &[12, 0], timespan, 1),
    ];
    all.iter_mut().for_each(|one| one.window = window);
    all
}

fn bench(correlations: &[Correlation]) -> Bench {
    let rules = (0..16).map(|rule| match correlations.iter().find(|one| one.rule == rule) {
        Some(one) => meta(&format!("c{rule}"), one.kind.name(), one.fires),
        None => meta(&format!("d{rule}"), "detection", false),
    });
    Bench::new(rules.collect(), correlations.to_vec(), Limits::default(), LATENESS)
}

/// Records in the order in which they come: steps of time forward, each record up to the lateness back from there.
fn events(most: usize, crowded: bool) -> impl Strategy<Value = Vec<Event>> {
    let people = if crowded { 1..2usize } else { 1..4usize };
    let step = prop_oneof![6 => Just(0i64), 6 => Just(1), 3 => 2..5i64, 1 => 5..30i64];
    let back = prop_oneof![4 => Just(0i64), 2 => 0..7i64];
    let one = (step, back, people.clone(), 0..4usize, 1..4i64, 0..9i64, 1..4usize, any::<bool>());
    prop::collection::vec(one, 1..most).prop_map(|all| {
        let mut now = MONTH_END;
        let mut newest = MONTH_END;
        all.into_iter()
            .enumerate()
            .map(|(at, (step, back, address, user, count, size, rules, second))| {
                now += step * SECOND;
                let time = (now - back * SECOND).max(newest - LATENESS);
                newest = newest.max(time);
                Event {
                    source: if second { "sshd" } else { "vpn" }.to_owned(),
                    address: Some(format!("10.0.0.{address}")),
                    user: Some(format!("user{user}")).filter(|_| user > 0),
                    size: Some(size - 2).filter(|_| size > 0),
                    count: if count == 3 { 2 } else { 1 },
                    rules: [0, 1].into_iter().filter(|rule| rules & (1 << rule) != 0).collect(),
                    ..Event::at(at as u64 * 3, time, "")
                }
            })
            .collect()
    })
}

/// Far in the future all bursts are over.
fn end(index: u64) -> Vec<Event> {
    ["sshd", "vpn"]
        .into_iter()
        .enumerate()
        .map(|(at, source)| Event {
            source: source.to_owned(),
            rules: Vec::new(),
            ..Event::at(index + at as u64, MONTH_END + 900_000 * SECOND, "10.9.9.9")
        })
        .collect()
}

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        3 => Just(Window::Sliding),
        1 => Just(Window::Tumbling),
        1 => (1..5i64).prop_map(|gap| Window::Session { gap: gap * SECOND }),
    ]
}

fn compare(correlations: Vec<Correlation>, events: &[Event], restart: &[usize]) -> Result<(), TestCaseError> {
    let mut bench = bench(&correlations);
    let mut oracle = Oracle::new(correlations);
    for (at, event) in events.iter().chain(&end(1_000_000)).enumerate() {
        if restart.contains(&at) {
            bench = bench.restarted();
        }
        let from = bench.found.len();
        bench.push(event);
        oracle.push(event);
        for found in &mut bench.found[from..] {
            if found.phase == Phase::Fired && found.rule == "c10" {
                found.values.clear();
            }
        }
        prop_assert_eq!(&bench.found[from..], &oracle.out[from..], "at {}: {:?}", at, event);
    }
    prop_assert!(bench.windows.open_bursts().is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// All kinds of correlation, chains too, out of order up to the lateness: the same findings, in the same order; a
    /// restart anywhere changes nothing.
    #[test]
    fn the_same_as_an_oracle_that_remembers_everything(
        timespan in 1..12i64,
        least in 1..6u64,
        window in windows(),
        events in events(120, false),
        restart in prop::collection::vec(0..120usize, 0..3),
    ) {
        compare(correlations(timespan * SECOND, least, window), &events, &restart)?;
    }

    /// The log goes on while one of the sources says nothing.
    #[test]
    fn the_same_when_sources_fall_silent(
        timespan in 1..12i64,
        least in 1..4u64,
        window in windows(),
        events in events(120, false),
        pauses in prop::collection::vec(prop_oneof![6 => Just(0i64), 2 => 1..8i64, 1 => 8..40i64], 120),
        restart in prop::collection::vec(0..120usize, 0..3),
    ) {
        let mut events = events;
        let mut received = events[0].received;
        for (event, pause) in events.iter_mut().zip(&pauses) {
            received += pause * SECOND;
            event.received = received;
        }
        compare(correlations(timespan * SECOND, least, window), &events, &restart)?;
    }

    /// So many records of one group in a timespan that those that can't matter are let go.
    #[test]
    fn the_same_in_crowded_groups(
        timespan in 60..200i64,
        least in 1..12u64,
        window in windows(),
        events in events(420, true),
        restart in prop::collection::vec(0..420usize, 0..2),
    ) {
        let mut all = correlations(timespan * SECOND, least, window);
        // Sums of members of which the oracle knows all; the others are slow in it.
        all.retain(|one| matches!(one.rule, 2 | 4 | 5 | 12 | 13));
        compare(all, &events, &restart)?;
    }

    /// In which order records come makes no difference to how many are counted, as long as none is late.
    #[test]
    fn order_makes_no_difference_to_what_is_counted(
        timespan in 1..12i64,
        least in 1..6u64,
        tumbling in any::<bool>(),
        events in events(150, false),
    ) {
        let window = if tumbling { Window::Tumbling } else { Window::Sliding };
        let mut all = correlations(timespan * SECOND, least, window);
        all.retain(|one| one.kind == CorrelationKind::EventCount || one.kind == CorrelationKind::ValueCount);
        all.retain(|one| one.rule < 12);
        let counts = |events: &[Event]| {
            let mut bench = bench(&all);
            events.iter().chain(&end(1_000_000)).for_each(|event| { bench.push(event); });
            let mut counts: BTreeMap<(String, Vec<(String, String)>), u64> = BTreeMap::new();
            for found in bench.found.into_iter().filter(|found| found.phase == Phase::Ended) {
                *counts.entry((found.rule, found.group)).or_default() += found.count;
            }
            counts
        };
        let mut sorted = events.clone();
        sorted.sort_by_key(|event| (event.time, event.index));
        prop_assert_eq!(counts(&events), counts(&sorted));
    }
}
