#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use sceau_event::{Field, Keyword, Number};

use super::*;
use crate::query::{Bound, Network, Test, words::Phrase};

const NOW: Micros = Micros(1_795_334_400_000_000);

fn read(text: &str) -> Filter {
    parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn column(text: &str) -> usize {
    match parse(text, NOW) {
        Err(error) => error.column,
        Ok(filter) => panic!("{text} was read as {filter:?}"),
    }
}

fn key(keyword: Keyword, value: &str) -> Filter {
    Filter::Is(Field::Keyword(keyword), Test::Equals(value.into()))
}

fn user(name: &str) -> Filter {
    key(Keyword::UserName, name)
}

fn ip(address: &str) -> Filter {
    key(Keyword::SourceIp, address)
}

fn other(name: &str, value: &str) -> Filter {
    Filter::Is(Field::Other(name.into()), Test::Equals(value.into()))
}

fn wild(field: Field, pieces: &[&str]) -> Filter {
    Filter::Is(field, Test::Wildcard(pieces.iter().map(|piece| (*piece).to_owned()).collect()))
}

fn text(words: &str) -> Filter {
    Filter::Text(Phrase::new(words, false).unwrap())
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn and<const N: usize>(filters: [Filter; N]) -> Filter {
    Filter::And(filters.into())
}

fn or<const N: usize>(filters: [Filter; N]) -> Filter {
    Filter::Or(filters.into())
}

fn range(field: Field, low: Bound, high: Bound) -> Filter {
    Filter::Is(field, Test::Range { low, high })
}

fn at_least(value: &str) -> Bound {
    Bound::Inclusive(value.into())
}

fn beyond(value: &str) -> Bound {
    Bound::Exclusive(value.into())
}

#[test]
fn the_search_bars_example() {
    let filter = read(r#"user:alice AND status:failed AND ip:10.0.0.0/8 NOT action:log* "free text" bytes:>1000"#);
    let wanted = and([
        user("alice"),
        key(Keyword::EventOutcome, "failure"),
        Filter::Is(Field::Keyword(Keyword::SourceIp), Test::Cidr(Network::parse("10.0.0.0/8").unwrap())),
        not(wild(Field::Keyword(Keyword::EventAction), &["log", ""])),
        text("free text"),
        range(Field::Number(Number::BodyBytes), beyond("1000"), Bound::Unbounded),
    ]);
    assert_eq!(filter, wanted);
}

#[test]
fn everything() {
    for all in ["", "  ", "*", "*:*", "(*)", "* *", "(* AND *)"] {
        assert_eq!(read(all), Filter::All, "{all}");
    }
}

#[test]
fn operators() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(text);
    for (query, wanted) in [
        ("a b", and([a.clone(), b.clone()])),
        ("a AND b c AND d", and([a.clone(), b.clone(), c.clone(), d.clone()])),
        ("a OR b c", or([a.clone(), and([b.clone(), c.clone()])])),
        ("a b OR c d", or([and([a.clone(), b.clone()]), and([c.clone(), d.clone()])])),
        ("a OR b AND c OR d", or([a.clone(), and([b.clone(), c.clone()]), d.clone()])),
        ("(a OR b) c", and([or([a.clone(), b.clone()]), c.clone()])),
        ("a -b", and([a.clone(), not(b.clone())])),
        ("+a b", and([a.clone(), b.clone()])),
        ("NOT a OR b", or([not(a.clone()), b.clone()])),
        ("a OR -b", or([a.clone(), not(b.clone())])),
        ("a AND -b c", and([a.clone(), not(b.clone()), c.clone()])),
        ("NOT a", not(a.clone())),
        ("NOT NOT a", a.clone()),
        ("NOT -a", a.clone()),
        ("-(a OR b) c", and([not(or([a.clone(), b.clone()])), c.clone()])),
        ("NOT (a b)", not(and([a.clone(), b.clone()]))),
        ("((a))", a.clone()),
        ("( a )", a.clone()),
        ("a a", and([a.clone(), a.clone()])),
        ("and or not", and([text("and"), text("or"), text("not")])),
        ("\"AND\" 'OR'", and([text("and"), text("or")])),
        ("ANDROID ORACLE NOTE", and([text("android"), text("oracle"), text("note")])),
    ] {
        assert_eq!(read(query), wanted, "{query}");
    }
}

#[test]
fn groups_of_a_field() {
    assert_eq!(read("user:(a OR b)"), or([user("a"), user("b")]));
    assert_eq!(read("user:(a OR (b -ip:10.0.0.1))"), or([user("a"), and([user("b"), not(ip("10.0.0.1"))])]));
    assert_eq!(read("user: IN [a \"b c\" d]"), or([user("a"), user("b c"), user("d")]));
    assert_eq!(read("user:IN[a]"), user("a"));
    assert_eq!(read("user:IN"), user("IN"));
    let bytes = |low, high| range(Field::Number(Number::BodyBytes), low, high);
    assert_eq!(
        read("bytes:(>5 OR [1 TO 2})"),
        or([bytes(beyond("5"), Bound::Unbounded), bytes(at_least("1"), beyond("2"))])
    );
    assert_eq!(read("user:(*)"), Filter::Is(Field::Keyword(Keyword::UserName), Test::Exists));
}

#[test]
fn values_as_people_write_them() {
    let url = |value| key(Keyword::Url, value);
    for (query, wanted) in [
        ("user:alice@example.com", user("alice@example.com")),
        ("user: alice", user("alice")),
        ("user:\"alice smith\"", user("alice smith")),
        ("user:'alice smith'", user("alice smith")),
        (r#"user:"a \"b\" \\ c:\d""#, user(r#"a "b" \ c:\d"#)),
        (r"user:DOMAIN\alice", user(r"DOMAIN\alice")),
        (r"user:a\ b\*\:", user("a b*:")),
        (r"user:\-x", user("-x")),
        ("user:-x", user("-x")),
        ("user:\"\"", user("")),
        ("user:a:b", user("a:b")),
        ("user:o'neil", user("o'neil")),
        ("url:/index.html", url("/index.html")),
        ("url:/", url("/")),
        ("url:/a/?x=1&y=%20", url("/a/?x=1&y=%20")),
        ("url:https://example.com/~bob/", url("https://example.com/~bob/")),
        ("url:\"/a/\"", url("/a/")),
        ("host:*.example.com", wild(Field::Keyword(Keyword::HostName), &["", ".example.com"])),
        ("host:a*b**c", wild(Field::Keyword(Keyword::HostName), &["a", "b", "c"])),
        ("host:*a*", wild(Field::Keyword(Keyword::HostName), &["", "a", ""])),
        ("user:\"a b\"*", wild(Field::Keyword(Keyword::UserName), &["a b", ""])),
        ("user:\"a*\"", user("a*")),
        ("labels.team-x:blue", other("labels.team-x", "blue")),
        (r"my\ field:x", other("my field", "x")),
        ("temp:-5", other("temp", "-5")),
        ("étage:deux", other("étage", "deux")),
        ("x:AND_", other("x", "AND_")),
        ("source:web", Filter::Is(Field::Source, Test::Equals("web".into()))),
    ] {
        assert_eq!(read(query), wanted, "{query}");
    }
}

#[test]
fn addresses() {
    let net = |text| Filter::Is(Field::Keyword(Keyword::SourceIp), Test::Cidr(Network::parse(text).unwrap()));
    for (query, wanted) in [
        ("ip:10.0.0.1", ip("10.0.0.1")),
        ("ip:2001:DB8::1", ip("2001:db8::1")),
        ("ip:::ffff:10.0.0.1", ip("10.0.0.1")),
        ("ip:10.1.2.3/8", net("10.0.0.0/8")),
        ("ip:2001:db8::/32", net("2001:db8::/32")),
        ("ip:\"2001:db8::/32\"", net("2001:db8::/32")),
        ("ip:(10.0.0.1 OR fe80::1)", or([ip("10.0.0.1"), ip("fe80::1")])),
        ("ip:localhost", other("source.address", "localhost")),
        (
            "ip:10.0.*",
            or([
                wild(Field::Keyword(Keyword::SourceIp), &["10.0.", ""]),
                wild(Field::Other("source.address".into()), &["10.0.", ""]),
            ]),
        ),
        (
            "nat.ip:10.0.0.0/8",
            or([
                other("nat.ip", "10.0.0.0/8"),
                Filter::Is(Field::Other("nat.ip".into()), Test::Cidr(Network::parse("10.0.0.0/8").unwrap())),
            ]),
        ),
        ("fe80::1", text("fe80 1")),
        ("2001:db8::1", text("2001 db8 1")),
        ("http://a.example/x", text("http a example x")),
        ("10:15", text("10 15")),
        (r"C:\Windows", text("C Windows")),
    ] {
        assert_eq!(read(query), wanted, "{query}");
    }
}

#[test]
fn outcomes_and_status_codes() {
    let code = || Field::Number(Number::StatusCode);
    for (query, wanted) in [
        ("status:FAILED", key(Keyword::EventOutcome, "failure")),
        ("event.outcome:ok", key(Keyword::EventOutcome, "success")),
        ("result:odd", other("result", "odd")),
        ("status:404", Filter::Is(code(), Test::Equals("404".into()))),
        ("status:1000", other("status", "1000")),
        ("status:pending", other("status", "pending")),
        ("status:>=500", range(code(), at_least("500"), Bound::Unbounded)),
        ("status:[400 TO 500}", range(code(), at_least("400"), beyond("500"))),
        ("status:4*", range(code(), at_least("400"), beyond("500"))),
        ("status:50*", range(code(), at_least("500"), beyond("510"))),
        (
            "status:fail*",
            or([
                wild(Field::Keyword(Keyword::EventOutcome), &["fail", ""]),
                wild(Field::Other("status".into()), &["fail", ""]),
            ]),
        ),
    ] {
        assert_eq!(read(query), wanted, "{query}");
    }
}

#[test]
fn numbers_and_ranges() {
    let bytes = |low, high| range(Field::Number(Number::BodyBytes), low, high);
    for (query, wanted) in [
        ("bytes:+5", Filter::Is(Field::Number(Number::BodyBytes), Test::Equals("5".into()))),
        ("bytes:1e3", Filter::Is(Field::Number(Number::BodyBytes), Test::Equals("1000".into()))),
        ("bytes:<= 5", bytes(Bound::Unbounded, at_least("5"))),
        ("bytes:<-5.5", bytes(Bound::Unbounded, beyond("-5.5"))),
        ("bytes:[-5 TO *]", bytes(at_least("-5"), Bound::Unbounded)),
        ("bytes:{* TO 5}", bytes(Bound::Unbounded, beyond("5"))),
        ("bytes:[* TO *]", Filter::Is(Field::Number(Number::BodyBytes), Test::Exists)),
        ("user:[a TO \"b c\"]", range(Field::Keyword(Keyword::UserName), at_least("a"), at_least("b c"))),
    ] {
        assert_eq!(read(query), wanted, "{query}");
    }
}

#[test]
fn times() {
    let at = |micros: i64| micros.to_string();
    let (now, day) = (NOW.0, 86_400_000_000);
    let midnight = now - 8 * 3_600_000_000;
    for (query, low, high) in [
        ("@timestamp:>now-1h", beyond(&at(now - 3_600_000_000)), Bound::Unbounded),
        ("time:<2026-11-22T08:00:00Z", Bound::Unbounded, beyond(&at(now))),
        ("time:[2026-11-22 TO 2026-11-22]", at_least(&at(midnight)), beyond(&at(midnight + day))),
        ("time:2026-11-22", at_least(&at(midnight)), beyond(&at(midnight + day))),
        ("time:>2026-11-22", at_least(&at(midnight + day)), Bound::Unbounded),
        ("time:<2026-11-22", Bound::Unbounded, beyond(&at(midnight))),
        ("time:[\"2026-11-22 08:00:00+01:00\" TO now}", at_least(&at(now - 3_600_000_000)), beyond(&at(now))),
    ] {
        assert_eq!(read(query), range(Field::Time, low, high), "{query}");
    }
    assert_eq!(read("received:2026-11-22T08:00:00Z"), Filter::Is(Field::Received, Test::Equals(at(now))));
}

#[test]
fn words_and_messages() {
    let phrase = |words, prefix| Phrase::new(words, prefix).unwrap();
    let message = |test| Filter::Is(Field::Keyword(Keyword::Message), test);
    assert_eq!(read("fail*"), Filter::Text(phrase("fail", true)));
    assert_eq!(read("\"for user ali\"*"), Filter::Text(phrase("for user ali", true)));
    assert_eq!(read("message:Failed"), message(Test::Words(phrase("failed", false))));
    assert_eq!(read("msg:\"Failed password\""), message(Test::Words(phrase("failed password", false))));
    assert_eq!(read("message:fail*"), message(Test::Words(phrase("fail", true))));
    assert_eq!(read("message:*fail*"), wild(Field::Keyword(Keyword::Message), &["", "fail", ""]));
    assert_eq!(read("sshd[12]:"), text("sshd 12"));
    assert_eq!(read("can't"), text("can t"));
}

#[test]
fn mistakes_have_their_column() {
    for (query, wanted) in [
        ("a AND", 3),
        ("a OR OR b", 6),
        ("AND a", 1),
        ("(a", 1),
        ("a)", 2),
        ("a ()", 3),
        ("a (b OR)", 6),
        ("NOT", 1),
        ("a NOT)", 3),
        ("(a NOT)", 4),
        ("- a", 1),
        ("a --b", 3),
        ("-", 1),
        ("-AND", 1),
        ("user:", 1),
        ("a user: AND b", 3),
        ("x (user:)", 4),
        ("é user:\"alice", 8),
        ("user:\"a\"b", 9),
        ("foo(bar)", 4),
        ("(a)b", 4),
        ("foo\"bar\"", 4),
        ("foo^2", 4),
        ("\"a b\"^2", 6),
        ("(a b)^2", 6),
        ("\"a b\"~3", 6),
        ("foo~", 4),
        ("foo~0.8", 4),
        ("/fo+/", 1),
        ("user:/al.*/", 6),
        ("!a", 1),
        ("a && b", 3),
        ("a || b", 3),
        ("+a OR b", 1),
        ("a OR +b", 6),
        ("*min", 1),
        ("a*b", 1),
        ("a --", 3),
        ("%", 1),
        ("\"\"", 1),
        ("[1 TO 2]", 2),
        (">5", 2),
        ("bytes:>", 8),
        ("bytes:>*", 8),
        ("bytes:abc", 7),
        ("bytes:1*", 7),
        ("bytes:[1 TO x]", 13),
        ("bytes:[1 2]", 10),
        ("bytes:[1 TO 2", 7),
        ("bytes:[1 TO", 7),
        ("bytes:[1 TO ]", 7),
        ("user:[a* TO b]", 7),
        ("bytes:inf", 7),
        ("user:IN [a", 6),
        ("user:IN []", 6),
        ("time:soon", 6),
        ("time:2026*", 6),
        ("ip:10.0.0.0/33", 4),
        ("ip:10.0.0.1:80", 4),
        ("ip:[10.0.0.1 TO 10.0.0.2]", 5),
        ("status:>x", 9),
        ("user:[x", 8),
        ("ip:[2001:db8::1]", 16),
    ] {
        assert_eq!(column(query), wanted, "{query}: {:?}", parse(query, NOW));
    }
}

#[test]
fn limits() {
    let nested = |depth: usize, open: &str| format!("{}a{}", open.repeat(depth), ")".repeat(depth));
    for open in ["(", "-(", "NOT (", "user:(", "NOT NOT NOT ("] {
        let deep = nested(MAX_DEPTH, open);
        let reader = std::thread::Builder::new().stack_size(512 * 1024).spawn(move || parse(&deep, NOW).is_ok());
        assert!(reader.unwrap().join().unwrap(), "{open}");
        assert!(parse(&nested(MAX_DEPTH + 1, open), NOW).is_err());
        assert!(parse(&nested(1_000, open), NOW).is_err());
    }
    assert!(parse(&"NOT ".repeat(2_000), NOW).is_err());
    assert_eq!(read(&("NOT ".repeat(2_000) + "a")), text("a"));
    let many = |count: usize| vec!["a"; count].join(" ");
    assert!(parse(&many(MAX_CONDITIONS), NOW).is_ok());
    assert!(parse(&many(MAX_CONDITIONS + 1), NOW).is_err());
    assert!(parse(&format!("user:IN [{}]", many(MAX_CONDITIONS + 1)), NOW).is_err());
    assert!(parse(&format!("\"{}\"", many(MAX_WORDS)), NOW).is_ok());
    assert!(parse(&format!("\"{}\"", many(MAX_WORDS + 1)), NOW).is_err());
    assert!(parse(&"é".repeat(MAX_TEXT / 2), NOW).is_ok());
    assert!(parse(&"é".repeat(MAX_TEXT / 2 + 1), NOW).is_err());
}

#[test]
fn internal_sources_are_asked_for_by_name() {
    for (query, wanted) in [
        ("source:sceau.audit", true),
        ("user:x source:sceau.*", true),
        ("source:IN [web sceau.finding]", true),
        ("-source:sceau.audit", false),
        ("-(user:x -source:sceau.audit)", true),
        ("source:*", false),
        ("source:s*", false),
        ("source:sceaux", false),
        ("sceau.audit", false),
    ] {
        assert_eq!(read(query).names_internal(), wanted, "{query}");
    }
    assert_eq!(read("user:a OR -(ip:10.0.0.1 user:b) text").fields().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Whatever is typed is read or refused at a column of the text, and what the lexer lets through, the grammar
    /// reads.
    #[test]
    fn nothing_breaks(parts in prop::collection::vec(prop_oneof![
        Just("AND"), Just("OR"), Just("NOT"), Just("("), Just(")"), Just(" "), Just("-"), Just("+"), Just("user:"),
        Just("ip:"), Just("bytes:"), Just("time:"), Just("status:"), Just("\""), Just("'"), Just("*"), Just("a"),
        Just("["), Just("]"), Just("{"), Just("}"), Just(" TO "), Just("IN ["), Just(">="), Just("<"), Just("^"), Just("~"),
        Just("/"), Just("\\"), Just("10.0.0.1"), Just("5"), Just("é"), Just(":"), Just("\u{a0}"), Just("!"), Just("`"),
    ], 0..24)) {
        let text = parts.concat();
        if let Err(error) = parse(&text, NOW) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column), "{text}: {error}");
            prop_assert!(!error.message.contains("can't be read"), "{text}: {error}");
        }
    }

    #[test]
    fn quoted_values_come_through(value in "\\PC{0,20}", name in "[a-z]{3}\\.[a-z]{3}") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        prop_assert_eq!(read(&format!("{name}:\"{escaped}\"")), other(&name, &value));
    }
}
