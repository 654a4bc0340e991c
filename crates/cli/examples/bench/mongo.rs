//! MongoDB as the store: what sealing and committing cost in our process, and how much slower batches are than the same
//! driver's bare `insert_many`.
//!
//! Three runs on one server, of the same events in batches of 5,000: the store alone, in this process, which therefore
//! spends its CPU time on nothing else; the same documents put into another collection with the same indexes and validator by the
//! driver, as durably; and the real binary over HTTP, beside its generator.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;
use futures::TryStreamExt as _;
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    options::{Acknowledgment, ClientOptions, WriteConcern},
};
use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use sceau_ledger::{BundleMac, EntryMac, Index, MacKey, Tree};
use sceau_store::{
    Batch, BatchBuilder, Commit, Store,
    mongo::{Mongo, MongoOptions, MongoUri, Secret},
    traits::BundleTag,
};

use crate::{
    Outcome, events, load, process,
    report::{Bar, Report, micros},
    server::Server,
};

/// The variable that holds the database user's password.
pub const PASSWORD: &str = "SCEAU_STORE_PASSWORD";
/// 2026-11-22T08:00:00Z, when all events are received.
const RECEIVED: i64 = 1_795_334_400_000_000;
/// The collection of bare inserts.
const BARE: &str = "bare";
/// What sealing and committing may cost.
const COST: Bar = Bar::AtMost(10.0);
/// What batches must reach of the rate of bare inserts, in percent.
const SHARE: Bar = Bar::AtLeast(70.0);

/// Runs all three; the database is dropped before and after.
pub async fn run(sceau: &Path, dir: &Path, uri: &str, count: u64, report: &Report) -> Outcome<()> {
    let password = std::env::var(PASSWORD).ok().filter(|password| !password.is_empty());
    let mut client = ClientOptions::parse(uri).await?;
    if let (Some(password), Some(user)) = (&password, &mut client.credential) {
        user.password = Some(password.clone());
    }
    let name = format!("{}_bench", client.default_database.as_deref().unwrap_or("sceau"));
    let uri = with_database(uri, &name)?;
    client.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    let database = Client::with_options(client)?.database(&name);
    database.drop().await?;
    let options = MongoOptions {
        password: password.map(Secret::new),
        ..MongoOptions::new(MongoUri::new(uri.clone()).ok_or("--store is no URI")?)
    };
    println!("-- the store alone");
    let alone = store(&options, count, report).await?;
    println!("-- the driver's insert_many of the same documents, without the log's validator");
    let free = bare(&database, false, report).await?;
    println!("-- the same, with it");
    let bare = bare(&database, true, report).await?;
    report.row("batches put into the store alone, of the rate without it", format!("{:.2} %", 100.0 * alone / free));
    report.bar("batches put into the store alone, of that rate", 100.0 * alone / bare, "%", SHARE);
    database.drop().await?;
    println!("-- the server, over HTTP");
    let served = served(sceau, dir, &uri, count, report).await?;
    report.bar("batches sent to the server, of that rate", 100.0 * served / bare, "%", SHARE);
    Ok(database.drop().await?)
}

/// The URI with another database in it.
fn with_database(uri: &str, name: &str) -> Outcome<String> {
    let (scheme, rest) = uri.split_once("://").ok_or("--store is no URI")?;
    let (hosts, behind) = rest.split_once('/').unwrap_or((rest, ""));
    let query = behind.split_once('?').map_or("", |(_, query)| query);
    // Who is known in a database of that name is not known in another one.
    let source = if query.contains("authSource=") { "" } else { "&authSource=admin" };
    Ok(format!("{scheme}://{hosts}/{name}?{query}{source}"))
}

/// CPU time of this process so far.
fn own_cpu() -> Outcome<Duration> {
    Ok(process::cpu(std::process::id())?)
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Entries made of the events of these numbers.
fn batch(deriver: &Arc<Deriver>, numbers: std::ops::Range<u64>, round: u64) -> Outcome<Arc<Batch>> {
    let framer = Framer::new(Micros(RECEIVED), &SourceId::parse("bench")?, &Meta::default());
    let mut builder = BatchBuilder::new(deriver.clone());
    let mut event = Vec::new();
    for number in numbers {
        event.clear();
        events::write(number, round, &mut event);
        builder.push_json(&framer, event.trim_ascii_end())?;
    }
    Ok(Arc::new(builder.finish()?))
}

/// What a sequencer does: the tree, the MACs of bundles and of entries.
struct Sealer {
    key: MacKey,
    tree: Tree,
    bundle: BundleMac,
}

impl Sealer {
    fn commit(&mut self, batch: Arc<Batch>) -> Commit {
        let (mut macs, mut tags) = (Vec::new(), Vec::new());
        let first = self.tree.head().size.0;
        let entry_mac = EntryMac::new(&self.key);
        for (index, leaf) in (first..).zip(batch.leaves()) {
            tags.push(entry_mac.tag(Index(index), *leaf));
            self.bundle.push(*leaf);
            let count = self.bundle.count();
            if count == 256 || index + 1 == first + batch.len() as u64 {
                macs.push(BundleTag { bundle: index / 256, count, tag: self.bundle.tag() });
            }
            if count == 256 {
                self.bundle = BundleMac::start(&self.key, index / 256 + 1);
            }
        }
        let tiles = self.tree.append(batch.leaves());
        Commit { batches: vec![batch], head: self.tree.head(), tiles, macs, tags, state: Vec::new() }
    }
}

/// Commits all events; the rate.
async fn store(options: &MongoOptions, count: u64, report: &Report) -> Outcome<f64> {
    let deriver = Arc::new(Deriver::builtin());
    Mongo::create(options).await?;
    let store: Arc<dyn Store> = Arc::new(Mongo::open(deriver.clone(), options.clone()).await?);
    if let Some(lease) = store.writing() {
        lease.acquire("bench", Duration::from_secs(3_600)).await?;
    }
    let key = MacKey::from_bytes([7; 32]);
    let mut sealer = Sealer { bundle: BundleMac::start(&key, 0), key, tree: Tree::new() };
    let (mut sealing, mut cpu, mut time) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for first in (0..count).step_by(usize::try_from(load::BATCH)?) {
        let batch = batch(&deriver, first..count.min(first + load::BATCH), count)?;
        let (begun, before) = (Instant::now(), own_cpu()?);
        let (expected, seal) = (sealer.tree.head(), ThreadTime::now());
        let commit = sealer.commit(batch);
        sealing += seal.elapsed();
        store.commit(expected, commit).await?;
        cpu += own_cpu()? - before;
        time += begun.elapsed();
    }
    report.bar("sealed and committed: CPU of this process per event", micros(cpu, count), "µs", COST);
    report.row("  put into the tree, MACs", format!("{:.2} µs", micros(sealing, count)));
    let mut rest = cpu.saturating_sub(sealing);
    for (name, seconds) in store.gauges().await? {
        if let Some(stage) = name.strip_suffix("_cpu_seconds") {
            let stage_time = Duration::from_secs_f64(seconds);
            rest = rest.saturating_sub(stage_time);
            report.row(&format!("  {}", stage.replace('_', " ")), format!("{:.2} µs", micros(stage_time, count)));
        }
    }
    report.row("  the driver, the runtime, the kernel", format!("{:.2} µs", micros(rest, count)));
    report.row("rate", format!("{:.0} events/s", rate(count, time)));
    store.close().await?;
    Ok(rate(count, time))
}

/// Puts the documents of the log into another collection, batch by batch; the rate. The collection has the log's indexes,
/// and with `validated` its validator, which costs the server, and whoever inserts, the same.
async fn bare(database: &Database, validated: bool, report: &Report) -> Outcome<f64> {
    let logs: Collection<RawDocumentBuf> = database.collection("logs");
    let bare: Collection<RawDocumentBuf> = database.collection(BARE);
    bare.drop().await?;
    let options = database.list_collections().filter(doc! { "name": "logs" }).await?.try_next().await?;
    let validator = options.and_then(|logs| logs.options.validator).ok_or("`logs` has no validator")?;
    let made = database.create_collection(BARE);
    if validated {
        made.validator(validator).await?
    } else {
        made.await?
    }
    let indexes: Vec<IndexModel> = logs.list_indexes().await?.try_collect().await?;
    let indexes: Vec<IndexModel> = indexes.into_iter().filter(|index| index.keys != doc! { "_id": 1 }).collect();
    report.row("indexes, besides that of _id", indexes.len());
    bare.create_indexes(indexes).await?;
    let (mut count, mut bytes, mut cpu, mut time) = (0, 0, Duration::ZERO, Duration::ZERO);
    let mut found = logs.find(doc! {}).sort(doc! { "_id": 1 }).await?;
    loop {
        let mut documents = Vec::new();
        while documents.len() < usize::try_from(load::BATCH)? && found.advance().await? {
            documents.push(found.current().to_owned());
        }
        if documents.is_empty() {
            break;
        }
        count += documents.len() as u64;
        bytes += documents.iter().map(|document| document.as_bytes().len() as u64).sum::<u64>();
        let (begun, before) = (Instant::now(), own_cpu()?);
        bare.insert_many(&documents).ordered(false).await?;
        cpu += own_cpu()? - before;
        time += begun.elapsed();
    }
    report.row("bytes of a document", bytes / count.max(1));
    report.row("inserted: CPU of this process per event", format!("{:.2} µs", micros(cpu, count)));
    report.row("rate", format!("{:.0} events/s", rate(count, time)));
    let there = database.collection::<Document>(BARE).count_documents(doc! {}).await?;
    if there == count { Ok(rate(count, time)) } else { Err(format!("{there} of {count} were inserted").into()) }
}

/// Sends all events to the real binary; the rate.
async fn served(sceau: &Path, dir: &Path, uri: &str, count: u64, report: &Report) -> Outcome<f64> {
    let server = Server::start_on(sceau, dir, uri)?;
    let (before, begun) = (server.cpu()?, Instant::now());
    load::batches(&server.url, 0..count, count).await?;
    let (time, cpu) = (begun.elapsed(), server.cpu()? - before);
    let cpu = micros(cpu, count);
    report.row("ingest: CPU of the server per event", format!("{cpu:.2} µs"));
    let mut rest = cpu;
    for (name, counter) in [
        ("entries made of bodies: parsed, hashed, put into columns", "sceau_ingest_cpu_seconds"),
        ("put into the tree, MACs", "sceau_sequence_cpu_seconds"),
    ] {
        let stage = server.counter(counter).await? * 1e6 / count.max(1) as f64;
        rest -= stage;
        report.row(&format!("  {name}"), format!("{stage:.2} µs"));
    }
    report.row("  documents, the driver, HTTP and the runtime", format!("{rest:.2} µs"));
    report.row("rate, wall time beside the generator", format!("{:.0} events/s", rate(count, time)));
    server.stop()?;
    Ok(rate(count, time))
}
