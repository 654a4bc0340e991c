#![allow(clippy::unwrap_used)]

use mongodb::bson::Document;
use sceau_event::{Deriver, Framer, Meta, SourceId};
use sceau_ledger::leaf_hash;
use serde_json::json;

use super::*;
use crate::batch::BatchBuilder;

fn made(events: &[&str]) -> (Vec<RawDocumentBuf>, Arc<Batch>) {
    let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
    let received = Micros(1_795_334_400_123_456);
    let framer = Framer::new(received, &SourceId::parse("web").unwrap(), &Meta::default());
    for event in events {
        builder.push_json(&framer, event.as_bytes()).unwrap();
    }
    let batch = Arc::new(builder.finish().unwrap());
    let tags: Vec<[u8; 32]> = (0..events.len()).map(|n| [u8::try_from(n).unwrap(); 32]).collect();
    let [command] = &documents(7, std::slice::from_ref(&batch), &tags, "1").unwrap()[..] else {
        panic!("so few documents are one command");
    };
    let documents = command.get_array("documents").unwrap().into_iter();
    (documents.map(|document| document.unwrap().as_document().unwrap().to_owned()).collect(), batch)
}

fn plain(document: &RawDocumentBuf) -> Document {
    document.try_into().unwrap()
}

#[test]
fn people_read_a_document_at_once() {
    let event = r#"{"timestamp":"2026-11-22T08:00:00.000009Z","ip":"10.0.0.7","user":"Élodie","status":"failed",
        "port":22,"msg":"Failed password","team":"dark blue","size":7.5,"peer":"2001:db8::1"}"#;
    let (documents, batch) = made(&[event]);
    let found = plain(&documents[0]);
    assert_eq!(found.get_i64("_id").unwrap(), 7);
    assert_eq!(found.get_str("timestamp").unwrap(), "2026-11-22T08:00:00.000009Z");
    assert_eq!(found.get_datetime("time").unwrap().timestamp_millis(), 1_795_334_400_000);
    assert_eq!(found.get_datetime("received").unwrap().timestamp_millis(), 1_795_334_400_123);
    for (name, text) in [("ip", "10.0.0.7"), ("user", "Élodie"), ("status", "failed"), ("message", "Failed password")]
    {
        assert_eq!(found.get_str(name).unwrap(), text);
    }
    assert_eq!(found.get_i64("port").unwrap(), 22);
    assert_eq!(found.get_str("entry").unwrap().as_bytes(), batch.entries().value(0));
    assert_eq!(from_hex(found.get_str("hash").unwrap()), Some(leaf_hash(batch.entries().value(0)).0));
    assert_eq!(found.get_str("hmac").unwrap(), "00".repeat(32));
    let shadow: serde_json::Value = serde_json::to_value(found.get_document("shadow").unwrap()).unwrap();
    let texts = shadow["t"].as_array().unwrap();
    for wanted in ["ip 10 0 0 7 ", "user élodie ", "message failed password ", "=team dark blue "] {
        assert!(texts.contains(&json!(wanted)), "{wanted}: {texts:?}");
    }
    let words: Vec<&str> = shadow["w"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(words.is_sorted_by(|one, other| one < other) && words.contains(&"failure"), "{words:?}");
    let pairs = found.get_document("shadow").unwrap().get_array("f").unwrap();
    assert_eq!(pairs[0].as_document().unwrap().get_f64("n").unwrap(), 7.5);
    assert_eq!(pairs[1].as_document().unwrap().get_binary_generic("a").unwrap().len(), 17);
}

#[test]
fn a_record_comes_back_as_it_was() {
    let odd = [
        r#"{"a.b":1,"$where":"x","":"empty","n":1e400,"nul":"\u0000 \u0000","user":"failed","status":"ko","ip":"::ffff:10.0.0.1"}"#,
        r#"{"timestamp":"9999-12-31T23:59:59Z","deep":{"er":[[1],{"k":[true,null]}]},"msg":""}"#,
        r#"{}"#,
    ];
    let (documents, batch) = made(&odd);
    for (row, document) in documents.iter().enumerate() {
        let stored = Stored::of(document);
        assert!(stored.odd.is_empty(), "{:?}", stored.odd);
        let wanted = Deriver::builtin();
        assert_eq!(stored.record, wanted.derive(batch.entries().value(row)).unwrap().into_owned());
        assert_eq!(stored.entry, Some(batch.entries().value(row)));
        assert_eq!(index(document), Some((7 + row as u64, true)));
        assert_eq!(difference(document, document), None);
    }
}

#[test]
fn what_was_changed_is_named() {
    let (documents, _) = made(&[r#"{"user":"alice","team":"red"}"#]);
    let mut changed = plain(&documents[0]);
    changed.insert("user", 5);
    changed.insert("note", "mine");
    let changed = RawDocumentBuf::try_from(&changed).unwrap();
    assert_eq!(Stored::of(&changed).odd, ["user", "note"]);
    assert_eq!(difference(&changed, &documents[0]).as_deref(), Some("user"));
    let mut hidden = plain(&documents[0]);
    hidden.remove("shadow");
    let hidden = RawDocumentBuf::try_from(&hidden).unwrap();
    assert_eq!(difference(&hidden, &documents[0]).as_deref(), Some("shadow"));
}

#[test]
fn tags_of_other_fields_differ_from_all_others() {
    let names = ["a b", "a\\sb", "a\\ b", "ip", "=ip", " ", "\\s", ""];
    let tags: std::collections::HashSet<String> = names.into_iter().map(shadow::other_tag).collect();
    assert_eq!(tags.len(), names.len());
    assert!(tags.iter().all(|tag| !tag.contains(' ') && tag.starts_with('=')));
}
