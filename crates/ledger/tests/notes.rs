//! Checkpoints, keys, tlog-proofs and MACs: what is accepted, and what is refused by which name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Memory, entry};
use proptest::prelude::*;
use sceau_ledger::*;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

const ORIGIN: &str = "logs.example/sceau";

fn key() -> LogKey {
    LogKey::from_seed(ORIGIN, &[7; 32]).unwrap()
}

fn head() -> Head {
    Memory::of((0..300).map(entry)).tree.head()
}

#[test]
fn checkpoints_round_trip_and_other_programs_read_them() {
    let (key, head) = (key(), head());
    let note = sign_checkpoint(&key, &head);
    assert_eq!(note, sign_checkpoint(&key, &head), "the same head gives the same bytes");
    let checkpoint = open_checkpoint(note.as_bytes(), &key.verifier()).unwrap();
    assert_eq!(checkpoint, Checkpoint { origin: ORIGIN.into(), head });
    assert_eq!(Checkpoint::parse_unverified(note.as_bytes()).unwrap(), checkpoint);

    let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
    let foreign = Note::from_bytes(note.as_bytes()).unwrap();
    foreign.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    let signer = StandardSigner::new(&key.to_secret()).unwrap();
    let mut theirs = Note::new(foreign.text(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    assert_eq!(theirs.to_bytes(), note.as_bytes());
    open_checkpoint(sign_checkpoint(&key, &Head::empty()).as_bytes(), &key.verifier()).unwrap();
}

#[test]
fn other_signatures_are_ignored_and_wrong_ones_are_not() {
    let (key, head) = (key(), head());
    let note = sign_checkpoint(&key, &head);
    let witness = LogKey::from_seed("witness.example", &[9; 32]).unwrap();
    let cosigned = note.clone() + sign_checkpoint(&witness, &head).lines().last().unwrap() + "\n";
    open_checkpoint(cosigned.as_bytes(), &key.verifier()).unwrap();

    let other = LogKey::from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
    assert_eq!(open_checkpoint(note.as_bytes(), &other), Err(LedgerError::NotSigned(other.to_string())));
    let larger = note.replacen("\n300\n", "\n301\n", 1);
    assert_eq!(open_checkpoint(larger.as_bytes(), &key.verifier()), Err(LedgerError::Signature(ORIGIN.into())));
}

#[test]
fn an_origin_that_is_not_the_keys_name_is_refused() {
    let key = key();
    let signer = StandardSigner::new(&key.to_secret()).unwrap();
    let text = format!("other.example/log\n0\n{}\n", Head::empty().root);
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let error = LedgerError::OtherOrigin { expected: ORIGIN.into(), found: "other.example/log".into() };
    assert_eq!(open_checkpoint(&note.to_bytes(), &key.verifier()), Err(error));
}

#[test]
fn malformed_checkpoints_are_named_malformed() {
    let note = sign_checkpoint(&key(), &head());
    let root = head().root.to_string();
    let changed: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("leading zero", note.replacen("\n300\n", "\n0300\n", 1).into()),
        ("sign", note.replacen("\n300\n", "\n+300\n", 1).into()),
        ("size beyond 64 bits", note.replacen("\n300\n", "\n18446744073709551616\n", 1).into()),
        ("short root", note.replacen(&root, &root[4..], 1).into()),
        ("root with a stray bit", note.replacen(&root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", 1).into()),
        ("carriage returns", note.replace('\n', "\r\n").into()),
        ("no line break at the end", note.trim_end().into()),
        ("text behind", format!("{note}more\n").into()),
        ("hyphen for the dash", note.replacen('\u{2014}', "-", 1).into()),
        ("no signature", note.split("\n\n").next().unwrap().into()),
        ("not UTF-8", [&[0xff], note.as_bytes()].concat()),
        ("too long", vec![b'a'; MAX_NOTE_BYTES + 1]),
    ];
    for (why, bytes) in changed {
        let result = Checkpoint::parse_unverified(&bytes);
        assert!(matches!(result, Err(LedgerError::Checkpoint(_))), "{why}: {result:?}");
        assert!(open_checkpoint(&bytes, &key().verifier()).is_err(), "{why}");
    }
}

#[test]
fn origins_are_key_names() {
    for good in ["a", "logs.example/sceau", "é.example/journal"] {
        check_origin(good).unwrap();
    }
    let long = "a".repeat(256);
    for bad in ["", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{2003}b", "a\u{7f}b", "a\0b", &long] {
        assert!(matches!(check_origin(bad), Err(LedgerError::Origin(_))), "{bad:?}");
        assert!(LogKey::from_seed(bad, &[1; 32]).is_err());
    }
}

#[test]
fn verifier_keys_are_strict() {
    let vkey = key().verifier();
    let text = vkey.to_string();
    assert_eq!(text.parse::<VerifierKey>().unwrap(), vkey);
    let parts: Vec<&str> = text.splitn(3, '+').collect();
    let weak = VerifierKey::clone(&vkey).to_string().replace(parts[2], &format!("AQ{}", "A".repeat(42)));
    for (why, bad) in [
        ("empty", String::new()),
        ("name only", parts[0].to_owned()),
        ("other name", format!("x{text}")),
        ("upper-case id", format!("{}+{}+{}", parts[0], parts[1].to_uppercase(), parts[2])),
        ("other id", format!("{}+00000000+{}", parts[0], parts[2])),
        ("short id", format!("{}+{}+{}", parts[0], &parts[1][1..], parts[2])),
        ("not base64", format!("{}+{}+!{}", parts[0], parts[1], parts[2])),
        ("other algorithm", text.replacen(parts[2], &format!("B{}", &parts[2][1..]), 1)),
        ("space behind", format!("{text} ")),
        ("weak", weak),
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{why}: {bad}");
    }
}

#[test]
fn secrets_round_trip_and_are_never_shown() {
    let key = key();
    let secret = key.to_secret();
    assert_eq!(LogKey::from_secret(&secret).unwrap().verifier(), key.verifier());
    let mac = MacKey::from_bytes([5; 32]);
    let mac_secret = mac.to_secret();
    assert_eq!(*MacKey::from_secret(&mac_secret).unwrap().to_secret(), *mac_secret);
    for text in [secret.as_str(), mac_secret.as_str()] {
        for at in 0..text.len() {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(LogKey::from_secret(&damaged).is_err() && MacKey::from_secret(&damaged).is_err(), "byte {at}");
        }
    }
    let epoch = EpochKey::from_seed(3, &[6; 32]);
    let slot = Slot::first(&epoch);
    let state = BundleMac::start(&mac, 0);
    let shown = format!("{key:?} {mac:?} {epoch:?} {slot:?} {state:?}");
    assert_eq!(shown.matches("redacted").count(), 5);
    for byte in ["05", "06", "07", ", 5", ", 6", ", 7", "BQUF", "BgYG", "BwcH"] {
        assert!(!shown.contains(byte), "{shown}");
    }
}

fn proven() -> (Memory, String, Head) {
    let memory = Memory::of((0..300).map(entry));
    let head = memory.tree.head();
    let proof = inclusion_proof(Index(123), head.size, &memory).unwrap();
    let text = tlog_proof(Index(123), &proof, &sign_checkpoint(&key(), &head));
    (memory, text, head)
}

#[test]
fn tlog_proofs_prove_and_only_what_they_say() {
    let (_, text, head) = proven();
    let vkey = key().verifier();
    let proven = verify_tlog_proof(&text, &entry(123), &vkey).unwrap();
    assert_eq!((proven.index, proven.checkpoint.head), (Index(123), head));
    assert_eq!(verify_tlog_proof(&text, &entry(124), &vkey), Err(LedgerError::ProofMismatch));
    let moved = text.replacen("index 123", "index 122", 1);
    assert_eq!(verify_tlog_proof(&moved, &entry(123), &vkey), Err(LedgerError::ProofMismatch));
    let beyond = text.replacen("index 123", "index 300", 1);
    assert!(matches!(verify_tlog_proof(&beyond, &entry(123), &vkey), Err(LedgerError::OutOfRange { .. })));

    let extra = text.replacen("index", "extra aGk=\nindex", 1);
    assert_eq!(parse_tlog_proof(&extra).unwrap().extra.as_deref(), Some(b"hi".as_slice()));
    verify_tlog_proof(&extra, &entry(123), &vkey).unwrap();
    let parsed = parse_tlog_proof(&text).unwrap();
    assert_eq!(tlog_proof(parsed.index, &parsed.proof, &parsed.checkpoint), text);
}

#[test]
fn malformed_tlog_proofs_are_named_with_their_line() {
    let (_, text, _) = proven();
    for (line, why, bad) in [
        (1, "empty", String::new()),
        (1, "other version", text.replacen("@v1", "@v2", 1)),
        (2, "no index", text.replacen("index 123\n", "", 1)),
        (2, "leading zero", text.replacen("index 123", "index 0123", 1)),
        (2, "sign", text.replacen("index 123", "index +123", 1)),
        (2, "no number", text.replacen("index 123", "index", 1)),
        (2, "bad extra", text.replacen("index", "extra !\nindex", 1)),
        (3, "second extra", text.replacen("index", "extra \nextra \nindex", 1)),
        (3, "short hash", text.replacen("index 123\n", "index 123\nAAAA\n", 1)),
        (3, "carriage return", text.replacen("index 123\n", "index 123\n\r", 1)),
        (
            67,
            "too long",
            text.replacen("index 123\n", &format!("index 123\n{}", format!("{}=\n", "A".repeat(43)).repeat(65)), 1),
        ),
    ] {
        match parse_tlog_proof(&bad) {
            Err(LedgerError::TlogProof { line: found, .. }) => assert_eq!(found, line, "{why}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn macs_bind_leaf_place_and_key() {
    let (key, other) = (MacKey::from_bytes([1; 32]), MacKey::from_bytes([2; 32]));
    let leaves: Vec<LeafHash> = (0..256).map(|n| leaf_hash(&entry(n))).collect();
    let tag = |key: &MacKey, bundle: u64, leaves: &[LeafHash]| {
        let mut mac = BundleMac::start(key, bundle);
        leaves.iter().for_each(|leaf| mac.push(*leaf));
        (mac.count(), mac.tag())
    };
    let right = tag(&key, 0, &leaves);
    assert_eq!(right.0, 256);
    let mut swapped = leaves.clone();
    swapped.swap(10, 11);
    for (why, wrong) in [
        ("swapped", tag(&key, 0, &swapped)),
        ("other bundle", tag(&key, 1, &leaves)),
        ("other key", tag(&other, 0, &leaves)),
        ("shorter", tag(&key, 0, &leaves[..255])),
        ("shifted", tag(&key, 0, &leaves[1..])),
    ] {
        assert_ne!(right.1, wrong.1, "{why}");
    }
    let mut growing = BundleMac::start(&key, 0);
    for (leaf, count) in leaves.iter().zip(1..) {
        growing.push(*leaf);
        let kept = growing.clone();
        assert_eq!((kept.count(), kept.tag()), tag(&key, 0, &leaves[..count]));
    }
    let single = entry_mac(&key, Index(5), leaves[5]);
    assert_ne!(single, entry_mac(&key, Index(6), leaves[5]), "moved");
    assert_ne!(single, entry_mac(&key, Index(5), leaves[6]), "replaced");
    assert_eq!(entry_mac(&key, Index(0), leaves[0]), tag(&key, 0, &leaves[..1]).1, "one function");
}

/// Computed with Python's hmac over the input that docs/format.md gives.
#[test]
fn a_mac_that_another_program_computed() {
    let key = MacKey::from_bytes([0x0b; 32]);
    let mut mac = BundleMac::start(&key, 2);
    mac.push(leaf_hash(b"a"));
    mac.push(leaf_hash(b"b"));
    let hex: String = mac.tag().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "6d595ed63156bd3474993c75d0f01e3163c7ca6e053c6b2591d5d78575cca50d");
}

proptest! {
    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let vkey = key().verifier();
        let _ = open_checkpoint(&bytes, &vkey);
        let _ = open_checkpoint(text.as_bytes(), &vkey);
        let _ = Seal::parse(&bytes);
        let _ = Seal::parse(text.as_bytes());
        let _ = parse_tlog_proof(&text);
        let _ = text.parse::<VerifierKey>();
        let _ = text.parse::<WriterId>();
        let _ = text.parse::<EpochPublic>();
        let _ = LogKey::from_secret(&text);
        let _ = MacKey::from_secret(&text);
        let _ = decode(&bytes);
    }

    #[test]
    fn damaged_notes_never_panic_nor_verify(at in any::<prop::sample::Index>(), byte: u8) {
        let note = sign_checkpoint(&key(), &head());
        let mut damaged = note.clone().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if damaged != note.as_bytes() {
            prop_assert!(open_checkpoint(&damaged, &key().verifier()).is_err());
            let _ = Checkpoint::parse_unverified(&damaged);
        }
        let mut proof = proven().1.into_bytes();
        let at = at % proof.len();
        proof[at] = byte;
        if let Ok(text) = String::from_utf8(proof) {
            let _ = verify_tlog_proof(&text, &entry(123), &key().verifier());
        }
    }
}
