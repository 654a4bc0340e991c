//! The JSON scanner against the JSON test suite, against `serde_json`, and for tokens untouched.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{framer, shared};
use proptest::prelude::*;
use sceau_event::{Deriver, EventError, Keyword, MAX_ENTRY, Memory, validate_json};

fn code(event: &[u8]) -> &'static str {
    let mut out = b"before".to_vec();
    match Deriver::builtin().push_json(&framer("2026-11-22T08:00:00Z"), event, &mut out) {
        Ok(_) => "ok",
        Err(e) => {
            let code = e.code();
            assert!(!e.to_string().is_empty());
            assert_eq!(out, b"before", "out is as before");
            code
        }
    }
}

#[test]
fn json_test_suite() {
    let Some(folder) = shared("json/JSONTestSuite/test_parsing") else { return };
    let (mut yes, mut no) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let result = validate_json(&bytes);
        match name.as_bytes()[0] {
            // Duplicate keys are valid JSON that Sceau refuses on purpose.
            b'y' if name.contains("duplicated_key") => {
                assert!(matches!(result, Err(EventError::DuplicateKey { .. })), "{name}");
            }
            b'y' => {
                yes += 1;
                assert_eq!(result, Ok(()), "{name}");
                let wrapped = [b"{\"x\":", bytes.trim_ascii(), b"}"].concat();
                assert_eq!(code(&wrapped), "ok", "{name} wrapped");
            }
            b'n' => {
                no += 1;
                assert!(result.is_err(), "{name}");
                assert_ne!(code(&bytes), "ok", "{name}");
            }
            // Either is allowed; it must only come back.
            _ => {}
        }
    }
    assert!(yes > 90 && no > 180, "{yes} {no}");
}

#[test]
fn refusals_have_their_codes() {
    for (event, wanted) in [
        ("", "empty"),
        (" \r\n\t", "empty"),
        ("[1]", "not_an_object"),
        ("\"x\"", "not_an_object"),
        ("12", "not_an_object"),
        ("hello", "invalid_json"),
        ("\u{feff}{}", "invalid_json"),
        ("{}{}", "invalid_json"),
        ("{\"a\":1,}", "invalid_json"),
        ("{\"a\":01}", "invalid_json"),
        ("{\"a\":1\n2}", "invalid_json"),
        ("{\"a\":\"b\nc\"}", "invalid_json"),
        (r#"{"a":1,"a":2}"#, "duplicate_key"),
        (r#"{"a":1,"\u0061":2}"#, "duplicate_key"),
        (r#"{"x":{"é":1,"\u00e9":2}}"#, "duplicate_key"),
        (r#"{"x":[{"\ud83d\ude00":1,"😀":2}]}"#, "duplicate_key"),
        (r#"{"\ud800":1,"\ud800":2}"#, "duplicate_key"),
        (r#"{"\ud800":1,"\ud801":2,"\udfff":3}"#, "ok"),
        (r#"{"a":{"a":1},"b":{"a":1}}"#, "ok"),
    ] {
        assert_eq!(code(event.as_bytes()), wanted, "{event}");
    }
    assert_eq!(code(b"{\"a\":\"\xff\"}"), "invalid_utf8");
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(code(nested(64).as_bytes()), "ok");
    assert_eq!(code(nested(65).as_bytes()), "too_deep");
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
    assert_eq!(code(sized(MAX_ENTRY).as_bytes()), "too_large");
    let room = framer("2026-11-22T08:00:00Z").room();
    assert_eq!(code(sized(room - 8).as_bytes()), "ok");
    assert_eq!(code(sized(room - 7).as_bytes()), "too_large");
}

#[test]
fn errors_tell_where() {
    let deriver = Deriver::builtin();
    let framer = framer("2026-11-22T08:00:00Z");
    let mut out = Vec::new();
    let error = deriver.push_json(&framer, b"  {\"a\":\r\n tru}", &mut out).unwrap_err();
    assert_eq!(error, EventError::Json { offset: 10, why: "true, false or null" });
    let error = deriver.push_json(&framer, br#" {"a":1,"a":2}"#, &mut out).unwrap_err();
    assert_eq!(error, EventError::DuplicateKey { key: "a".into(), offset: 9 });
}

#[test]
fn many_keys_are_not_quadratic() {
    let members: Vec<String> = (0..6_000).map(|n| format!("\"k{n}\":1")).collect();
    let start = std::time::Instant::now();
    for _ in 0..50 {
        validate_json(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
    }
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    let twice = format!("{{{},\"k17\":2}}", members.join(","));
    assert!(matches!(validate_json(twice.as_bytes()), Err(EventError::DuplicateKey { .. })));
}

#[test]
fn tokens_are_untouched() {
    let deriver = Deriver::builtin();
    let framer = framer("2026-11-22T08:00:00.123456Z");
    for (event, data) in [
        (
            "{\"n\":9007199254740993, \"f\": 1.10,\t\"e\":1e400,\"z\":-0, \"b\":2, \"a\":\"\\u00e9\\/\"}",
            "{\"n\":9007199254740993, \"f\": 1.10,\t\"e\":1e400,\"z\":-0, \"b\":2, \"a\":\"\\u00e9\\/\"}",
        ),
        ("\n{\r\n  \"a\" :\n1,\r\n\"b\":[ 1,\n2 ]\n}\n", "{  \"a\" :1,\"b\":[ 1,2 ]}"),
        (r#"{"s":"\ud800 x","n":9007199254740993.1}"#, r#"{"s":"\ud800 x","n":9007199254740993.1}"#),
    ] {
        let mut out = Vec::new();
        let record = deriver.push_json(&framer, event.as_bytes(), &mut out).unwrap().into_owned();
        let wanted = format!(
            "{{\"v\":1,\"received\":\"2026-11-22T08:00:00.123456Z\",\"source\":\"app\",\"meta\":{{}},\"data\":{data}}}"
        );
        assert_eq!(String::from_utf8(out.clone()).unwrap(), wanted);
        assert_eq!(deriver.derive(&out).unwrap(), record);
    }
    let mut out = Vec::new();
    let record = deriver.push_json(&framer, br#"{"s":"\ud800 x","n":9007199254740993.1}"#, &mut out).unwrap();
    assert_eq!(record.others("s").next(), Some("\u{fffd} x"));
    assert_eq!(record.others("n").next(), Some("9007199254740993.1"));
}

#[test]
fn a_lone_surrogate_hides_nothing() {
    let deriver = Deriver::builtin();
    let mut out = Vec::new();
    let event = br#"{"user":"root\ud800","message":"\udc00\ud83d\ude00 failed"}"#;
    let record = deriver.push_json(&framer("2026-11-22T08:00:00Z"), event, &mut out).unwrap();
    assert_eq!(record.keyword(Keyword::UserName), Some("root\u{fffd}"));
    assert_eq!(record.keyword(Keyword::Message), Some("\u{fffd}😀 failed"));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Into::into),
        "\\PC*".prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map("[a-c.\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn accepts_what_serde_writes(value in json()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(validate_json(text.as_bytes()), Ok(()));
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(validate_json(pretty.as_bytes()), Ok(()));
    }

    /// On texts near JSON: whatever we accept serde accepts, and the other way round but for the
    /// refusals that are ours alone.
    #[test]
    fn agrees_with_serde(value in json(), at in any::<prop::sample::Index>(), with in "[\\[\\]{},:\"\\\\0-9eE+.truefalsn \u{1}-]{0,2}", cut in 0usize..3) {
        let text = serde_json::to_string(&value).unwrap();
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len() + 1).min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        let text: String = chars.into_iter().collect();
        // `RawValue`-like reading: numbers out of range and lone surrogates are no errors here.
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        match validate_json(text.as_bytes()) {
            Ok(()) => prop_assert!(theirs.is_ok() || text.contains("\\u"), "{:?} {:?}", text, theirs.err()),
            Err(EventError::DuplicateKey { .. } | EventError::TooDeep { .. }) => {}
            Err(e) => prop_assert!(theirs.is_err(), "{:?} {}", text, e),
        }
    }

    #[test]
    fn values_are_those_of_serde(value in json()) {
        // A key with a dot or an alias would move the value; under `x` it stays where it is.
        let event = serde_json::json!({ "labels": { "x": value } }).to_string();
        let mut out = Vec::new();
        let deriver = Deriver::builtin();
        if let Ok(record) = deriver.push_json(&framer("2026-11-22T08:00:00Z"), event.as_bytes(), &mut out) {
            if let serde_json::Value::String(text) = &value {
                prop_assert_eq!(record.others("labels.x").next(), Some(text.as_str()));
            }
            let record = record.into_owned();
            prop_assert_eq!(deriver.derive(&out).unwrap(), record);
        }
    }

    /// Neighbours that look alike, nearly alike and not at all alike, right and wrong.
    #[test]
    fn what_came_before_changes_nothing(
        objects in prop::collection::vec(
            (0..3_usize, 0..40_usize, prop::collection::vec((0..40_usize, 0..8_usize), 0..4)),
            1..20,
        ),
    ) {
        let deriver = Deriver::builtin();
        let (mut replay, mut memory) = (deriver.replay(), Memory::learning());
        let framer = framer("2026-11-22T08:00:00Z");
        for (kind, length, changes) in objects {
            let mut members: Vec<(String, &str)> =
                (0..length).map(|n| (format!("{}{n}", ["a", "bytes", "user."][kind]), "1")).collect();
            for (at, to) in changes {
                if let Some((key, value)) = members.get_mut(at) {
                    let (new, other) = [
                        ("time", "\"2026-11-22T08:00:00Z\""),
                        ("ip", "\"10.0.0.1\""),
                        ("a0", "{\"a0\":1}"),
                        ("\\u0061", "[{\"a1\":1,\"a2\":2}]"),
                        ("a", "{\"a\":{},\"a\":2}"),
                        ("status", "\"failed\""),
                        ("", "\"\""),
                        ("bytes", "17"),
                    ][to];
                    (*key, *value) = (new.to_owned(), other);
                }
            }
            let colon = if length % 7 == 3 { " : " } else { ":" };
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
            let entry = format!(
                "{{\"v\":1,\"received\":\"2026-11-22T08:00:00.000000Z\",\"source\":\"app\",\"meta\":{{}},\"data\":{{{}}}}}",
                members.join(",")
            );
            prop_assert_eq!(replay.derive(entry.as_bytes()), deriver.derive(entry.as_bytes()), "{}", entry);
            let event = format!("{{{}}}", members.join(if length % 5 == 2 { "\n , " } else { "," }));
            let (mut out, mut alone) = (Vec::new(), Vec::new());
            let pushed = deriver.push_next_json(&framer, event.as_bytes(), &mut memory, &mut out);
            prop_assert_eq!(pushed, deriver.push_json(&framer, event.as_bytes(), &mut alone), "{}", event);
            prop_assert_eq!(out, alone);
        }
    }

    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = validate_json(&bytes);
        let deriver = Deriver::builtin();
        let _ = deriver.derive(&bytes);
        let mut out = Vec::new();
        let _ = deriver.push_json(&framer("2026-11-22T08:00:00Z"), &bytes, &mut out);
    }
}
