#![allow(clippy::unwrap_used)]

use mongodb::bson::{Document, RawDocumentBuf};

use super::*;

/// The shadow of these texts of the field `note` and this message.
fn shadow(message: &str, notes: &[&str]) -> Document {
    let (mut writer, mut shadow) = (Writer::default(), Shadow::default());
    let document = writer.begin();
    shadow.keyword(Keyword::Message, message);
    notes.iter().enumerate().for_each(|(number, note)| shadow.pair(number, "a note", note));
    shadow.write(&mut writer, |_| "a note");
    writer.end(document);
    let made = RawDocumentBuf::from_bytes(writer.into_bytes()).unwrap();
    Document::try_from(&made).unwrap().get_document(names::SHADOW).cloned().unwrap_or_default()
}

fn list(shadow: &Document, name: &str) -> Vec<String> {
    let values = shadow.get_array(name).cloned().unwrap_or_default();
    values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn words_and_texts() {
    let found = shadow("Denied: 10.0.0.7, denied", &["", "--", "plain", "Plain", "plain.", "É n°5"]);
    assert_eq!(list(&found, "w"), ["0", "10", "10.0.0.7", "5", "7", "denied", "n", "plain", "é"]);
    let texts = ["message denied 10 0 0 7 denied ", "=a\\snote plain ", "=a\\snote plain ", "=a\\snote é n 5 "];
    assert_eq!(list(&found, "t"), texts);
    assert_eq!(shadow("", &["-"]), Document::new());
}

#[test]
fn an_address_is_needed_as_a_whole_wherever_its_parts_are_neighbours() {
    let words: Vec<String> = ["1", "2", "3", "4", "255", "256", "01", "x"].map(str::to_owned).into();
    assert_eq!(needed(&words)[8..], ["1.2.3.4", "2.3.4.255"]);
    assert_eq!(needed(&words[..3]), words[..3]);
    let listed = list(&shadow(&words.join("-"), &[]), "w");
    assert!(needed(&words).iter().all(|word| listed.contains(word)));
    assert_eq!(listed.len(), 10);
}

#[test]
fn numbers_and_addresses() {
    let long = format!("{}7", "0".repeat(500));
    let found = shadow("-5", &["1e3", "7.5", "inf", "::ffff:10.0.0.1", "bad", &long]);
    assert_eq!(found.get_document("n").unwrap().get_i64("message").unwrap(), -5);
    let pairs = found.get_array("f").unwrap();
    let pair = |at: usize| pairs[at].as_document().unwrap();
    assert_eq!((pair(0).get_i64("n").unwrap(), pair(1).get_f64("n").unwrap()), (1_000, 7.5));
    assert_eq!(pair(2).get_binary_generic("a").unwrap(), &[4, 10, 0, 0, 1]);
    assert_eq!(pair(3).get_i64("n").unwrap(), 7);
    assert_eq!(pairs.len(), 4);
}

/// The limit of MongoDB is 16 MiB a document.
#[test]
fn the_worst_entry_has_a_small_shadow() {
    let words: Vec<String> =
        (0x4e00..0x9fa5).filter_map(char::from_u32).take(sceau_event::MAX_ENTRY / 4).map(String::from).collect();
    let message = words.join(" ");
    let made = shadow(&message, &["k1"; sceau_event::MAX_FIELDS]);
    let size = mongodb::bson::serialize_to_vec(&made).unwrap().len();
    assert!(size < 1 << 20, "{size}");
}
