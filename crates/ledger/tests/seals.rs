//! Seals, their chain's links, and the key file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use sceau_ledger::*;

fn key(epoch: u64) -> EpochKey {
    EpochKey::from_seed(epoch, &[epoch as u8 + 1; 32])
}

fn body(epoch: u64) -> SealBody {
    SealBody {
        origin: "logs.example/sceau".into(),
        writer: WriterId([0xab; 16]),
        epoch,
        head: Head { size: TreeSize(1000), root: RootHash([9; 32]) },
        time_micros: 1_795_334_400_123_456,
        previous: FIRST_PREVIOUS,
        next: key(epoch + 1).public(),
    }
}

#[test]
fn a_seal_reads_back_byte_for_byte() {
    let seal = Seal::close(body(4), &key(4)).unwrap();
    let read = Seal::parse(seal.text().as_bytes()).unwrap();
    assert_eq!(read, seal);
    assert_eq!(*read.body(), body(4));
    read.verify(&key(4).public()).unwrap();
    assert_eq!(read.verify(&key(5).public()), Err(LedgerError::SealSignature { epoch: 4 }));
    assert_eq!(seal.hash(), read.hash());
    let lines: Vec<&str> = seal.text().lines().collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        lines[..4],
        ["sceau.seal.v1", "origin logs.example/sceau", "writer abababababababababababababababab", "epoch 4"]
    );
    assert_eq!(lines[6], "time 1795334400123456");
    let early = SealBody { time_micros: -1, ..body(4) };
    assert_eq!(Seal::parse(Seal::close(early.clone(), &key(4)).unwrap().text().as_bytes()).unwrap().body(), &early);
}

/// A seal is a true C2SP signed note: another implementation checks it.
#[test]
fn other_programs_verify_seals() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let public = [&[1], key(4).public().0.as_slice()].concat();
    let id = signed_note::key_id("logs.example/sceau", &public);
    let vkey = format!("logs.example/sceau+{id:08x}+{}", BASE64_STANDARD.encode(&public));
    let verifier = signed_note::StandardVerifier::new(&vkey).unwrap();
    let seal = Seal::close(body(4), &key(4)).unwrap();
    let note = signed_note::Note::from_bytes(seal.text().as_bytes()).unwrap();
    note.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)])).unwrap();
}

/// Stored bytes never change without a new version: these hashes are those of version 1.
#[test]
fn the_stored_formats_are_frozen() {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(&Seal::close(body(4), &key(4)).unwrap().hash()),
        "7ea7d065a0fc3c958784a9d39ef97bda0eab9c213fe5d9f6b54b6b85ba2ca84a"
    );
    let slot = encode(&Slot::first(&key(4)));
    assert_eq!(
        hex(&<sha2::Sha256 as sha2::Digest>::digest(slot.as_slice())),
        "89e25e50833d789d3970448a987f5f815625c0668626d0d886a047ec79f59618"
    );
}

#[test]
fn a_seal_is_no_checkpoint_and_a_checkpoint_no_seal() {
    let seal = Seal::close(body(0), &key(0)).unwrap();
    assert!(Checkpoint::parse_unverified(seal.text().as_bytes()).is_err());
    let log = LogKey::from_seed("logs.example/sceau", &[1; 32]).unwrap();
    assert!(Seal::parse(sign_checkpoint(&log, &Head::empty()).as_bytes()).is_err());
}

#[test]
fn closing_needs_the_epochs_key_and_a_valid_origin() {
    assert_eq!(Seal::close(body(4), &key(5)).unwrap_err(), LedgerError::OtherEpoch { key: 5, body: 4 });
    let two_lines = SealBody { origin: "a\nwriter b".into(), ..body(4) };
    assert!(matches!(Seal::close(two_lines, &key(4)), Err(LedgerError::Origin(_))));
}

#[test]
fn every_changed_byte_is_refused() {
    let seal = Seal::close(body(4), &key(4)).unwrap();
    let text = seal.text().as_bytes();
    for at in 0..text.len() {
        for byte in [b'0', b'1', b'A', b' ', b'\n', b'+', 0, 0xff] {
            let mut changed = text.to_vec();
            changed[at] = byte;
            let read = Seal::parse(&changed).and_then(|seal| seal.verify(&key(4).public()));
            assert!(changed == text || read.is_err(), "byte {at} to {byte}");
        }
        assert!(Seal::parse(&text[..at]).is_err());
    }
    for (from, to) in
        [("epoch 4", "epoch 04"), ("size 1000", "size +1000"), ("time 1", "time +1"), ("writer ab", "writer AB")]
    {
        let changed = seal.text().replacen(from, to, 1);
        assert!(matches!(Seal::parse(changed.as_bytes()), Err(LedgerError::Seal(_))), "{to}");
    }
    let twice = format!("{}{}\n", seal.text(), seal.text().lines().last().unwrap());
    assert!(matches!(Seal::parse(twice.as_bytes()), Err(LedgerError::Seal(_))));
}

fn file(slots: [Option<&Slot>; 2]) -> Vec<u8> {
    slots.iter().flat_map(|slot| slot.map_or(wiped(), |slot| *encode(slot))).collect()
}

#[test]
fn slots_alternate_and_read_back() {
    let first = Slot::first(&key(0));
    let second = first.next(&key(1));
    let third = second.next(&key(2));
    assert_eq!((first.place, second.place, third.place), (0, 1, 0));
    assert_eq!((first.offset(), second.offset()), (0, 4096));
    assert_eq!(decode(&file([Some(&first), None])).unwrap(), std::slice::from_ref(&first));
    assert_eq!(decode(&file([Some(&third), Some(&second)])).unwrap(), [second.clone(), third.clone()]);
    assert_eq!(second.key().public(), key(1).public());
    assert_eq!(file([None, None]).len(), FILE_SIZE);
}

/// Each step of closing an epoch, stopped at every byte: the key that the stored seals ask for is always found.
#[test]
fn a_slot_torn_at_every_byte_loses_no_needed_key() {
    let old = Slot::first(&key(6));
    let new = old.next(&key(7));
    let stale = [0xee; SLOT_SIZE];
    for cut in 0..=SLOT_SIZE {
        // Writing the new key over an empty slot or over remains; the store still asks for the old one.
        for before in [wiped(), stale] {
            let mut bytes = encode(&old).to_vec();
            bytes.extend_from_slice(&encode(&new)[..cut]);
            bytes.extend_from_slice(&before[cut..]);
            let chosen = choose(&decode(&bytes).unwrap(), 6, &key(6).public()).unwrap();
            assert_eq!((chosen.slot.epoch, chosen.wipe), (6, 1), "cut at {cut}");
        }
        // Wiping the old key; the store asks for the new one already.
        let mut bytes = wiped()[..cut].to_vec();
        bytes.extend_from_slice(&encode(&old)[cut..]);
        bytes.extend_from_slice(encode(&new).as_slice());
        let chosen = choose(&decode(&bytes).unwrap(), 7, &key(7).public()).unwrap();
        assert_eq!((chosen.slot.epoch, chosen.wipe), (7, 0), "cut at {cut}");
    }
}

#[test]
fn bad_key_files_are_named() {
    let slot = Slot::first(&key(3));
    let good = file([Some(&slot), None]);
    assert_eq!(decode(&good[1..]), Err(LedgerError::KeyFileSize { found: FILE_SIZE - 1, expected: FILE_SIZE }));
    assert!(matches!(decode(&file([None, None])), Err(LedgerError::KeyFileUnreadable("both are empty"))));
    for at in 0..SLOT_SIZE {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        assert!(matches!(decode(&damaged), Err(LedgerError::KeyFileUnreadable("damaged"))), "byte {at}");
    }
    let twice = file([Some(&slot), Some(&Slot { place: 1, ..slot.clone() })]);
    assert!(matches!(decode(&twice), Err(LedgerError::KeyFileUnreadable(_))));

    let mut newer = encode(&slot).to_vec();
    newer[11] = 2;
    let checksum = <sha2::Sha256 as sha2::Digest>::digest(&newer[..SLOT_SIZE - 32]);
    newer[SLOT_SIZE - 32..].copy_from_slice(&checksum);
    newer.extend_from_slice(&wiped());
    assert_eq!(decode(&newer), Err(LedgerError::KeyFileVersion { found: 2, known: 1 }));

    let slots = decode(&good).unwrap();
    // While others sealed, epochs went by.
    let later = choose(&slots, 9, &key(3).public()).unwrap();
    assert_eq!((later.slot.epoch, later.slot.place, &later.slot.seed), (9, slot.place, &slot.seed));
    for (epoch, public, why) in [
        (2, key(2).public(), "the store's last seals are missing"),
        (4, key(4).public(), "the key directory is an old copy"),
        (3, key(4).public(), "they belong to different logs or chains"),
    ] {
        match choose(&slots, epoch, &public) {
            Err(LedgerError::KeyFileOther { wanted, reason, .. }) => assert_eq!((wanted, reason), (epoch, why)),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn slots_round_trip(sequence: u64, epoch: u64, seed: [u8; 32], place in 0u8..2) {
        let slot = Slot { place, sequence, epoch, seed: seed.into() };
        let bytes = file(if place == 0 { [Some(&slot), None] } else { [None, Some(&slot)] });
        prop_assert_eq!(decode(&bytes).unwrap(), [slot]);
    }

    #[test]
    fn any_file_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), FILE_SIZE)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn seals_round_trip(epoch: u64, size: u64, time_micros: i64, previous: [u8; 32], writer: [u8; 16]) {
        let key = EpochKey::from_seed(epoch, &[1; 32]);
        let head = Head { size: TreeSize(size), root: RootHash(previous) };
        let body = SealBody { epoch, head, time_micros, previous, writer: WriterId(writer), ..body(0) };
        let seal = Seal::close(body, &key).unwrap();
        prop_assert_eq!(Seal::parse(seal.text().as_bytes()).unwrap(), seal);
    }
}
