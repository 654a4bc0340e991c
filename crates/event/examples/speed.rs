//! Nanoseconds per event: `cargo run --release -p sceau-event --example speed [NAME]`.
#![allow(clippy::unwrap_used)]

use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use std::hint::black_box;
use std::time::Instant;

const ACCESS: &str = r#"{"timestamp":"2026-11-22T08:00:00Z","ip":"10.0.3.7","user":"alice","action":"login","status":"failed","service":"vpn","message":"login of alice from 10.0.3.7 refused: the password was wrong for the third time today, account is locked for ten minutes from now on, help desk told"}"#;
const SSHD: &str =
    "Nov 22 08:00:01 gate sshd[813]: Failed password for invalid user admin from 192.0.2.8 port 40100 ssh2";
const APACHE: &str = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /presentations/logstash-monitorama-2013/images/kibana-search.png HTTP/1.1" 200 203023 "http://semicomplete.com/presentations/logstash-monitorama-2013/" "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36""#;

fn main() {
    let start = Instant::now();
    let deriver = Deriver::builtin();
    println!("loading the parsers: {:?}", start.elapsed());
    let received: Micros = "2026-11-22T08:00:02Z".parse().unwrap();
    let framer = Framer::new(received, &SourceId::parse("app").unwrap(), &Meta::default());
    println!("access event: {} bytes", ACCESS.len());
    measure("push_json access", |out| {
        black_box(deriver.push_json(&framer, black_box(ACCESS.as_bytes()), out).unwrap());
    });
    measure("push_line sshd", |out| {
        black_box(deriver.push_line(&framer, black_box(SSHD.as_bytes()), out).unwrap());
    });
    measure("push_line apache", |out| {
        black_box(deriver.push_line(&framer, black_box(APACHE.as_bytes()), out).unwrap());
    });
    let mut entry = Vec::new();
    deriver.push_json(&framer, ACCESS.as_bytes(), &mut entry).unwrap();
    measure("validate access", |_| {
        sceau_event::validate_json(black_box(ACCESS.as_bytes())).unwrap();
    });
    measure("derive access", |_| {
        black_box(deriver.derive(black_box(&entry)).unwrap());
    });
}

/// The best of five rounds, so that a busy machine does not count.
fn measure(name: &str, mut run: impl FnMut(&mut Vec<u8>)) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    const ROUNDS: u32 = 200_000;
    let mut out = Vec::with_capacity(1 << 20);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            if out.len() > 900_000 {
                out.clear();
            }
            run(&mut out);
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(ROUNDS) * 1e9);
    }
    println!("{name:20} {best:7.0} ns");
}
