//! What rules match: values, modifiers and conditions as the specification tells them, mappings, lists, exceptions.
#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine as _;
use common::{detection, file, hits, json, line, load, load_with, matches, selection};
use sceau_detect::{CorrelationKind, Exception, Level, RuleOverride, RuleSet, Settings, Window};
use std::collections::BTreeMap;

#[test]
fn wildcards() {
    let set = selection("a: 'x*y?z'");
    assert!(hits(&set, r#"{"a":"X\n1\n2yQz"}"#), "a wildcard stands for line breaks, and case doesn't count");
    assert!(!hits(&set, r#"{"a":"xyz"}"#) && !hits(&set, r#"{"a":"1xyQz"}"#));
    let set = selection(r"a: 'x\*y'");
    assert!(hits(&set, r#"{"a":"x*y"}"#) && !hits(&set, r#"{"a":"xzy"}"#));
    let set = selection("a|contains: 'x*y'");
    assert!(hits(&set, r#"{"a":"--x\n\ny--"}"#) && !hits(&set, r#"{"a":"y x"}"#));
    let set = selection("a|startswith: 'x?y'");
    assert!(hits(&set, r#"{"a":"xAyB"}"#) && !hits(&set, r#"{"a":"BxAy"}"#));
    let set = selection("a|cased: 'X*'");
    assert!(hits(&set, r#"{"a":"Xy"}"#) && !hits(&set, r#"{"a":"xy"}"#));
    assert!(hits(&selection("a: '*'"), r#"{"a":""}"#) && !hits(&selection("a: '*'"), r#"{"b":""}"#));
    assert!(hits(&selection("a: ''"), r#"{"a":""}"#) && !hits(&selection("a: ''"), r#"{"b":"x"}"#));
}

#[test]
fn numbers_and_booleans() {
    let set = selection("a: 4625");
    assert!(hits(&set, r#"{"a":4625}"#) && hits(&set, r#"{"a":"4625"}"#) && !hits(&set, r#"{"a":46250}"#));
    let set = selection("a: 9007199254740993");
    assert!(hits(&set, r#"{"a":9007199254740993}"#) && !hits(&set, r#"{"a":9007199254740992}"#));
    let set = selection("a|contains: 62");
    assert!(hits(&set, r#"{"a":4625}"#));
    let set = selection("a: true");
    assert!(hits(&set, r#"{"a":true}"#) && hits(&set, r#"{"a":"True"}"#) && !hits(&set, r#"{"a":1}"#));
    let set = selection("a|gte: 5");
    assert!(hits(&set, r#"{"a":5}"#) && hits(&set, r#"{"a":"5.5"}"#) && !hits(&set, r#"{"a":"x"}"#));
    assert!(hits(&selection("http.response.status_code|lt: 500"), r#"{"status":404}"#));
}

#[test]
fn null_exists_neq() {
    let set = selection("a: null");
    assert!(hits(&set, r#"{"b":1}"#) && hits(&set, r#"{"a":null}"#) && !hits(&set, r#"{"a":""}"#));
    let set = selection("a: [null, '', 'x*']");
    assert!(
        hits(&set, r#"{"b":1}"#)
            && hits(&set, r#"{"a":""}"#)
            && hits(&set, r#"{"a":"xy"}"#)
            && !hits(&set, r#"{"a":"y"}"#)
    );
    let set = selection("a|exists: true");
    assert!(hits(&set, r#"{"a":""}"#) && !hits(&set, r#"{"b":1}"#));
    assert!(hits(&selection("a|exists: false"), r#"{"b":1}"#) && !hits(&selection("a|exists: false"), r#"{"a":1}"#));
    let set = selection("a|neq: [x, 'y*']");
    assert!(hits(&set, r#"{"a":"z"}"#) && !hits(&set, r#"{"a":"x"}"#) && !hits(&set, r#"{"a":"yy"}"#));
    assert!(!hits(&set, r#"{"b":"z"}"#), "a field that isn't there is not different");
    assert!(!hits(&set, r#"{"a":["z","x"]}"#));
}

#[test]
fn lists_of_values() {
    let set = selection("a|contains|all: [x, y]");
    assert!(hits(&set, r#"{"a":"yx"}"#) && !hits(&set, r#"{"a":"xx"}"#));
    assert!(hits(&set, r#"{"a":["x","y"]}"#), "any element for each value");
    let set = selection("a|contains: [q, w, e, r, t, y, u, 'i*o', 'p*a', s]");
    for text in ["-W-", "I\nO", "--S"] {
        assert!(hits(&set, &serde_json::json!({ "a": text }).to_string()), "{text}");
    }
    assert!(!hits(&set, r#"{"a":"123"}"#));
    let set = load(&detection("s:\n    - a: 1\n      b: 2\n    - c: 3\n    - word\ncondition: s"));
    assert!(hits(&set, r#"{"a":1,"b":2}"#) && hits(&set, r#"{"c":3}"#) && hits(&set, r#"{"x":"a WORD"}"#));
    assert!(!hits(&set, r#"{"a":1,"b":3}"#));
}

#[test]
fn keywords() {
    let set = load(&detection("s:\n    - 'foo bar'\n    - 4625\n    - 'a*z'\ncondition: s"));
    assert!(hits(&set, r#"{"msg":"Foo BAR!"}"#) && hits(&set, r#"{"x":"id 4625"}"#) && hits(&set, r#"{"x":"-a\nz-"}"#));
    assert!(!hits(&set, r#"{"foo":"bar"}"#));
    let set = load(&detection("s:\n    '|all':\n        - one\n        - two\ncondition: s"));
    assert!(
        hits(&set, r#"{"msg":"two and one"}"#)
            && hits(&set, r#"{"x":"one","y":"two"}"#)
            && !hits(&set, r#"{"x":"one"}"#)
    );
    let set = load(&detection("s:\n    '|re': 'a[0-9]+z'\ncondition: s"));
    assert!(hits(&set, r#"{"x":"-a12z-"}"#) && !hits(&set, r#"{"x":"A12z"}"#));
    let set = load(&detection("s:\n    '|all': [one, two]\n    a: 1\ncondition: s"));
    assert!(hits(&set, r#"{"a":1,"msg":"one two"}"#) && !hits(&set, r#"{"a":2,"msg":"one two"}"#));
    assert!(hits(&load(&detection("s: failed\ncondition: s")), r#"{"msg":"it Failed"}"#));
}

#[test]
fn expressions() {
    let set = load(&detection("x_a: {a: 1}\nx_b: {b: 1}\nx_c: {c: 1}\n_y: {y: 1}\ncondition: 2 of x_* and not _y"));
    assert!(hits(&set, r#"{"a":1,"c":1}"#) && hits(&set, r#"{"a":1,"b":1,"c":1}"#) && !hits(&set, r#"{"a":1}"#));
    assert!(!hits(&set, r#"{"a":1,"c":1,"y":1}"#));
    let set = load(&detection("x_a: {a: 1}\nx_b: {b: 1}\n_y: {y: 1}\ncondition: all of them"));
    assert!(hits(&set, r#"{"a":1,"b":1}"#), "names that begin with _ are not meant");
    let set = load(&detection("x_a_z: {a: 1}\nx_b_z: {b: 1}\ncondition: 1 of x_*_*"));
    assert!(hits(&set, r#"{"b":1}"#));
    let set = load(&detection("a: {a: 1}\nb: {b: 1}\ncondition:\n    - a\n    - b"));
    assert!(hits(&set, r#"{"b":1}"#));
}

#[test]
fn regular_expressions_networks_and_other_fields() {
    let set = selection("a|re: '^x.y$'");
    assert!(hits(&set, r#"{"a":"x1y"}"#) && !hits(&set, r#"{"a":"X1y"}"#) && !hits(&set, r#"{"a":"x\ny"}"#));
    let set = selection("a|re|i|s: '^x.y$'");
    assert!(hits(&set, r#"{"a":"X\nY"}"#));
    let set = selection("source.ip|cidr: [10.0.0.0/8, '2001:db8::/32']");
    assert!(
        hits(&set, r#"{"ip":"10.1.2.3"}"#)
            && hits(&set, r#"{"ip":"2001:DB8::1"}"#)
            && hits(&set, r#"{"ip":"::ffff:10.1.2.3"}"#)
    );
    assert!(!hits(&set, r#"{"ip":"11.1.2.3"}"#));
    let set = selection("a|fieldref: b");
    assert!(hits(&set, r#"{"a":"x","b":"X"}"#) && !hits(&set, r#"{"a":"x","b":"y"}"#) && !hits(&set, r#"{"a":"x"}"#));
    let set = selection("a|fieldref|endswith: b");
    assert!(hits(&set, r#"{"a":"xyz","b":"YZ"}"#));
}

#[test]
fn windash() {
    let set = selection("a|windash|contains: ' -enc '");
    for dash in ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"] {
        assert!(hits(&set, &format!(r#"{{"a":"x {dash}ENC y"}}"#)), "{dash}");
    }
    assert!(!hits(&set, r#"{"a":"x +enc y"}"#));
    assert!(hits(&selection("a|windash: '/c *x'"), r#"{"a":"-c 1 2 x"}"#), "with wildcards, too");
}

/// In whatever place of a text the value is, and whatever is around it, the Base64 of the text is found.
#[test]
fn base64_offsets_are_found() {
    let encode = |text: &[u8]| base64::engine::general_purpose::STANDARD.encode(text);
    let set = selection("a|base64offset|contains: 'http://'");
    for before in 0..6 {
        for after in 0..6 {
            let text = format!("{}http://{}", "x".repeat(before), "y".repeat(after));
            assert!(hits(&set, &format!(r#"{{"a":"{}"}}"#, encode(text.as_bytes()))), "{text}");
        }
    }
    assert!(!hits(&set, &format!(r#"{{"a":"{}"}}"#, encode(b"https://example.org"))));
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let set = selection("a|wide|base64offset|contains: 'IEX'");
    assert!(hits(&set, &format!(r#"{{"a":"{}"}}"#, encode(&wide("ab; IEX (x)")))));
    assert!(hits(
        &selection("a|utf16le|base64|contains: 'foo bar baz'"),
        &format!(r#"{{"a":"{}"}}"#, encode(&wide("foo bar baz")))
    ));
    assert!(hits(&selection("a|base64: 'foobar'"), r#"{"a":"Zm9vYmFy"}"#));
}

#[test]
fn lists_of_the_settings() {
    let rule = detection(
        "in: {source.ip|cidr|expand: '%nets%'}\nother: {a|contains|expand: '<%words%>'}\ncondition: in or other",
    );
    let with = |nets: &[&str], words: &[&str]| {
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        let lists = BTreeMap::from([("nets".to_owned(), list(nets)), ("words".to_owned(), list(words))]);
        load_with(&[file("x.yml", &rule)], &Settings { lists, ..Settings::default() })
    };
    let set = with(&["10.0.0.0/8", "192.0.2.0/24"], &["x*", "y"]);
    assert!(hits(&set, r#"{"ip":"192.0.2.9"}"#) && !hits(&set, r#"{"ip":"192.0.3.9"}"#));
    assert!(
        hits(&set, r#"{"a":"-<Y>-"}"#) && hits(&set, r#"{"a":"<x*>"}"#) && !hits(&set, r#"{"a":"<xx>"}"#),
        "no wildcards in lists"
    );
    let other = with(&[], &["y"]);
    assert!(!hits(&other, r#"{"ip":"192.0.2.9"}"#), "an empty list has nothing in it");
    assert_ne!(set.rules()[0].hash, other.rules()[0].hash, "what a rule means is in its hash");
    assert_eq!(set.rules()[0].hash, with(&["10.0.0.0/8", "192.0.2.0/24"], &["x*", "y"]).rules()[0].hash);
    assert_eq!(with(&["nonsense"], &["y"]).refusals()[0].kind, "bad_value");
}

#[test]
fn the_hour_and_the_day() {
    let rule = detection("s: {sceau.hour: [0, 1], sceau.weekday: monday}\ncondition: s");
    let load =
        |zone: &str| load_with(&[file("x.yml", &rule)], &Settings { zone: zone.to_owned(), ..Settings::default() });
    let (utc, paris) = (load("UTC"), load("Europe/Paris"));
    let at = |time: &str| format!(r#"{{"@timestamp":"{time}"}}"#);
    assert!(hits(&utc, &at("2026-11-23T00:30:00Z")) && hits(&paris, &at("2026-11-22T23:30:00Z")));
    assert!(!hits(&utc, &at("2026-11-22T23:30:00Z")) && !hits(&paris, &at("2026-11-23T01:30:00Z")));
    assert_ne!(utc.rules()[0].hash, paris.rules()[0].hash);
}

#[test]
fn filters_narrow_rules() {
    let rule = detection("s: {a: b}\ncondition: s");
    let filter =
        "---\ntitle: F\nlogsource: {product: sceau}\nfilter: {rules: [t], s: {user.name: 'adm_*'}, condition: not s}";
    let set = load(&format!("{rule}{filter}"));
    assert!(hits(&set, r#"{"a":"b","user":"eve"}"#) && !hits(&set, r#"{"a":"b","user":"adm_x"}"#));
    assert_ne!(set.rules()[0].hash, load(&rule).rules()[0].hash);
}

#[test]
fn exceptions() {
    let rule = detection("s: {a: b}\ncondition: s");
    let with = |rule_id: Option<&str>, fields: &[(&str, &str)], until: Option<&str>| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let exception =
            Exception { rule: rule_id.map(str::to_owned), fields, until: until.map(|t| t.parse().unwrap()) };
        let exceptions = BTreeMap::from([("e".to_owned(), exception)]);
        load_with(&[file("x.yml", &rule)], &Settings { exceptions, ..Settings::default() })
    };
    let event = r#"{"a":"b","ip":"10.1.2.3","user":"eve"}"#;
    for (set, hit) in [
        (with(Some("t"), &[("source.ip", "10.0.0.0/8")], None), false),
        (with(Some("t"), &[("ip", "10.1.2.3"), ("user.name", "eve")], None), false),
        (with(None, &[("user.name", "eve")], None), false),
        (with(Some("t"), &[("source.ip", "10.0.0.0/8"), ("user.name", "bob")], None), true),
        (with(Some("other"), &[("user.name", "eve")], None), true),
        (with(Some("t"), &[("user.name", "eve")], Some("2026-11-22T08:00:00.000001Z")), false),
        (with(Some("t"), &[("user.name", "eve")], Some("2026-11-22T08:00:00Z")), true),
    ] {
        assert_eq!(hits(&set, event), hit);
        assert_eq!(set.excepted(0, &json(event)), !hit);
    }
}

#[test]
fn overrides() {
    let base = "title: B\nid: b\nlogsource: {product: sceau}\ndetection: {s: {a: b}, condition: s}\nlevel: low\n---\n";
    let text = format!(
        "{base}title: C\nid: c\ncorrelation: {{type: event_count, rules: [b], timespan: 5m, condition: {{gte: 5}}}}"
    );
    let load = |id: &str, over: RuleOverride| {
        let settings = Settings { overrides: BTreeMap::from([(id.to_owned(), over)]), ..Settings::default() };
        load_with(&[file("x.yml", &text)], &settings)
    };
    let plain = load("nobody", RuleOverride::default());
    assert_eq!((plain.rules()[1].threshold, plain.rules()[1].fires, plain.rules()[0].fires), (Some(5), true, false));
    let seven = load("c", RuleOverride { threshold: Some(7), level: Some(Level::Critical), ..RuleOverride::default() });
    assert_eq!((seven.rules()[1].threshold, seven.rules()[1].level), (Some(7), Level::Critical));
    assert_ne!((plain.rules()[1].hash.as_str(), plain.hash()), (seven.rules()[1].hash.as_str(), seven.hash()));
    assert_eq!(plain.rules()[0].hash, seven.rules()[0].hash);
    let off = load("c", RuleOverride { enabled: Some(false), ..RuleOverride::default() });
    assert!(!off.rules()[1].fires && !off.correlations()[0].fires && !off.rules()[0].fires);
    assert!(!hits(&off, r#"{"a":"b"}"#), "what nobody needs isn't evaluated");
    let quiet = load("b", RuleOverride { enabled: Some(false), ..RuleOverride::default() });
    assert!(hits(&quiet, r#"{"a":"b"}"#), "a rule that is off still counts for a correlation");
}

#[test]
fn the_shipped_rules() {
    let (rules, mappings) = RuleSet::builtin_files();
    let set = RuleSet::load(&rules, &mappings, &Settings::default()).unwrap();
    assert_eq!(set.refusals(), []);
    let by_name = |title: &str| set.rules().iter().position(|rule| rule.title == title).unwrap();
    let fires: Vec<_> =
        set.rules().iter().filter(|rule| rule.fires).map(|rule| (rule.title.as_str(), rule.level)).collect();
    assert_eq!(
        fires,
        [
            ("Brute force from one address", Level::High),
            ("Brute force against one user", Level::High),
            ("Distributed brute force against one user", Level::High),
            ("Success after brute force", Level::Critical),
            ("Address outside the allowed ranges", Level::Low),
            ("User active at an unusual hour", Level::Low),
            ("Address active at an unusual hour", Level::Low),
        ]
    );
    assert!(set.rules().iter().all(|rule| rule.tags.iter().any(|tag| tag.starts_with("attack."))));
    let success = set.correlations().iter().find(|c| c.kind == CorrelationKind::TemporalOrdered).unwrap();
    assert_eq!(success.refers, [by_name("Brute force from one address"), by_name("Successful log-in")]);
    assert_eq!((success.timespan, success.window), (600_000_000, Window::Sliding));
    let titles = |record| {
        matches(&set, record)
            .iter()
            .map(|id| set.rules().iter().find(|r| r.id == *id).unwrap().title.clone())
            .collect::<Vec<_>>()
    };
    let failed = line("<38>Nov 22 03:00:00 gate sshd[1]: Failed password for root from 192.0.2.7 port 22 ssh2");
    assert_eq!(
        titles(&failed),
        ["Failed attempt", "Record from outside the allowed ranges", "Access at an unusual hour by a user"]
    );
    let inside = json(r#"{"ip":"10.0.9.9","status":"ok","@timestamp":"2026-11-22T04:59:59Z"}"#);
    assert_eq!(titles(&inside), ["Access at an unusual hour from an address"]);
    assert!(titles(&json(r#"{"ip":"10.0.9.9","user":"eve","@timestamp":"2026-11-22T05:00:00Z"}"#)).is_empty());
    assert_eq!(set.field(by_name("Failed attempt"), &failed, "source.ip").as_deref(), Some("192.0.2.7"));
    assert_eq!(set.field_all(0, &failed, "nothing"), Vec::<String>::new());
}

/// Where names don't say the same in the file as in the record.
#[test]
fn mappings_find_fields() {
    let rule = |logsource: &str, selection: &str| {
        load(&format!(
            "title: T\nid: t\nlogsource: {{{logsource}}}\ndetection:\n    s: {{{selection}}}\n    condition: s"
        ))
    };
    let sysmon = |rest: &str| {
        format!(
            r#"{{"Event":{{"System":{{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":1}},"EventData":{{{rest}}}}}}}"#
        )
    };
    let set = rule("product: windows, category: process_creation", "Image|endswith: '\\cmd.exe'");
    assert!(hits(&set, &sysmon(r#""Image":"C:\\x\\CMD.exe""#)));
    assert!(!hits(&set, &sysmon(r#""Image":"C:\\x\\CMD.exe""#).replace(":1}", ":3}")));
    let audit = r#"{"winlog":{"channel":"Security","event_id":4688,"event_data":{"NewProcessName":"C:\\cmd.exe","ProcessId":"7"}}}"#;
    assert!(hits(&set, audit));
    assert_eq!(set.field(0, &json(audit), "ParentProcessId").as_deref(), Some("7"));
    assert_eq!(set.field(0, &json(&sysmon(r#""ParentProcessId":9"#)), "ParentProcessId").as_deref(), Some("9"));
    let set = rule("product: linux, service: sshd", "user.name: root");
    assert!(hits_line(&set, "<38>Nov 22 03:00:00 gate sshd[1]: Failed password for root from 192.0.2.7 port 22 ssh2"));
    assert!(!hits_line(&set, "<38>Nov 22 03:00:00 gate cron[1]: (root) CMD (x)"));
    let set =
        rule("category: webserver", "cs-method: GET, cs-uri-query|startswith: 'x=', sc-status: 404, cs-uri-stem: /a");
    assert!(hits_line(
        &set,
        r#"192.0.2.20 - - [22/Nov/2026:07:05:00 +0000] "GET /a?x=c HTTP/1.1" 404 209 "-" "Mozilla""#
    ));
    let set = rule("product: aws, service: cloudtrail", "eventName: ConsoleLogin, userIdentity.type: Root");
    assert!(hits(
        &set,
        r#"{"eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","userIdentity":{"type":"Root"}}"#
    ));
    assert!(!hits(&set, r#"{"eventSource":"elsewhere","eventName":"ConsoleLogin","userIdentity":{"type":"Root"}}"#));
    let set = rule("product: kubernetes, service: audit", "verb: create, objectRef.resource: pods");
    assert!(hits(&set, r#"{"apiVersion":"audit.k8s.io/v1","verb":"create","objectRef":{"resource":"pods"}}"#));
}

fn hits_line(set: &RuleSet, text: &str) -> bool {
    !matches(set, &line(text)).is_empty()
}

/// The order of files and the order in which hashes come out mean nothing.
#[test]
fn the_same_files_in_another_order() {
    let (mut rules, mut mappings) = RuleSet::builtin_files();
    let first = RuleSet::load(&rules, &mappings, &Settings::default()).unwrap();
    rules.reverse();
    mappings.reverse();
    let second = RuleSet::load(&rules, &mappings, &Settings::default()).unwrap();
    assert_eq!((first.rules(), first.hash()), (second.rules(), second.hash()));
    assert_eq!(first.correlations(), second.correlations());
}
