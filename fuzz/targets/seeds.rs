//! Writes the seeds of every target below `fuzz/corpus`: our own samples and what our own writers write, and others'
//! syslog messages where `../shared` is there. libFuzzer finds the rest from these much sooner than from nothing.
//!
//! A target that fuzzes nothing (`-runs=0`), so that one build serves all: a program of another kind would build every
//! dependency once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_detect::{Detector, Limits, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use sceau_ledger::{EpochKey, FIRST_PREVIOUS, Head, LogKey, RootHash, Seal, SealBody, TreeSize, WriterId};
use std::{error::Error, fs, io::Write as _, path::Path, sync::Arc};

/// What a parser's file has for us.
#[derive(serde::Deserialize)]
struct File {
    samples: Vec<Sample>,
}

#[derive(serde::Deserialize)]
struct Sample {
    line: String,
}

const OBJECTS: [&str; 10] = [
    r#"{"timestamp":"2026-11-22T08:00:00.5+01:00","ip":"10.0.3.7","user":"alice","action":"login","status":"failed"}"#,
    r#"{"a":{"b":[1,-0.5e+3,true,null,{"c":"\ud83d\ude00\u0000\\\/"}]},"n":9007199254740993}"#,
    "{\r\n \"message\" : \"x\",\n \"source.ip\": \"[2001:db8::1]:443\"\n}",
    r#"{"\u0061":1,"a":2}"#,
    r#"{"host":"h","service":"s","level":"warn","msg":"m","http":{"response":{"status_code":404}}}"#,
    r#"{"time":1795334400123,"event.outcome":"ok","event":{"count":5}}"#,
    "[{\"a\":1},\n{\"a\":2}, 7]",
    "{\"a\":1}\n{\"a\":2}\n\n{broken\n",
    "\"\\ud800\"",
    "[[[[[[]]]]]]",
];

/// What `envelope` splits its input at.
const BETWEEN: u8 = 0xff;

const QUERIES: [&str; 13] = [
    "2220222263355245457.",
    "user:alice AND NOT event.outcome:success",
    "source.ip:10.0.0.0/8 OR ip:2001:db8::1",
    "\"Failed password\" -source:sceau.audit\nFailed password for root",
    "http.response.status_code:[400 TO 499] AND url.original:/a*/b?x",
    "status:{400 TO *} (a OR b) c",
    "@timestamp:>=now-15m AND @timestamp:<2026-11-22T08:00:00Z",
    "user:IN [alice bob 'c d'] +x",
    "message:\"a b\" message:fail*\nfailing a b",
    "*:* AND host:*",
    "NOT (NOT (a))",
    "\\(esc\\: aped\\* field\\.with:x",
    "user:\"\" AND pid:>5\nÀ é ß İ",
];

const TIMES: [&str; 10] = [
    "2026-11-22T08:00:00.123456Z",
    "Nov 22 08:00:00",
    "22/Nov/2026:08:00:00 +0100",
    "Sun Nov 22 08:00:00.5 2026",
    "1795334400",
    "1795334400.123",
    "2026-11-22 08:00:00,123",
    "now-15m",
    "2026-11-22",
    "::ffff:10.0.0.1",
];

fuzz_target!(init: write().expect("the seeds can be written"), |_data: &[u8]| {});

fn write() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lines = Vec::new();
    for file in fs::read_dir(root.join("../parsers"))? {
        let text = fs::read_to_string(file?.path())?;
        lines.extend(serde_norway::from_str::<File>(&text)?.samples.into_iter().map(|sample| sample.line));
    }
    lines.extend(TIMES.map(str::to_owned));
    let corpus = root.join("../../shared/data/syslog/rsyslog_corpus");
    match fs::read_dir(&corpus) {
        Ok(files) => {
            for file in files {
                lines.push(String::from_utf8_lossy(&fs::read(file?.path())?).into_owned());
            }
        }
        Err(_) => eprintln!("SKIPPED: {} is not there", corpus.display()),
    }
    let mut seeds = Seeds { root, count: 0 };
    events(&mut seeds, &lines)?;
    for query in QUERIES {
        seeds.add("query", query.as_bytes())?;
    }
    notes(&mut seeds)?;
    rules(&mut seeds)?;
    eprintln!("{} seeds", seeds.count);
    Ok(())
}

/// Rules that come with Sceau and what mappings can say; of snapshots, an empty one: the target has a whole one of its own.
fn rules(seeds: &mut Seeds<'_>) -> Result<(), Box<dyn Error>> {
    let (rules, mappings) = RuleSet::builtin_files();
    let settings = Settings::default();
    let set = RuleSet::load(&rules, &mappings, &settings)?;
    for file in &rules {
        seeds.add("rules", file.text.as_bytes())?;
    }
    for mapping in &mappings {
        seeds.add("rules", &[rules[0].text.as_bytes(), mapping.text.as_bytes()].join(&BETWEEN))?;
    }
    let detector = Detector::new(Arc::new(set), Limits::default(), settings.lateness);
    seeds.add("snapshot", &detector.snapshot())?;
    Ok(())
}

struct Seeds<'a> {
    root: &'a Path,
    count: usize,
}

impl Seeds<'_> {
    fn add(&mut self, target: &str, seed: &[u8]) -> std::io::Result<()> {
        let directory = self.root.join("corpus").join(target);
        fs::create_dir_all(&directory)?;
        self.count += 1;
        fs::write(directory.join(format!("seed-{:04}", self.count)), seed)
    }
}

fn events(seeds: &mut Seeds<'_>, lines: &[String]) -> Result<(), Box<dyn Error>> {
    let deriver = Deriver::builtin();
    let meta = Meta { zone: Some("Europe/Paris".into()), cut: Some(70_000), ..Meta::default() };
    let framer = Framer::new(Micros(1_795_334_400_123_456), &SourceId::parse("fuzz")?, &meta);
    let mut entries = Vec::new();
    for object in OBJECTS {
        seeds.add("envelope", object.as_bytes())?;
        seeds.add("envelope", &[object.as_bytes(); 3].join(&BETWEEN))?;
        let mut entry = Vec::new();
        if deriver.push_json(&framer, object.as_bytes(), &mut entry).is_ok() {
            seeds.add("envelope", &entry)?;
            entries.push(entry);
        }
        for (format, packed) in [(0, object.as_bytes().to_vec()), (1, gzip(object)?), (2, zstd(object)?)] {
            seeds.add("json_events", &[&[format], packed.as_slice()].concat())?;
        }
        seeds.add("import", &[b"\x00", object.as_bytes()].concat())?;
        seeds.add("import", &[b"\x09", object.as_bytes()].concat())?;
    }
    seeds.add("envelope", &OBJECTS.map(str::as_bytes).join(&BETWEEN))?;
    seeds.add("envelope", &entries.join(&BETWEEN))?;
    let parsers = u8::try_from(deriver.parser_names().len()).unwrap_or(0);
    for line in lines {
        // The name behind the last one is none: the parser is found out.
        seeds.add("parsers", &[&[parsers], line.as_bytes()].concat())?;
    }
    for line in lines.iter().step_by(8) {
        let mut entry = Vec::new();
        if deriver.push_line(&framer, line.as_bytes(), &mut entry).is_ok() {
            seeds.add("envelope", &entry)?;
        }
    }
    let mut entry = Vec::new();
    deriver.push_line(&framer, b"caf\xe9 is not UTF-8", &mut entry)?;
    seeds.add("envelope", &entry)?;
    Ok(())
}

fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

fn zstd(text: &str) -> std::io::Result<Vec<u8>> {
    zstd::stream::encode_all(text.as_bytes(), 1)
}

fn notes(seeds: &mut Seeds<'_>) -> Result<(), Box<dyn Error>> {
    let origin = "fuzz.example/log";
    let key = LogKey::from_seed(origin, &[7; 32])?;
    let head = Head { size: TreeSize(4711), root: RootHash([9; 32]) };
    let note = sceau_ledger::sign_checkpoint(&key, &head);
    let epoch = EpochKey::from_seed(3, &[5; 32]);
    let body = SealBody {
        origin: origin.into(),
        writer: WriterId([1; 16]),
        epoch: 3,
        head,
        time_micros: 1_795_334_400_123_456,
        previous: FIRST_PREVIOUS,
        next: EpochKey::from_seed(4, &[6; 32]).public(),
    };
    let seal = Seal::close(body, &epoch)?;
    let proof = sceau_ledger::tlog_proof(sceau_ledger::Index(7), &[[1; 32], [2; 32]], &note);
    let slot = sceau_ledger::encode(&sceau_ledger::Slot::first(&epoch));
    let next = LogKey::from_seed(origin, &[8; 32])?;
    let change = sceau_ledger::LogChange { old: key.verifier(), new: next.verifier() };
    let (lost, log) = (Vec::new(), Some(change));
    let change = sceau_ledger::KeyChange { origin: origin.into(), index: 4711, lost, log, mac: None, chain: None };
    let signers = [sceau_ledger::Signer::Log(&key), sceau_ledger::Signer::Log(&next)];
    let statement = change.sign(None, &signers)?;
    let mut macs = sceau_ledger::MacKeys::new(0, sceau_ledger::MacKey::from_bytes([3; 32]));
    macs.add(7, sceau_ledger::MacKey::from_bytes([4; 32]));
    let texts = [
        note.clone(),
        statement.text().to_owned(),
        macs.to_text().to_string(),
        seal.text().to_owned(),
        proof,
        key.verifier().to_string(),
        key.to_secret().to_string(),
        sceau_ledger::MacKey::from_bytes([3; 32]).to_secret().to_string(),
        epoch.public().to_string(),
        WriterId([0xab; 16]).to_string(),
        "3/x001/x234/067.p/12".to_owned(),
        "entries/000".to_owned(),
    ];
    for text in &texts {
        seeds.add("note", text.as_bytes())?;
    }
    seeds.add(
        "note",
        &[b"\x00\xb0\x00".as_slice(), note.lines().last().unwrap_or_default().as_bytes(), b"\n"].concat(),
    )?;
    seeds.add("note", slot.as_slice())?;
    Ok(())
}
