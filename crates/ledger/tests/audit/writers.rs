//! A log that two servers have had, one after the other: A seals epochs 0 and 1, B 2 and 3, A again 4.

use sceau_ledger::*;

use super::store::{ORIGIN, SECOND, Store, epoch_key, heads, log_key, store};

const A: WriterId = WriterId([1; 16]);
const B: WriterId = WriterId([2; 16]);

fn theirs(epoch: u64) -> EpochKey {
    EpochKey::from_seed(epoch, &[(epoch as u8).wrapping_add(200); 32])
}

/// The same seed for another epoch: a key that rested.
fn rested(key: &EpochKey, epoch: u64) -> EpochKey {
    EpochKey::from_seed(epoch, &key.seed())
}

fn seal(writer: WriterId, key: &EpochKey, next: &EpochKey, previous: [u8; 32], heads: &[Head]) -> Seal {
    let epoch = key.epoch();
    let size = 100 * (epoch as usize + 1);
    let time_micros = (100 + 50 * epoch as i64) * SECOND;
    let (origin, head, next) = (ORIGIN.into(), heads[size], next.public());
    Seal::close(SealBody { origin, writer, epoch, head, time_micros, previous, next }, key).unwrap()
}

fn take_over(history: &mut KeyHistory, index: u64, writer: WriterId, key: &EpochKey, previous: [u8; 32]) {
    let chain = NewChain { epoch: key.epoch(), key: key.public(), writer, previous };
    let (origin, lost, log, mac) = (ORIGIN.into(), Vec::new(), None, None);
    let change = KeyChange { origin, index, lost, log, mac, chain: Some(chain) };
    let signed = change.sign(None, &[Signer::Log(&log_key()), Signer::Epoch(key)]).unwrap();
    history.add(signed.text().as_bytes()).unwrap();
}

/// A goes on as `writer` with `key`.
fn relay(writer: WriterId, key: &EpochKey) -> (Store, KeyHistory) {
    let (mut store, heads) = (store(500), heads(500));
    let mut history = KeyHistory::new(log_key().verifier(), epoch_key(0).public());
    let one = seal(A, &epoch_key(0), &epoch_key(1), FIRST_PREVIOUS, &heads);
    let two = seal(A, &epoch_key(1), &epoch_key(2), one.hash(), &heads);
    let first = rested(&theirs(0), 2);
    take_over(&mut history, 210, B, &first, two.hash());
    let three = seal(B, &first, &theirs(3), two.hash(), &heads);
    let four = seal(B, &theirs(3), &theirs(4), three.hash(), &heads);
    take_over(&mut history, 410, writer, key, four.hash());
    let five = seal(writer, key, &epoch_key(9), four.hash(), &heads);
    store.seals = [one, two, three, four, five].iter().map(|seal| seal.text().to_owned()).collect();
    (store, history)
}

fn audit((store, history): &(Store, KeyHistory), pins: &[EpochPublic]) -> Verdict {
    let (history, pins) = (history.clone(), pins.to_vec());
    let mut auditor =
        Auditor::new(AuditInput { history, pins, current_epoch: None, outside: Vec::new(), ..store.input() });
    store.seals.iter().for_each(|seal| auditor.seal(seal.as_bytes()));
    store.checkpoints.iter().for_each(|note| auditor.checkpoint(note.as_bytes()));
    store.side(&mut auditor);
    store.entries(&mut auditor);
    auditor.finish()
}

#[test]
fn one_pin_covers_all_that_its_writer_sealed() {
    let (ours, first) = (epoch_key(0).public(), theirs(0).public());
    let log = relay(A, &rested(&epoch_key(2), 4));
    let both = audit(&log, &[ours, first]);
    assert!(both.ok() && both.sealed.up_to == Some(499) && both.sealed.unproven.is_none(), "{both}");
    assert_eq!(both.seals, 5);
    let one = audit(&log, &[ours]);
    let why = one.sealed.unproven.clone().unwrap_or_default();
    assert!(one.ok() && one.sealed.up_to == Some(499), "{one}");
    assert!(why.contains(&first.to_string()) && why.contains("when a pinned chain sealed next"), "{one}");
    let other = audit(&log, &[first]);
    assert!(other.ok() && other.sealed.up_to == Some(399), "{other}");
    assert!(other.sealed.unproven.is_some(), "{other}");
    // Where a chain goes on, nothing begins that could be pinned.
    let middle = audit(&log, &[epoch_key(2).public()]);
    assert_eq!((middle.sealed.up_to, middle.faults.len()), (None, 1), "{middle}");
    assert_eq!(middle.faults.first().map(|fault| fault.kind), Some(FaultKind::Pin), "{middle}");
}

#[test]
fn a_writer_goes_on_with_the_key_that_its_last_seal_names_and_no_other() {
    for (writer, key) in [(A, rested(&epoch_key(7), 4)), (WriterId([3; 16]), rested(&epoch_key(2), 4)), (A, theirs(4))]
    {
        let verdict = audit(&relay(writer, &key), &[epoch_key(0).public()]);
        let kinds: Vec<FaultKind> = verdict.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::SealChain], "{verdict}");
        assert_eq!(verdict.sealed.up_to, Some(199), "{verdict}");
    }
}

#[test]
fn a_stranger_begins_a_chain_that_nobody_pinned() {
    let stranger = rested(&epoch_key(7), 4);
    let verdict = audit(&relay(WriterId([3; 16]), &stranger), &[epoch_key(0).public(), theirs(0).public()]);
    assert!(verdict.ok() && verdict.sealed.up_to == Some(399), "{verdict}");
    let why = verdict.sealed.unproven.clone().unwrap_or_default();
    assert!(
        why.contains("another writer took the log over") && why.contains(&stranger.public().to_string()),
        "{verdict}"
    );
}
