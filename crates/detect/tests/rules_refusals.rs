//! Each kind of refusal: by its word, with the line in question, and with a reason.
#![allow(clippy::unwrap_used)]

mod common;

use common::{detection, file, load, load_with};
use sceau_detect::{DetectError, Detector, Exception, Limits, RuleOverride, RuleSet, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The only refusal of a file.
fn refusal(text: &str) -> (&'static str, usize, String) {
    let set = load(text);
    let [refusal] = set.refusals() else { panic!("{:#?} for\n{text}", set.refusals()) };
    assert!(set.rules().is_empty(), "{text}");
    (refusal.kind, refusal.line, refusal.reason.clone())
}

fn refused(text: &str, kind: &str, line: usize) {
    let (found, at, reason) = refusal(text);
    assert_eq!((found, at), (kind, line), "{reason}\n{text}");
    assert!(reason.len() > 8, "{reason}");
}

/// A detection from its sixth line on.
fn refused_detection(text: &str, kind: &str, line: usize) {
    refused(&detection(text), kind, line + 5);
}

/// One selection `s` with these lines, its name being on line 1 of the detection.
fn refused_selection(text: &str, kind: &str) {
    let indented: String = text.lines().flat_map(|line| ["    ", line, "\n"]).collect();
    let (found, line, reason) = refusal(&detection(&format!("s:\n{indented}condition: s")));
    assert_eq!(found, kind, "{reason}\n{text}");
    assert!(line >= 6, "{line}: {text}");
}

#[test]
fn documents() {
    refused("a: [", "yaml", 1);
    refused("just text", "yaml", 1);
    refused("title: a\ntitle: b", "yaml", 1);
    refused("title: T\nid: x", "not_a_rule", 1);
    refused("id: x\ndetection: {}", "missing_key", 1);
    refused("title: T\n1: x", "not_a_rule", 1);
    refused("# about\n\ntitle: T\nid: 5\ndetection: {}", "bad_metadata", 4);
    refused("title: T\nlevel: terrible\ndetection: {}", "bad_metadata", 2);
    refused("title: T\nstatus: finished\ndetection: {}", "bad_metadata", 2);
    refused("title: T\ntags: [1]\ndetection: {}", "bad_metadata", 2);
    refused("title: T\nsceau.fires: maybe\ndetection: {}", "bad_metadata", 2);
    refused("title: T\nstatus: unsupported\ndetection: {}", "unsupported_status", 2);
    refused("title: T\nsigma-version: 3\ndetection: {}", "unsupported_version", 2);
    refused("title: T\ntaxonomy: mine\ndetection: {}", "unsupported_version", 2);
    refused("title: T\nrsigma.suppress: 5m\ndetection: {}", "unsupported_key", 2);
    refused("title: T\ndetection: {}\ncorrelation: {}", "not_a_rule", 1);
    refused(&format!("title: {}", "x".repeat(1 << 20)), "too_large", 1);
}

#[test]
fn log_sources() {
    let with = |logsource: &str| format!("title: T\n{logsource}\ndetection:\n    s: x\n    condition: s");
    refused(&with("level: low"), "missing_key", 1);
    refused(&with("logsource: x"), "missing_key", 2);
    refused(&with("logsource: {definition: x}"), "no_mapping", 2);
    refused(&with("logsource: {product: 5}"), "bad_metadata", 2);
    refused(&with("logsource: {product: linux, tenant: x}"), "unsupported_key", 2);
    let (kind, line, reason) = refusal(&with("logsource: {product: abacus, service: beads}"));
    assert_eq!((kind, line), ("no_mapping", 2));
    assert!(reason.contains("`product: abacus, service: beads`"), "{reason}");
}

#[test]
fn conditions() {
    refused_detection("s: x\ncondition: s\ntimeframe: 5m", "timeframe", 3);
    refused_detection("s: x\ncondition: s | count() > 5", "unsupported_condition", 2);
    refused_detection("s: x\ncondition: s near t", "unsupported_condition", 2);
    refused_detection("s: x\ncondition: s and", "bad_condition", 2);
    refused_detection("s: x\ncondition: s AND s", "bad_condition", 2);
    refused_detection("s: x\ncondition: 5", "bad_condition", 2);
    refused_detection("s: x\ncondition: [s, 5]", "bad_condition", 2);
    refused_detection("s: x\ncondition: t", "unknown_selection", 2);
    refused_detection("s: x\ncondition: s and not 1 of filter_*", "unknown_selection", 2);
    refused_detection("s: x\ncondition: all of filter_*", "unknown_selection", 2);
    refused_detection("_s: x\ncondition: 1 of them", "unknown_selection", 2);
    refused_detection("s_a: x\ns_b: y\ncondition: 3 of s_*", "unknown_selection", 3);
    refused_detection("s: x\ncondition: 0 of s", "unsupported_condition", 2);
}

#[test]
fn selections() {
    for text in ["{}", "[]", "1: x", "[[x]]", "a: {b: c}", "a: [[x]]", "<<: {a: b}", ".: x"] {
        let kind = if text.is_empty() { "" } else { "bad_detection" };
        let (found, _, reason) = refusal(&detection(&format!("s:\n    {text}\ncondition: s")));
        assert_eq!(found, kind, "{text}: {reason}");
    }
    for text in ["a: []", "a: .nan", "a: 18446744073709551615", "a: !x y", "- ''", "- null", "'|re': ''"] {
        refused_selection(text, "bad_value");
    }
}

#[test]
fn modifiers() {
    refused_selection("a|contain: x", "unknown_modifier");
    refused_selection("a|not: x", "unknown_modifier");
    for text in [
        "a|contains|startswith: x",
        "a|re|contains: x",
        "a|contains|base64: x",
        "a|base64|base64offset|contains: x",
        "a|base64offset: xyz",
        "a|wide|contains: x",
        "a|utf16: x",
        "a|base64|wide: x",
        "a|wide|utf16be|base64: x",
        "a|windash|re: x",
        "a|windash|base64: x",
        "a|i: x",
        "a|contains|all: x",
        "a|contains|all: [x]",
        "a|exists|all: [true, false]",
        "a|cidr|cased: 10.0.0.0/8",
        "a|hour: 5",
        "a|minute: 5",
        "a|gt|all: [1, 2]",
        "'|cidr': 10.0.0.0/8",
        "'|exists': true",
        "'|neq': x",
        "'|fieldref': x",
        "a|contains|contains: x",
        "a|all|all: [x, y]",
    ] {
        refused_selection(text, "unsupported_modifier");
    }
}

#[test]
fn values() {
    for text in [
        "a|exists: maybe",
        "a|exists: [true, false]",
        "a|cidr: 10.0.0.1",
        "a|cidr: 10.0.0.0/33",
        "a|gt: many",
        "a|gte: 90071992547409930",
        "a|contains: null",
        "a|re: null",
        "a|fieldref: 'b*'",
        "a|base64: 'b*'",
        "a|base64offset|contains: xy",
    ] {
        refused_selection(text, "bad_value");
    }
    refused_selection("a|re: '(?=x)'", "bad_regex");
    refused_selection("a|re: '('", "bad_regex");
    refused_selection("a|expand: '%nobody%'", "unknown_list");
    refused_selection("a|expand: nobody", "unknown_list");
    refused_selection("a|expand: 5", "unknown_list");
}

#[test]
fn collections() {
    let set = load(
        "action: global\nlogsource: {product: sceau}\n---\ntitle: T\nlogsource: {product: linux}\ndetection: {s: x, condition: s}",
    );
    let kinds: Vec<_> = set.refusals().iter().map(|refusal| (refusal.kind, refusal.line)).collect();
    assert_eq!(kinds, [("collection_action", 1), ("collection_action", 4)]);
}

/// A bad document doesn't take the others of its file with it.
#[test]
fn one_bad_document_among_good_ones() {
    let good = detection("s: x\ncondition: s");
    let other = good.replace("id: t", "id: u");
    let set = load(&format!("{good}---\na: [\n---\n{other}---\n{good}"));
    assert_eq!(set.rules().iter().map(|rule| (rule.id.as_str(), rule.line)).collect::<Vec<_>>(), [("t", 1), ("u", 11)]);
    let kinds: Vec<_> = set.refusals().iter().map(|refusal| (refusal.kind, refusal.line)).collect();
    assert_eq!(kinds, [("yaml", 9), ("duplicate_id", 20)]);
}

const BASE: &str =
    "title: B\nname: base\nlogsource: {product: sceau}\ndetection: {s: {event.outcome: failure}, condition: s}\n---\n";

/// Below a base rule, from line 6 on.
fn correlation(text: &str) -> String {
    let indented: String = text.lines().flat_map(|line| ["    ", line, "\n"]).collect();
    format!("{BASE}title: C\nid: c\ncorrelation:\n{indented}")
}

fn refused_correlation(text: &str, kind: &str) {
    let set = load(&correlation(text));
    let [refusal] = set.refusals() else { panic!("{:#?} for\n{text}", set.refusals()) };
    assert_eq!(refusal.kind, kind, "{}\n{text}", refusal.reason);
    assert!(refusal.line >= 6, "{refusal:?}");
    // The base rule stays, and stays quiet.
    let [base] = set.rules() else { panic!() };
    let referred = text.contains("[base");
    assert_eq!(base.fires, !referred, "{refusal:?}");
}

#[test]
fn correlations() {
    let event_count = "type: event_count\nrules: [base]\ngroup-by: [source.ip]\ntimespan: 10m\ncondition: {gte: 5}";
    assert_eq!(load(&correlation(event_count)).refusals(), []);
    for (from, to, kind) in [
        ("event_count", "event_counts", "bad_correlation"),
        ("[base]", "[]", "bad_correlation"),
        ("[base]", "[base, 5]", "bad_correlation"),
        ("[base]", "[base, base]", "bad_correlation"),
        ("[base]", "[nobody]", "unknown_reference"),
        ("[source.ip]", "[source.ip, 5]", "bad_correlation"),
        ("10m", "10", "bad_correlation"),
        ("10m", "0m", "bad_correlation"),
        ("10m", "1M", "bad_correlation"),
        ("10m", "400d", "bad_correlation"),
        ("timespan: 10m\n", "", "bad_correlation"),
        ("10m", "10m\ntimeframe: 10m", "bad_correlation"),
        ("10m", "10m\nwindow: session", "bad_correlation"),
        ("10m", "10m\ngap: 1m", "bad_correlation"),
        ("10m", "10m\nwindow: rolling", "bad_correlation"),
        ("10m", "10m\nlimit: 5", "unsupported_key"),
        ("10m", "10m\ngenerate: maybe", "bad_correlation"),
        ("10m", "10m\naliases: [x]", "bad_correlation"),
        ("10m", "10m\naliases: {x: {nobody: y}}", "unknown_reference"),
        ("{gte: 5}", "{gte: -1}", "unsupported_condition"),
        ("{gte: 5}", "{gte: 5.5}", "unsupported_condition"),
        ("{gte: 5}", "{gte: '5'}", "unsupported_condition"),
        ("{gte: 5}", "{atleast: 5}", "unsupported_condition"),
        ("{gte: 5}", "{gte: 5, lt: 3}", "unsupported_condition"),
        ("{gte: 5}", "{gte: 0}", "unsupported_condition"),
        ("{gte: 5}", "{gte: 5, field: x}", "bad_correlation"),
        ("{gte: 5}", "{gte: 5, percentile: 5}", "bad_correlation"),
        ("{gte: 5}", "base", "unsupported_condition"),
        ("\ncondition: {gte: 5}", "", "bad_correlation"),
    ] {
        let text = event_count.replace(from, to);
        assert_ne!(text, event_count);
        refused_correlation(&text, kind);
    }
    refused_correlation(&event_count.replace("event_count", "value_count"), "bad_correlation");
    refused_correlation(&event_count.replace("event_count", "value_sum"), "bad_correlation");
    for (condition, kind) in [
        ("not base", "unsupported_condition"),
        ("base and nobody", "unknown_reference"),
        ("2 of them", "unsupported_condition"),
        ("{gte: 2}", "unsupported_condition"),
    ] {
        refused_correlation(&format!("type: temporal\nrules: [base]\ntimespan: 1m\ncondition: {condition}"), kind);
    }
}

/// What can be read, but not be judged exactly before the window is over.
#[test]
fn conditions_that_windows_cannot_judge() {
    for (kind, condition, word) in [
        ("event_count", "{lt: 5}", "lt"),
        ("event_count", "{gte: 2, lte: 5}", "lte"),
        ("event_count", "{eq: 5}", "eq"),
        ("event_count", "{gte: 1, neq: 5}", "neq"),
        ("value_count", "{field: user.name, lte: 5}", "lte"),
        ("value_sum", "{field: bytes, lt: 5}", "lt"),
        ("event_count", "{gte: 10001}", "more than the 10000"),
        ("value_count", "{field: user.name, gt: 10000}", "more than the 10000"),
        ("value_sum", "{field: bytes, gte: 9000000000000000000}", "more than the"),
    ] {
        let text = format!("type: {kind}\nrules: [base]\ngroup-by: [source.ip]\ntimespan: 10m\ncondition: {condition}");
        refused_correlation(&text, "unsupported_condition");
        let set = load(&correlation(&text));
        assert!(set.refusals()[0].reason.contains(word), "{:?}", set.refusals());
        assert_eq!(set.refusals()[0].line, 13, "{condition}");
    }
    // A mean is judged at each record.
    let mean = "type: value_avg\nrules: [base]\ngroup-by: [source.ip]\ntimespan: 10m\ncondition: {field: b, lt: 5}";
    assert_eq!(load(&correlation(mean)).refusals(), []);
    // The most that a group keeps is loaded, and whatever is loaded can be judged.
    let most = "type: event_count\nrules: [base]\ngroup-by: [source.ip]\ntimespan: 10m\ncondition: {gte: 10000}";
    let set = load(&correlation(most));
    assert_eq!(set.refusals(), []);
    let detector = Detector::new(Arc::new(set), Limits::default(), 0);
    assert_eq!(detector.refused(), []);
    let ordered = format!(
        "{BASE}{}---\ntitle: C\nid: c\ncorrelation:\n    type: temporal_ordered\n    rules: [base, other]\n    timespan: 1m\n    condition: {{gte: 1}}\n",
        BASE.replace("base", "other").trim_end_matches("---\n")
    );
    let set = load(&ordered);
    assert_eq!(set.refusals().iter().map(|refusal| refusal.kind).collect::<Vec<_>>(), ["unsupported_condition"]);
}

#[test]
fn references() {
    let to = |name: &str, to: &str| {
        format!("---\ntitle: {name}\nname: {name}\ncorrelation: {{type: temporal, rules: [{to}], timespan: 1m}}\n")
    };
    let set = load(&[to("a", "b"), to("b", "a"), to("c", "a")].concat());
    let kinds: Vec<_> = set.refusals().iter().map(|refusal| refusal.kind).collect();
    assert_eq!(kinds, ["circular", "circular", "circular"]);
    let set = load(&[to("a", "b"), to("b", "c"), "---\ntitle: C\nname: c\ndetection: {}".to_owned()].concat());
    let reasons: Vec<_> =
        set.refusals().iter().map(|refusal| (refusal.kind, refusal.reason.contains("was refused"))).collect();
    assert_eq!(reasons[..2], [("unknown_reference", true), ("unknown_reference", true)]);
    // A name that two other files have is nobody's.
    let base = |id: &str| detection("s: x\ncondition: s").replace("id: t", &format!("id: r{id}\nname: twin"));
    let files = [file("1.yml", &base("1")), file("2.yml", &base("2")), file("3.yml", &to("c", "twin"))];
    let set = load_with(&files, &Settings::default());
    assert!(set.refusals()[0].reason.contains("2 rules have that name"), "{:?}", set.refusals());
    // But the own file's comes first.
    let own = format!("{}{}", base("3"), to("c", "twin"));
    let set =
        load_with(&[file("1.yml", &base("1")), file("2.yml", &base("2")), file("3.yml", &own)], &Settings::default());
    assert_eq!(set.refusals(), []);
    assert_eq!(set.rules()[set.correlations()[0].refers[0]].id, "r3");
}

#[test]
fn filters() {
    let rule = detection("s: {a: b}\ncondition: s");
    let filter = |text: &str| format!("{rule}---\ntitle: F\nlogsource: {{product: sceau}}\nfilter: {{{text}}}");
    let kind = |text: &str| load(text).refusals().iter().map(|refusal| refusal.kind).collect::<Vec<_>>();
    assert!(kind(&filter("rules: [t], x: {c: d}, condition: not x")).is_empty());
    assert!(kind(&filter("rules: any, x: {c: d}, condition: not x")).is_empty());
    assert_eq!(kind(&filter("x: {c: d}, condition: not x")), ["missing_key"]);
    assert_eq!(kind(&filter("rules: [], x: {c: d}, condition: not x")), ["bad_detection"]);
    assert_eq!(kind(&filter("rules: [nobody], x: {c: d}, condition: not x")), ["unknown_reference"]);
    assert_eq!(kind(&filter("rules: [t], x: {c: d}, condition: not y")), ["unknown_selection"]);
    let elsewhere = filter("rules: [t], x: {c: d}, condition: not x")
        .replace("---\ntitle: F\nlogsource: {product: sceau}", "---\ntitle: F\nlogsource: {product: linux}");
    assert_eq!(kind(&elsewhere), ["unknown_reference"]);
}

#[test]
fn mappings() {
    let (rules, mut mappings) = RuleSet::builtin_files();
    for (text, line) in [
        ("title: x", 1),
        ("title: x\nsources:\n    - logsource: {}\n", 1),
        ("title: x\nsources:\n    - logsource: {product: x}\n      when: {field: a}\n", 1),
        ("title: x\nsources:\n    - logsource: {product: x}\n      when: {field: a, is: x, starts: y}\n", 1),
        ("title: x\nsources:\n    - logsource: {product: x}\n      when: {any: []}\n", 1),
        ("title: x\nsources:\n    - logsource: {product: x}\n      fields: {a: []}\n", 1),
    ] {
        mappings.push(file("own.yml", text));
        let set = RuleSet::load(&rules, &mappings, &Settings::default()).unwrap();
        let [refusal] = set.refusals() else { panic!("{:?} for\n{text}", set.refusals()) };
        assert_eq!((refusal.kind, refusal.path.as_str()), ("bad_mapping", "own.yml"));
        assert!(refusal.line >= line);
        mappings.pop();
    }
}

#[test]
fn settings() {
    let load = |settings: &Settings| RuleSet::load(&[], &[], settings).map(drop);
    let with = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        load(&settings).unwrap_err()
    };
    assert_eq!(with(|s| s.zone = "Mars/Phobos".to_owned()), DetectError::Zone("Mars/Phobos".to_owned()));
    assert_eq!(with(|s| s.lateness = -1), DetectError::Lateness(-1));
    let empty = Exception { rule: None, fields: BTreeMap::new(), until: None };
    let settings = Settings { exceptions: BTreeMap::from([("e".to_owned(), empty)]), ..Settings::default() };
    assert_eq!(load(&settings), Err(DetectError::EmptyException("e".to_owned())));
    let over = |threshold| {
        BTreeMap::from([("t".to_owned(), RuleOverride { threshold: Some(threshold), ..RuleOverride::default() })])
    };
    let settings = Settings { overrides: over(0), ..Settings::default() };
    assert_eq!(load(&settings), Err(DetectError::ZeroThreshold("t".to_owned())));
    let settings = Settings { overrides: over(7), ..Settings::default() };
    let set = load_with(&[file("x.yml", &detection("s: x\ncondition: s"))], &settings);
    assert_eq!(set.refusals()[0].kind, "bad_override");
}
