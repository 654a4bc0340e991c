//! Lines: every parser is total, a record is the same whenever it is derived, and times, zones and addresses are read
//! without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_event::{
    Deriver, Framer, MAX_COUNT, Meta, Micros, SourceId, Zone, canonical_ip, outcome, parse_query_time, parse_time,
};
use std::sync::LazyLock;

static DERIVER: LazyLock<Deriver> = LazyLock::new(Deriver::builtin);
const RECEIVED: Micros = Micros(1_795_334_400_123_456);

fuzz_target!(|data: &[u8]| {
    let Some((&first, line)) = data.split_first() else { return };
    let names = DERIVER.parser_names();
    let parser = names.get(usize::from(first) % (names.len() + 1)).map(|name| (*name).to_owned());
    let zone = ["UTC", "Europe/Paris", "-09:30", "Asia/Kathmandu"][usize::from(first) % 4].to_owned();
    let meta = Meta { parser, zone: Some(zone), ..Meta::default() };
    let Ok(source) = SourceId::parse("fuzz") else { return };
    let framer = Framer::new(RECEIVED, &source, &meta);
    for json in [false, true] {
        let mut entry = Vec::new();
        // The same text as a line and as the message of an object, where a parser reads it too.
        let made = if json {
            let object = serde_json::json!({"message": String::from_utf8_lossy(line)}).to_string();
            DERIVER.push_json(&framer, object.as_bytes(), &mut entry).map(|record| record.into_owned())
        } else {
            DERIVER.push_line(&framer, line, &mut entry).map(|record| record.into_owned())
        };
        let Ok(made) = made else { continue };
        assert_eq!(DERIVER.derive(&entry).as_ref(), Ok(&made), "derived again, it is the same");
        assert_eq!(made.received, RECEIVED);
        assert!(made.count() <= MAX_COUNT as u64);
        if let Some(ip) = made.keyword(sceau_event::Keyword::SourceIp) {
            assert_eq!(canonical_ip(ip).as_deref(), Some(ip), "an address is canonical");
        }
    }
    scalars(&String::from_utf8_lossy(line));
});

fn scalars(text: &str) {
    let zone = Zone::parse(text).unwrap_or(Zone::UTC);
    let printed = |time: Micros| assert_eq!(time.to_string().parse(), Ok(time), "a time is read as it is printed");
    if let Some(time) = parse_time(text, &zone, RECEIVED) {
        printed(time);
    }
    let _ = parse_query_time(text, RECEIVED).map(|time| time.to_string());
    if let Some(ip) = canonical_ip(text) {
        assert_eq!(canonical_ip(&ip).as_ref(), Some(&ip));
    }
    let _ = outcome(text);
    let _ = sceau_event::field(text);
    let _ = SourceId::parse(text);
}
