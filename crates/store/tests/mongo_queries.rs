//! Questions to MongoDB: their answers are those of the embedded store, and they are found by indexes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use sceau_event::{Field, Keyword, Number, field};
use sceau_store::{
    Batch, Ledger as _, Search, StoreError,
    embedded::{Embedded, Options},
    mongo::{document::documents, indexes, names, query as pipelines, search::Questions},
    query::{Bound, Cursor, Filter, Network, Order, Page, Query, Test, parse, words::Phrase},
};
use serde_json::json;

mod contract;
mod mongo_server;

use contract::{
    deriver,
    events::{Dice, LIMIT, batches, everything, page, query},
    writer::{SECOND, START, Writer, batch, framer, text},
};
use mongo_server::Server;

const WEEK: i64 = 7 * 86_400 * SECOND;

/// The same entries in both stores.
struct Both {
    embedded: Embedded,
    questions: Questions,
    database: Database,
    writer: Writer,
    _directory: tempfile::TempDir,
}

impl Both {
    async fn new(server: &Server) -> Self {
        let database = server.database().await;
        let models = indexes::of_logs().iter().map(indexes::Index::model).collect::<Vec<_>>();
        database.collection::<Document>(names::LOGS).create_indexes(models).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        Embedded::create(directory.path()).unwrap();
        let options = Options { segment_age: u64::MAX, ..Options::default() };
        let embedded = Embedded::open(directory.path(), deriver(), options).await.unwrap();
        let questions = Questions::new(&database);
        Self { embedded, questions, database, writer: Writer::new(), _directory: directory }
    }

    async fn add(&mut self, batches: Vec<Batch>) {
        let before = self.writer.head();
        let commit = self.writer.commit_of(batches, vec![]);
        for command in documents(before.size.0, &commit.batches, &commit.tags, "1").unwrap() {
            self.database.run_raw_command(command).await.unwrap();
        }
        self.embedded.commit(before, commit).await.unwrap();
    }

    /// Both give the same pages, in both orders, and count alike.
    async fn agree(&self, query: &Query) -> u64 {
        let pages = async |store: &dyn Search, order, limit| {
            let (mut found, mut after) = (vec![], None);
            loop {
                let hits = store.search(query, &page(order, limit, after), LIMIT).await.unwrap();
                found.extend(hits.hits.into_iter().map(|hit| (hit.time, hit.index.0, hit.entry)));
                after = hits.next;
                if after.is_none() || found.len() > 3 * limit {
                    return found;
                }
            }
        };
        for (order, limit) in [(Order::Newest, 1_000), (Order::Oldest, 40)] {
            let (found, wanted) =
                (pages(&self.questions, order, limit).await, pages(&self.embedded, order, limit).await);
            if found != wanted {
                let extra: Vec<_> = found.iter().filter(|hit| !wanted.contains(hit)).take(2).collect();
                let missing: Vec<_> = wanted.iter().filter(|hit| !found.contains(hit)).take(2).collect();
                let told = |hits: Vec<&(i64, u64, Vec<u8>)>| -> Vec<String> {
                    hits.iter().map(|hit| String::from_utf8_lossy(&hit.2).into_owned()).collect()
                };
                panic!(
                    "{query:?}\n{}\nextra {:?}\nmissing {:?}",
                    pipelines::matching(query),
                    told(extra),
                    told(missing)
                );
            }
        }
        let count = self.questions.count(query, LIMIT).await.unwrap();
        assert_eq!(count, self.embedded.count(query, LIMIT).await.unwrap(), "{query:?}");
        count.entries
    }

    async fn tables_agree(&self, query: &Query, by: &Field) {
        let (found, wanted) = (&self.questions, &self.embedded);
        for interval in [1, 900 * SECOND, 86_400 * SECOND, WEEK, i64::MAX] {
            for by in [None, Some(by)] {
                let bars = found.histogram(query, interval, by, LIMIT).await.unwrap();
                assert_eq!(
                    bars,
                    wanted.histogram(query, interval, by, LIMIT).await.unwrap(),
                    "{interval} {by:?} {query:?}"
                );
            }
        }
        for rows in [2, 5_000] {
            let table = found.top(query, by, rows, LIMIT).await.unwrap();
            assert_eq!(table, wanted.top(query, by, rows, LIMIT).await.unwrap(), "{rows} {by:?} {query:?}");
        }
    }
}

/// Texts in which something may go wrong.
const ODD: [&str; 46] = [
    "alice",
    "Alice",
    "ALICE smith",
    "al",
    "failed",
    "success",
    "failure",
    "İstanbul",
    "istanbul",
    "K9",
    "k9",
    "ÉLÉMENT n°5",
    "élément",
    "Straße",
    "ǅ",
    "$user",
    "$$x",
    "a.b*c",
    "a*c",
    "^a|b$",
    "(x",
    "back\\slash",
    "two\nlines of text",
    "nul\0inside",
    "\u{10ffff}z",
    " ",
    "",
    "--",
    "10.0.0.7",
    "10.0.0.70",
    "from 10.0.0.7 port 22",
    "10-0-0-7",
    "::ffff:10.0.0.7",
    "2001:db8::1d",
    "2001:DB8::1D",
    "4711",
    "-5",
    "1e3",
    "9007199254740993",
    "9007199254740992.5",
    "1.50",
    "inf",
    "+7",
    "0.1",
    "web-1.example.com",
    "a b c d e f",
];
const NAMES: [&str; 9] = ["team", "note", "labels.all", "a b", "$where", "=ip", "note.deep.er", "nat", "x\0y"];

fn odd(dice: &mut Dice) -> String {
    let mut made = dice.one(&ODD).to_owned();
    while dice.below(3) == 0 {
        made.push_str(dice.one(&[" ", ", ", "-", "\n", ""]));
        made.push_str(dice.one(&ODD));
    }
    made
}

fn odd_batches(count: usize, dice: &mut Dice) -> Vec<Batch> {
    let sources = ["web", "vpn-2.eu", "42", "10.0.0.9", "sceau.audit", "sceaux", "sceau.finding"];
    let mut left = count;
    let mut made = vec![];
    while left > 0 {
        let size = left.min(40);
        left -= size;
        let framer = framer(dice.one(&sources), START + made.len() as i64 * 1_234_567);
        made.push(batch(|builder| {
            for _ in 0..size {
                let day = dice.below(30_000) as i64 - 15_000;
                let time =
                    if dice.below(4) == 0 { day * 86_400 * SECOND } else { START + dice.below(9) as i64 * 250_000 };
                let mut event = json!({ "timestamp": text(time) });
                for name in ["message", "user", "action", "ip", "host", "url", "status", "bytes", "pid", "level"] {
                    if dice.below(3) == 0 {
                        event[name] = json!(odd(dice));
                    }
                }
                if dice.below(3) == 0 {
                    event["bytes"] = json!(dice.next() as i64 >> dice.below(60));
                }
                if dice.below(8) == 0 {
                    event["event"] = json!({ "count": dice.below(5) });
                }
                for _ in 0..dice.below(4) {
                    let values: Vec<String> = (0..dice.below(4)).map(|_| odd(dice)).collect();
                    event[dice.one(&NAMES)] = json!(values);
                }
                builder.push_json(&framer, event.to_string().as_bytes()).unwrap();
            }
        }));
    }
    made
}

fn any_field(dice: &mut Dice) -> Field {
    match dice.below(12) {
        0 => Field::Time,
        1 => Field::Received,
        2 => Field::Source,
        3 | 4 => Field::Number(Number::ALL[dice.below(Number::COUNT as u64) as usize]),
        5..=7 => Field::Keyword(Keyword::ALL[dice.below(Keyword::COUNT as u64) as usize]),
        8 => Field::Keyword(Keyword::Message),
        _ => Field::Other(dice.one(&NAMES).to_owned()),
    }
}

fn any_value(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => (START + dice.below(9) as i64 * 250_000).to_string(),
        1 => (dice.next() as i64 >> dice.below(64)).to_string(),
        2 => format!("{}", dice.below(10_000) as f64 / 8.0),
        3 => dice.one(&["web", "vpn-2.eu", "42", "sceau.audit", "failure", "success", "vpn", "eu"]).to_owned(),
        _ => odd(dice),
    }
}

fn any_phrase(dice: &mut Dice) -> Phrase {
    loop {
        let mut value = any_value(dice);
        if dice.below(2) == 0 {
            // A part of it, so that beginnings are cut within words too.
            let ends: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
            if !ends.is_empty() {
                value.truncate(ends[dice.below(ends.len() as u64) as usize]);
            }
        }
        if let Some(phrase) = Phrase::new(&value, dice.below(2) == 0) {
            return phrase;
        }
    }
}

fn any_test(dice: &mut Dice) -> Test {
    let bound = |dice: &mut Dice| match dice.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Inclusive(any_value(dice)),
        _ => Bound::Exclusive(any_value(dice)),
    };
    match dice.below(9) {
        0 => Test::Exists,
        1 | 2 => Test::Equals(any_value(dice)),
        3 | 4 => {
            let value = any_value(dice);
            let mut pieces = vec![String::new()];
            for c in value.chars() {
                match dice.below(5) {
                    0 => pieces.push(String::new()),
                    1 => pieces.push(c.to_string()),
                    _ => pieces.last_mut().unwrap().push(c),
                }
            }
            if dice.below(2) == 0 {
                pieces.push(String::new());
            }
            Test::Wildcard(pieces)
        }
        5 => Test::Words(any_phrase(dice)),
        6 | 7 => Test::Range { low: bound(dice), high: bound(dice) },
        _ => {
            let networks = [
                "10.0.0.0/8",
                "10.0.0.7/32",
                "0.0.0.0/0",
                "::/0",
                "2001:db8::/32",
                "::ffff:10.0.0.0/104",
                "10.0.0.4/30",
            ];
            Test::Cidr(Network::parse(dice.one(&networks)).unwrap())
        }
    }
}

fn any_filter(dice: &mut Dice, depth: u32) -> Filter {
    match dice.below(if depth == 0 { 3 } else { 7 }) {
        0 => Filter::Text(any_phrase(dice)),
        1 | 2 => Filter::Is(any_field(dice), any_test(dice)),
        3 => Filter::Not(Box::new(any_filter(dice, depth - 1))),
        4 => Filter::And((0..dice.below(3)).map(|_| any_filter(dice, depth - 1)).collect()),
        5 => Filter::Or((0..dice.below(4)).map(|_| any_filter(dice, depth - 1)).collect()),
        _ => Filter::Or(vec![any_filter(dice, depth - 1), Filter::All]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_questions_are_answered_alike() {
    let Some(server) = Server::start("random questions to MongoDB") else { return };
    let mut both = Both::new(&server).await;
    let mut dice = Dice(7);
    both.add(odd_batches(400, &mut dice)).await;
    both.add(batches(200, 3)).await;
    let (mut found, mut asked) = (0, 0);
    for round in 0..400 {
        let mut query = Query { filter: any_filter(&mut dice, 2), internal: dice.below(3) > 0, ..everything() };
        if dice.below(4) == 0 {
            query.from = Some(START - dice.below(20) as i64 * 250_000);
            query.to = (dice.below(2) == 0).then_some(START + dice.below(9) as i64 * 250_000);
        }
        let count = both.agree(&query).await;
        asked += 1;
        found += u64::from(count > 0 && count < 600);
        if round % 12 == 0 {
            both.tables_agree(&query, &any_field(&mut dice)).await;
        }
    }
    assert!(found > asked / 3, "{found} of {asked} questions tell entries apart");
}

/// A cut of every text there is, searched as a phrase and by pattern: nothing that the embedded store finds is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_entry_says_finds_it() {
    let Some(server) = Server::start("questions to MongoDB about odd texts") else { return };
    let mut both = Both::new(&server).await;
    let mut dice = Dice(11);
    both.add(odd_batches(120, &mut dice)).await;
    for (number, odd) in ODD.iter().enumerate() {
        let fields = [Field::Keyword(Keyword::Message), Field::Other("team".into()), Field::Keyword(Keyword::UserName)];
        let field = &fields[number % 3];
        let half: String = odd.chars().take(odd.chars().count().div_ceil(2)).collect();
        let rest: String = odd.chars().skip(odd.chars().count().div_ceil(2)).collect();
        let mut filters = vec![
            Filter::Is(field.clone(), Test::Equals((*odd).to_owned())),
            Filter::Is(field.clone(), Test::Wildcard(vec![half.clone(), String::new()])),
            Filter::Is(field.clone(), Test::Wildcard(vec![String::new(), rest.clone()])),
            Filter::Is(field.clone(), Test::Wildcard(vec![String::new(), half.clone(), rest, String::new()])),
        ];
        for (text, prefix) in [(*odd, false), (half.as_str(), true)] {
            if let Some(phrase) = Phrase::new(text, prefix) {
                filters.push(Filter::Is(field.clone(), Test::Words(phrase.clone())));
                filters.push(Filter::Text(phrase));
            }
        }
        for filter in filters {
            both.agree(&Query { filter, ..everything() }).await;
        }
    }
}

/// The stages of a plan and the names of its indexes.
fn collect(plan: &Bson, stages: &mut Vec<String>, indexes: &mut Vec<String>) {
    match plan {
        Bson::Document(document) => {
            for (key, value) in document {
                match (key.as_str(), value) {
                    ("stage", Bson::String(stage)) => stages.push(stage.clone()),
                    ("indexName", Bson::String(index)) => indexes.push(index.clone()),
                    ("rejectedPlans", _) => {}
                    (key, _) => {
                        if key == "$sort" {
                            stages.push("SORT".to_owned());
                        }
                        collect(value, stages, indexes);
                    }
                }
            }
        }
        Bson::Array(values) => values.iter().for_each(|value| collect(value, stages, indexes)),
        _ => {}
    }
}

async fn explained(database: &Database, pipeline: Vec<Document>) -> (Vec<String>, Vec<String>) {
    plan_of(database, doc! { "aggregate": names::LOGS, "pipeline": pipeline, "cursor": {} }).await
}

async fn plan_of(database: &Database, command: Document) -> (Vec<String>, Vec<String>) {
    let plan = database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await.unwrap();
    let (mut stages, mut indexes) = (vec![], vec![]);
    // A plan is where the server puts it: at the top, or within the stage `$cursor`. The command is told besides.
    for name in ["queryPlanner", "stages"] {
        if let Some(part) = plan.get(name) {
            collect(part, &mut stages, &mut indexes);
        }
    }
    assert!(!stages.is_empty(), "{plan}");
    (stages, indexes)
}

/// Pages of the usual questions come from an index in their order; none reads all documents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_come_from_indexes_in_order() {
    let Some(server) = Server::start("explanations by MongoDB") else { return };
    let mut both = Both::new(&server).await;
    both.add(batches(2_000, 5)).await;
    for (text, index) in [
        ("*", "by_time"),
        ("ip:10.0.0.7", "by_ip"),
        ("user:alice", "by_user"),
        ("user:alice status:failed", "by_user"),
        ("action:login", "by_action"),
        ("status:failed", "by_status"),
        ("source:vpn", "by_source"),
        ("publickey", "by_word"),
        ("\"failed password\"", "by_word"),
        ("\"10.0.0.7\"", "by_word"),
        ("message:publickey", "by_word"),
        ("team:\"dark blue\"", "by_field"),
        ("publick*", "by_word"),
        ("user:ali*", "by_user"),
    ] {
        // Where words or values are many, the server may walk the newest entries instead, and the test's server finds
        // nothing by the members of a list's elements, as MongoDB does.
        let open = text.ends_with('*') || text.starts_with("team");
        let start = Query { internal: true, ..query(text) };
        let stretch = Query { from: Some(START), to: Some(START + 9_000 * SECOND), ..start.clone() };
        let cursor = Cursor { time: START + 5 * SECOND, index: 100 };
        for (query, after) in [(&start, None), (&stretch, None), (&start, Some(cursor))] {
            for order in [Order::Newest, Order::Oldest] {
                let pipeline = pipelines::page(query, &page(order, 50, after));
                let (stages, indexes) = explained(&both.database, pipeline).await;
                let told = format!("{text} {order:?} {after:?}: {stages:?} {indexes:?}");
                let has = |stage: &str| stages.iter().any(|found| found == stage);
                assert!(has("IXSCAN") && !has("COLLSCAN"), "{told}");
                assert!(open || (indexes.iter().all(|found| found == index) && !has("SORT")), "{told}");
            }
        }
        let (stages, indexes) = explained(&both.database, pipelines::count(&start)).await;
        assert!(open || indexes.iter().all(|found| found == index), "{text}: {stages:?} {indexes:?}");
    }
}

/// Keys that are no index are looked for without reading the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_no_index_come_from_the_index() {
    let Some(server) = Server::start("explanations by MongoDB") else { return };
    let mut both = Both::new(&server).await;
    both.add(batches(100, 5)).await;
    let logs = both.database.collection::<Document>(names::LOGS);
    let odd = [Bson::from("x"), doc! { "a": 1 }.into(), Bson::Null, true.into(), (-1_i64).into(), f64::NAN.into()];
    for id in &odd {
        logs.insert_one(doc! { "_id": id }).await.unwrap();
    }
    let mut found = 0;
    for filter in indexes::no_index() {
        found += logs.count_documents(filter.clone()).await.unwrap();
        let command = doc! { "find": names::LOGS, "filter": &filter };
        let plan = plan_of(&both.database, command).await;
        // The test's server knows no stretches of kinds in an index, as MongoDB does.
        let by_kind = filter.to_string().contains("$type");
        assert!(by_kind || !plan.0.iter().any(|stage| stage == "COLLSCAN"), "{filter}: {plan:?}");
    }
    assert_eq!(found, odd.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_told_apart() {
    let Some(server) = Server::start("limits of questions to MongoDB") else { return };
    let mut both = Both::new(&server).await;
    both.add(batches(300, 9)).await;
    let questions = &both.questions;
    let late = questions.count(&everything(), Duration::ZERO).await;
    assert!(matches!(late, Err(StoreError::Timeout(0))), "{late:?}");
    let tiny = Duration::from_nanos(1);
    let late = questions.top(&everything(), &field("user"), 5, tiny).await;
    assert!(matches!(late, Err(StoreError::Timeout(0))), "{late:?}");
    for limit in [0, Page::MAX + 1] {
        let refused = questions.search(&everything(), &page(Order::Newest, limit, None), LIMIT).await;
        assert!(matches!(refused, Err(StoreError::Query(_))), "{refused:?}");
    }
    let uri = format!("{}&serverSelectionTimeoutMS=500", server.uri("", "sceau"));
    let hasty = Questions::new(&mongodb::Client::with_uri_str(uri).await.unwrap().database("sceau"));
    assert_eq!(hasty.count(&everything(), LIMIT).await.unwrap().entries, 300);
    drop(server);
    let gone = hasty.count(&everything(), LIMIT).await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
}

/// The server is told how long it may work, for every question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_tells_the_server_its_limit() {
    use mongodb::{
        Client,
        event::{EventHandler, command::CommandEvent},
        options::ClientOptions,
    };
    let Some(server) = Server::start("limits told to MongoDB") else { return };
    let mut options = ClientOptions::parse(server.uri("", "sceau")).await.unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event
            && event.command_name == "aggregate"
        {
            let number = |name: &str| match event.command.get(name) {
                Some(Bson::Int32(number)) => Some(i64::from(*number)),
                Some(Bson::Int64(number)) => Some(*number),
                _ => None,
            };
            told.send((number("maxTimeMS"), event.command.get_bool("allowDiskUse").ok())).unwrap();
        }
    }));
    let questions = Questions::new(&Client::with_options(options).unwrap().database("sceau"));
    let (all, limit) = (everything(), Duration::from_millis(4_321));
    questions.search(&all, &page(Order::Newest, 5, None), limit).await.unwrap();
    questions.count(&all, limit).await.unwrap();
    questions.top(&all, &field("user"), 5, limit).await.unwrap();
    questions.histogram(&all, SECOND, None, limit).await.unwrap();
    let told: Vec<_> = heard.try_iter().collect();
    assert_eq!(told, [(Some(4_321), Some(false)); 4]);
}

/// The deepest query that can be written is one that a server takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deepest_question_is_taken() {
    let Some(server) = Server::start("deep questions to MongoDB") else { return };
    let mut both = Both::new(&server).await;
    both.add(batches(100, 9)).await;
    let depth = sceau_store::query::MAX_DEPTH;
    let text = format!("{}team:r*d{}", "-(user:bob OR -(status:failed OR ".repeat(depth / 2), "))".repeat(depth / 2));
    let filter = parse(&text, sceau_event::Micros(START)).unwrap();
    both.agree(&Query { filter, ..everything() }).await;
    let words = vec!["word"; 64].join(" ");
    both.agree(&query(&format!("\"{words}\""))).await;
    let pieces = format!("url:*{}", "a*".repeat(4_000));
    both.agree(&query(&pieces)).await;
}
