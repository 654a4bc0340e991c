//! Histograms, tables and counts.

use sceau_event::{Field, Keyword, Number, field};
use sceau_store::{Counts, HistogramRow, Search as _, TopRow};
use serde_json::{Value, json};

use super::{
    Home,
    events::{LIMIT, Log, everything, query},
    writer::{SECOND, START, lines, text},
};

fn at(time: i64, user: &str) -> Value {
    json!({"user": user, "timestamp": text(time)})
}

fn bar(start: i64, by: Option<&str>, entries: u64, occurrences: u64) -> HistogramRow {
    HistogramRow { start, by: by.map(str::to_owned), counts: Counts { entries, occurrences } }
}

fn row(value: &str, entries: u64, occurrences: u64) -> TopRow {
    TopRow { value: value.into(), counts: Counts { entries, occurrences } }
}

pub async fn histograms<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    let times = [-1, 0, SECOND - 1, SECOND, -SECOND, -SECOND - 1, 10 * SECOND, -10 * SECOND];
    log.json("web", &times.map(|time| at(time, "alice"))).await;
    let rows = log.store.histogram(&everything(), SECOND, None, LIMIT).await.unwrap().rows;
    let wanted = [(-10, 1), (-2, 1), (-1, 2), (0, 2), (1, 1), (10, 1)];
    assert_eq!(rows, wanted.map(|(start, count)| bar(start * SECOND, None, count, count)));
    for interval in [1, 7, SECOND, 3 * SECOND, 3_600 * SECOND, 400 * 86_400 * SECOND] {
        let rows = log.store.histogram(&everything(), interval, None, LIMIT).await.unwrap().rows;
        assert_eq!(rows, log.wanted_histogram(&everything(), interval, None), "{interval}");
    }
    let mut part = everything();
    (part.from, part.to) = (Some(0), Some(SECOND));
    let rows = log.store.histogram(&part, 10 * SECOND, None, LIMIT).await.unwrap().rows;
    assert_eq!(rows, [bar(0, None, 2, 2)]);
}

pub async fn histograms_split_by_a_field<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    log.json(
        "web",
        &[
            json!({"user": "bob", "status": 200, "tags": ["a", "b"], "timestamp": text(START)}),
            json!({"user": "alice", "status": 200, "event": {"count": 3}, "timestamp": text(START + 1)}),
            json!({"user": "alice", "tags": "a", "timestamp": text(START + SECOND)}),
            json!({"tags": "b", "timestamp": text(START + 1)}),
        ],
    )
    .await;
    log.json("vpn", &[at(START, "bob")]).await;
    let store = &log.store;
    let split = async |by: &Field| store.histogram(&everything(), SECOND, Some(by), LIMIT).await.unwrap().rows;
    let (first, second) = (START, START + SECOND);
    let users = split(&field("user")).await;
    let wanted = [
        bar(first, None, 1, 1),
        bar(first, Some("alice"), 1, 3),
        bar(first, Some("bob"), 2, 2),
        bar(second, Some("alice"), 1, 1),
    ];
    assert_eq!(users, wanted);
    let codes = split(&Field::Number(Number::StatusCode)).await;
    assert_eq!(codes, [bar(first, None, 2, 2), bar(first, Some("200"), 2, 4), bar(second, None, 1, 1)]);
    let tags = split(&Field::Other("tags".into())).await;
    let wanted = [
        bar(first, None, 2, 4),
        bar(first, Some("a"), 1, 1),
        bar(first, Some("b"), 2, 2),
        bar(second, Some("a"), 1, 1),
    ];
    assert_eq!(tags, wanted);
    let sources = split(&Field::Source).await;
    assert_eq!(sources, [bar(first, Some("vpn"), 1, 1), bar(first, Some("web"), 3, 5), bar(second, Some("web"), 1, 1)]);
}

pub async fn top_values<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    log.json(
        "web",
        &[
            json!({"user": "bob", "bytes": 10, "team": "red"}),
            json!({"user": "alice", "bytes": 9, "team": ["red", "blue"]}),
            json!({"user": "carol", "bytes": 10, "event": {"count": 5}}),
            json!({"user": "alice", "team": ["red", "red"]}),
            json!({"user": "Bob", "bytes": -1}),
            json!({"ip": "10.0.0.1"}),
        ],
    )
    .await;
    let store = &log.store;
    let top = async |name: &str, rows| store.top(&everything(), &field(name), rows, LIMIT).await.unwrap();
    let users = top("user", 10).await;
    assert_eq!(
        (users.distinct, users.rows),
        (4, vec![row("carol", 1, 5), row("alice", 2, 2), row("Bob", 1, 1), row("bob", 1, 1)])
    );
    let users = top("user", 2).await;
    assert_eq!((users.distinct, users.rows), (4, vec![row("carol", 1, 5), row("alice", 2, 2)]));
    let bytes = top("bytes", 10).await;
    assert_eq!((bytes.distinct, bytes.rows), (3, vec![row("10", 2, 6), row("-1", 1, 1), row("9", 1, 1)]));
    // An entry counts once for a value, however often it has it.
    let teams = top("team", 10).await;
    assert_eq!((teams.distinct, teams.rows), (2, vec![row("red", 3, 3), row("blue", 1, 1)]));
    let sources = top("source", 10).await;
    assert_eq!((sources.distinct, sources.rows), (1, vec![row("web", 6, 10)]));
    let some = store.top(&query("bytes:>0"), &field("user"), 10, LIMIT).await.unwrap();
    assert_eq!((some.distinct, some.rows), (3, vec![row("carol", 1, 5), row("alice", 1, 1), row("bob", 1, 1)]));
}

pub async fn counts_of_repeated_events<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    log.add(vec![lines(&[
        b"Nov 22 08:00:01 gate sshd[7]: Failed password for root from 10.0.0.9 port 22 ssh2",
        b"Nov 22 08:00:02 gate sshd[7]: message repeated 5 times: [ Failed password for root from 10.0.0.9 port 22 ssh2]",
    ])])
    .await;
    assert_eq!(log.store.count(&everything(), LIMIT).await.unwrap(), Counts { entries: 2, occurrences: 6 });
    let hosts = log.store.top(&query("status:failed"), &Field::Keyword(Keyword::SourceIp), 3, LIMIT).await.unwrap();
    assert_eq!(hosts.rows, [row("10.0.0.9", 2, 6)]);
    log.finds("event.count:5", 1).await;
}

pub async fn empty_answers<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    let user = field("user");
    for _ in 0..2 {
        let none = query("user:nobody");
        assert_eq!(log.store.count(&none, LIMIT).await.unwrap(), Counts::default());
        assert_eq!(log.store.histogram(&none, SECOND, Some(&user), LIMIT).await.unwrap().rows, []);
        let top = log.store.top(&none, &user, 10, LIMIT).await.unwrap();
        assert_eq!((top.distinct, top.rows), (0, vec![]));
        assert!(log.check("nobody", &none).await == 0);
        log.json("web", &[at(START, "alice")]).await;
    }
}
