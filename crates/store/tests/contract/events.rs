//! Logs made up from a number, and what the query model says about them.

use std::collections::{BTreeMap, BTreeSet};

use sceau_event::{Field, Micros, Record};
use sceau_ledger::Index;
use sceau_store::{
    Batch, Counts, HistogramRow, Store, TopRow, TopTable,
    query::{Cursor, Filter, Order, Page, Query, parse},
};
use serde_json::{Value, json};

use super::{
    Home, deriver, oracle,
    writer::{SECOND, START, Writer, batch, framer, text},
};

/// No test waits that long for an answer.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A small generator (SplitMix64), so that every run sees the same log.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

fn event(dice: &mut Dice) -> Value {
    let mut event = json!({ "timestamp": text(START + dice.below(100_000) as i64 * SECOND / 4 - 2_000 * SECOND) });
    let mut set = |chance: u64, name: &str, value: Value, dice: &mut Dice| {
        if dice.below(10) < chance {
            event[name] = value;
        }
    };
    let ip = format!("10.{}.{}.{}", dice.below(3), dice.below(2), dice.below(20));
    let ip = if dice.below(8) == 0 { format!("2001:db8::{:x}", dice.below(30)) } else { ip };
    let user = dice.one(&["alice", "bob", "carol", "Alice", "root", "élodie", "alice@example.com"]);
    let words = [
        dice.one(&["Failed", "Accepted", "failed", "Invalid"]),
        dice.one(&["password", "publickey", "pass-word", "user"]),
        "for",
        user,
        dice.one(&["from", "via", "§"]),
        &ip,
    ]
    .join(" ");
    set(8, "ip", json!(ip), dice);
    set(8, "user", json!(user), dice);
    set(
        7,
        "status",
        [json!("failed"), json!("ok"), json!(404), json!(200), json!("odd")][dice.below(5) as usize].clone(),
        dice,
    );
    set(6, "action", json!(dice.one(&["login", "logout", "read", "log-in"])), dice);
    set(5, "bytes", json!(dice.below(5_000) as i64 - 100), dice);
    set(8, "message", json!(words), dice);
    set(5, "url", json!(format!("/{}/{}.html?q=1", dice.one(&["index", "admin", "é"]), dice.below(9))), dice);
    set(3, "host", json!(format!("web{}.{}.example.com", dice.below(4), dice.one(&["eu", "us"]))), dice);
    set(4, "team", json!(dice.one(&["red", "blue", "dark blue"])), dice);
    set(3, "labels", json!({ "size": dice.below(40) as f64 / 4.0, "all": [dice.one(&["a", "b"]), "c"] }), dice);
    set(1, "event", json!({ "count": dice.below(5) + 1 }), dice);
    event
}

/// So many events in several batches; every tenth is a line, some are the product's own.
pub fn batches(count: usize, seed: u64) -> Vec<Batch> {
    let mut dice = Dice(seed);
    let mut left = count;
    let mut made = vec![];
    while left > 0 {
        let size = left.min(1 + dice.below(130) as usize);
        left -= size;
        let received = START + made.len() as i64 * SECOND;
        let source = dice.one(&["web", "vpn", "web", "sceau.audit", "sceau.finding"]);
        let framer = framer(source, received);
        made.push(batch(|builder| {
            for _ in 0..size {
                if dice.below(10) == 0 {
                    let line = format!(
                        "Nov 22 08:{:02}:07 gate sshd[{}]: Failed password for {} from 10.0.0.{} port 4{} ssh2",
                        dice.below(60),
                        dice.below(900),
                        dice.one(&["root", "bob"]),
                        dice.below(9),
                        dice.below(10)
                    );
                    builder.push_line(&framer, line.as_bytes()).unwrap();
                } else {
                    builder.push_json(&framer, event(&mut dice).to_string().as_bytes()).unwrap();
                }
            }
        }));
    }
    made
}

/// A query from the search bar, over all time, internal sources only if it names them.
pub fn query(text: &str) -> Query {
    let filter = parse(text, Micros(START)).unwrap_or_else(|error| panic!("{text}: {error}"));
    Query { from: None, to: None, internal: filter.names_internal(), filter }
}

/// Everything, internal sources too.
pub fn everything() -> Query {
    Query { from: None, to: None, filter: Filter::All, internal: true }
}

pub fn page(order: Order, limit: usize, after: Option<Cursor>) -> Page {
    Page { order, limit, after }
}

/// A log, and its records in plain memory.
pub struct Log<S> {
    pub store: S,
    pub writer: Writer,
    pub records: Vec<Record<'static>>,
}

impl<S: Store> Log<S> {
    pub async fn open<H: Home<Store = S>>(home: &H) -> Self {
        Self { store: home.open().await, writer: Writer::new(), records: vec![] }
    }

    pub async fn add(&mut self, batches: Vec<Batch>) {
        self.writer.commit(&self.store, batches).await.unwrap();
        self.learn();
    }

    pub async fn json(&mut self, source: &str, events: &[Value]) {
        self.writer.json(&self.store, source, events).await;
        self.learn();
    }

    fn learn(&mut self) {
        let deriver = deriver();
        let new = &self.writer.entries[self.records.len()..];
        self.records.extend(new.iter().map(|entry| deriver.derive(entry).unwrap().into_owned()));
    }

    /// What the model finds, as (time, index) in order.
    pub fn wanted(&self, query: &Query, order: Order) -> Vec<(i64, u64)> {
        let rows = (0..).zip(&self.records).filter(|(_, record)| oracle::finds(query, record));
        let mut found: Vec<(i64, u64)> = rows.map(|(index, record)| (record.time.0, index)).collect();
        found.sort_unstable();
        if order == Order::Newest {
            found.reverse();
        }
        found
    }

    pub fn wanted_count(&self, query: &Query) -> Counts {
        let rows = self.wanted(query, Order::Oldest);
        let occurrences = rows.iter().map(|(_, index)| self.records[*index as usize].count()).sum();
        Counts { entries: rows.len() as u64, occurrences }
    }

    /// An entry with several values counts once for each of them that differs.
    fn values(&self, index: u64, field: &Field) -> BTreeSet<String> {
        let record = &self.records[usize::try_from(index).unwrap()];
        match field {
            Field::Other(name) => record.others(name).map(str::to_owned).collect(),
            field => record.get(field).map(|value| value.into_owned()).into_iter().collect(),
        }
    }

    pub fn wanted_histogram(&self, query: &Query, interval: i64, by: Option<&Field>) -> Vec<HistogramRow> {
        let mut bars: BTreeMap<(i64, Option<String>), Counts> = BTreeMap::new();
        for (time, index) in self.wanted(query, Order::Oldest) {
            let mut values: Vec<Option<String>> =
                by.map_or_else(Vec::new, |field| self.values(index, field).into_iter().map(Some).collect());
            if values.is_empty() {
                values.push(None);
            }
            for value in values {
                let counts = bars.entry((time.div_euclid(interval) * interval, value)).or_default();
                counts.entries += 1;
                counts.occurrences += self.records[index as usize].count();
            }
        }
        bars.into_iter().map(|((start, by), counts)| HistogramRow { start, by, counts }).collect()
    }

    pub fn wanted_top(&self, query: &Query, field: &Field, rows: usize) -> TopTable {
        let mut values: BTreeMap<String, Counts> = BTreeMap::new();
        for (_, index) in self.wanted(query, Order::Oldest) {
            for value in self.values(index, field) {
                let counts = values.entry(value).or_default();
                counts.entries += 1;
                counts.occurrences += self.records[index as usize].count();
            }
        }
        let distinct = values.len() as u64;
        let mut table: Vec<TopRow> = values.into_iter().map(|(value, counts)| TopRow { value, counts }).collect();
        table.sort_by_key(|row| std::cmp::Reverse(row.counts.occurrences));
        table.truncate(rows);
        TopTable { rows: table, distinct }
    }

    /// All pages of an answer, checked to be whole and to end.
    pub async fn pages(&self, query: &Query, order: Order, limit: usize) -> Vec<(i64, u64)> {
        let mut found = vec![];
        let mut after = None;
        loop {
            let hits = self.store.search(query, &page(order, limit, after), LIMIT).await.unwrap();
            assert!(hits.hits.len() <= limit);
            for hit in &hits.hits {
                let Index(index) = hit.index;
                assert_eq!(hit.entry, self.writer.entries[usize::try_from(index).unwrap()], "entry {index}");
                found.push((hit.time, index));
            }
            let Some(next) = hits.next else { return found };
            assert_eq!(hits.hits.len(), limit, "a page before the last is full");
            assert_eq!(Some((next.time, next.index)), found.last().copied());
            after = Some(next);
        }
    }

    /// The answer to one query in both orders, and its count, are the model's.
    pub async fn check(&self, name: &str, query: &Query) -> usize {
        for order in [Order::Newest, Order::Oldest] {
            let wanted = self.wanted(query, order);
            assert_eq!(self.pages(query, order, Page::MAX).await, wanted, "{name} {order:?}");
            let few = self.store.search(query, &page(order, 3, None), LIMIT).await.unwrap();
            let few: Vec<_> = few.hits.iter().map(|hit| (hit.time, hit.index.0)).collect();
            assert_eq!(few, wanted[..wanted.len().min(3)], "{name} {order:?}");
        }
        let counts = self.store.count(query, LIMIT).await.unwrap();
        assert_eq!(counts, self.wanted_count(query), "{name}");
        usize::try_from(counts.entries).unwrap()
    }

    /// The same for a text, which must find so many.
    pub async fn finds(&self, text: &str, wanted: usize) {
        assert_eq!(self.check(text, &query(text)).await, wanted, "{text}");
    }
}
