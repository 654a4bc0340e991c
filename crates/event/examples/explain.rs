//! Shows the record of each line of standard input, for writing parsers:
//! `cargo run --release -p sceau-event --example explain < FILE`.
#![allow(clippy::unwrap_used)]

use sceau_event::{Deriver, Framer, Keyword, Meta, Micros, Number, SourceId};

fn main() {
    let deriver = Deriver::builtin();
    let received: Micros = "2026-11-22T08:00:00Z".parse().unwrap();
    let framer = Framer::new(received, &SourceId::parse("explain").unwrap(), &Meta::default());
    for line in std::io::stdin().lines() {
        let (line, mut out) = (line.unwrap(), Vec::new());
        let Ok(record) = deriver.push_line(&framer, line.as_bytes(), &mut out) else { continue };
        println!("{line}\n    @timestamp: {}", record.time);
        for keyword in Keyword::ALL.into_iter().filter(|k| *k != Keyword::Message) {
            if let Some(value) = record.keyword(keyword) {
                println!("    {}: {value}", keyword.name());
            }
        }
        for number in Number::ALL {
            if let Some(value) = record.number(number) {
                println!("    {}: {value}", number.name());
            }
        }
        for (name, value) in &record.fields {
            println!("    {name}: {value}");
        }
    }
}
