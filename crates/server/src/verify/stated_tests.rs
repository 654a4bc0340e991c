use sceau_ledger::{EpochKey, KeyChange, LogChange, LogKey, Signer};
use serde_json::{Value, json};

use super::*;

/// A history with one rotation, at entry 3, and that entry.
fn rotated() -> (KeyHistory, String) {
    let log = |n: u8| LogKey::from_seed("example.org/log", &[n; 32]).unwrap();
    let (old, new) = (log(1), log(2));
    let change = LogChange { old: old.verifier(), new: new.verifier() };
    let origin = "example.org/log".to_owned();
    let change = KeyChange { origin, index: 3, lost: Vec::new(), log: Some(change), mac: None, chain: None };
    let note = change.sign(None, &[Signer::Log(&old), Signer::Log(&new)]).unwrap().text().to_owned();
    let mut history = KeyHistory::new(old.verifier(), EpochKey::from_seed(0, &[7; 32]).public());
    history.add(note.as_bytes()).unwrap();
    (history, entry("sceau.audit", "key_rotation", &note, json!({})))
}

fn entry(source: &str, action: &str, note: &str, more: Value) -> String {
    let mut data = json!({"action": action, "collection": "keys", "key": history::key(3), "value": {"note": note}});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"v": 1, "source": source, "data": data}).to_string()
}

fn carried(history: &KeyHistory, of: u64, text: &str) -> String {
    let more = json!({"carried": of, "entry": text});
    entry("sceau.audit", "state_change", history.changes()[0].text(), more)
}

fn faults(stated: &Stated, history: &KeyHistory) -> Vec<Option<u64>> {
    stated.compare(history).iter().map(|fault| fault.first).collect()
}

#[test]
fn the_entry_itself_is_enough_and_its_repetition_does_no_harm() {
    let (history, original) = rotated();
    let mut stated = Stated::new(&history);
    assert_eq!(faults(&stated, &history), [Some(3)]);
    stated.add(3, original.as_bytes());
    assert_eq!(faults(&stated, &history), []);
    stated.add(900, carried(&history, 3, &original).as_bytes());
    assert_eq!(faults(&stated, &history), []);
    // An entry that the state knows nothing of.
    stated.add(5, original.as_bytes());
    assert_eq!(faults(&stated, &history), [Some(5)]);
}

#[test]
fn a_repetition_counts_if_its_text_has_the_leaf_that_is_left() {
    let (history, original) = rotated();
    let leaves = |text: &str| [b"other".as_slice(), text.as_bytes()].map(leaf_hash);
    let repeated = |leaf_of: &str, of: u64, text: &str| {
        let mut stated = Stated::new(&history);
        stated.pruned(2, &leaves(leaf_of));
        stated.add(900, carried(&history, of, text).as_bytes());
        faults(&stated, &history)
    };
    assert_eq!(repeated(&original, 3, &original), []);
    assert_eq!(repeated("something else", 3, &original), [Some(3), Some(900)]);
    assert_eq!(repeated(&original, 4, &original), [Some(3), Some(900)]);
    // A client's own event with the same words is no statement, whatever leaf it has.
    let note = history.changes()[0].text();
    let foreign = entry("vpn", "key_rotation", note, json!({}));
    assert_eq!(repeated(&foreign, 3, &foreign), [Some(3), Some(900)]);
    let other = entry("sceau.audit", "key_rotation", "other", json!({}));
    assert_eq!(repeated(&other, 3, &other), [Some(3), Some(900)]);
    // Deleted and never repeated.
    let mut stated = Stated::new(&history);
    stated.pruned(2, &leaves(&original));
    assert_eq!(faults(&stated, &history), [Some(3)]);
}

/// A verification that goes on knows the statements made since: their entries may be deleted by now.
#[test]
fn statements_that_came_later_are_looked_for_too() {
    let (history, original) = rotated();
    let before = KeyHistory::new(history.log().first().clone(), EpochKey::from_seed(0, &[7; 32]).public());
    let leaves = [b"other".as_slice(), original.as_bytes()].map(leaf_hash);
    let mut stated = Stated::new(&before);
    assert_eq!(faults(&stated, &before), []);
    stated = stated.wanting(&history);
    stated.pruned(2, &leaves);
    stated.add(900, carried(&history, 3, &original).as_bytes());
    assert_eq!(faults(&stated, &history), []);
    // Those that were known before are not forgotten over it.
    let mut stated = Stated::new(&history).wanting(&before);
    stated.pruned(2, &leaves);
    stated.add(900, carried(&history, 3, &original).as_bytes());
    assert_eq!(faults(&stated, &history), []);
}
