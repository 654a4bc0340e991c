//! Statements about keys: what leads from a log's first keys to its later ones, and what does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use sceau_ledger::*;

const ORIGIN: &str = "logs.example/sceau";

fn log(n: u8) -> LogKey {
    LogKey::from_seed(ORIGIN, &[n; 32]).unwrap()
}

fn epoch(n: u8) -> EpochKey {
    EpochKey::from_seed(u64::from(n), &[n; 32])
}

fn mac(n: u8) -> MacKey {
    MacKey::from_bytes([n; 32])
}

fn nothing(index: u64) -> KeyChange {
    KeyChange { origin: ORIGIN.into(), index, lost: Vec::new(), log: None, mac: None, chain: None }
}

fn rotation(index: u64, old: u8, new: u8) -> KeyChange {
    KeyChange { log: Some(LogChange { old: log(old).verifier(), new: log(new).verifier() }), ..nothing(index) }
}

fn mac_rotation(index: u64, old: u8, new: u8) -> KeyChange {
    let change = MacChange { old: Some(mac(old).commitment()), new: mac(new).commitment(), bundle: index / 256 + 1 };
    KeyChange { mac: Some(change), ..nothing(index) }
}

fn loss(index: u64, old: u8, new: u8) -> KeyChange {
    KeyChange {
        lost: vec![Lost::Log, Lost::Mac, Lost::Epoch],
        log: Some(LogChange { old: log(old).verifier(), new: log(new).verifier() }),
        mac: Some(MacChange { old: None, new: mac(new).commitment(), bundle: index / 256 }),
        chain: Some(NewChain { epoch: 9, key: epoch(9).public(), writer: WriterId([3; 16]), previous: [4; 32] }),
        ..nothing(index)
    }
}

fn take_over(index: u64, at: u64, key: u8) -> KeyChange {
    let chain = NewChain { epoch: at, key: epoch(key).public(), writer: WriterId([key; 16]), previous: [4; 32] };
    KeyChange { chain: Some(chain), ..nothing(index) }
}

fn start() -> KeyHistory {
    KeyHistory::new(log(1).verifier(), epoch(0).public())
}

fn add(history: &mut KeyHistory, change: KeyChange, old_mac: Option<u8>, signers: &[Signer<'_>]) -> Result<(), String> {
    let signed = change.sign(old_mac.map(mac).as_ref(), signers).unwrap();
    history.add(signed.text().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn each_key_is_led_to_by_the_one_before() {
    let mut history = start();
    let (one, two, three) = (log(1), log(2), log(3));
    add(&mut history, rotation(10, 1, 2), None, &[Signer::Log(&one), Signer::Log(&two)]).unwrap();
    add(&mut history, mac_rotation(600, 1, 2), Some(1), &[Signer::Log(&two)]).unwrap();
    add(&mut history, rotation(700, 2, 3), None, &[Signer::Log(&two), Signer::Log(&three)]).unwrap();
    let at: Vec<VerifierKey> = [0, 10, 11, 700, 701].iter().map(|size| history.log().at(*size).clone()).collect();
    let expected = [1, 1, 2, 2, 3].map(|n| log(n).verifier());
    assert_eq!(at, expected);
    assert_eq!(history.macs()[0].bundle, 3);
    assert_eq!(history.chains().len(), 1);
    let change = &history.changes()[1];
    assert_eq!((change.is_authenticated_by(&mac(1)), change.is_authenticated_by(&mac(2))), (Some(true), Some(false)));
}

#[test]
fn a_loss_begins_a_chain_and_says_whom_it_has() {
    let mut history = start();
    let (two, nine) = (log(2), epoch(9));
    add(&mut history, loss(1000, 1, 2), None, &[Signer::Log(&two), Signer::Epoch(&nine)]).unwrap();
    assert_eq!(history.chain_of(8).unwrap().key, epoch(0).public());
    assert_eq!(history.chain_of(9).unwrap().key, epoch(9).public());
    assert_eq!(history.macs()[0].bundle, 3);
    assert!(!history.changes()[0].is_signed_by(&log(1).verifier()));
}

#[test]
fn a_take_over_changes_who_seals_and_nothing_else() {
    let mut history = start();
    let (one, eight, nine) = (log(1), epoch(8), epoch(9));
    add(&mut history, take_over(100, 5, 9), None, &[Signer::Log(&one), Signer::Epoch(&nine)]).unwrap();
    // The same epoch again: the one before sealed nothing.
    add(&mut history, take_over(101, 5, 8), None, &[Signer::Log(&one), Signer::Epoch(&eight)]).unwrap();
    let earlier = add(&mut history, take_over(102, 4, 9), None, &[Signer::Log(&one), Signer::Epoch(&nine)]);
    assert!(earlier.unwrap_err().contains("epoch of the chain before"));
    let found: Vec<_> = history.chains().iter().map(|chain| (chain.epoch, chain.index, chain.taken_over)).collect();
    assert_eq!(found, [(0, None, false), (5, Some(100), true), (5, Some(101), true)]);
    assert_eq!(history.chain_of(5).unwrap().key, eight.public());
    assert_eq!((history.log().newest(), history.macs().len()), (&one.verifier(), 0));
}

#[test]
fn what_does_not_hold_is_not_taken_in() {
    let (one, two, three, nine) = (log(1), log(2), log(3), epoch(9));
    let both = [Signer::Log(&one), Signer::Log(&two)];
    let lost = [Signer::Log(&two), Signer::Epoch(&nine)];
    let refused = |change: KeyChange, old: Option<u8>, signers: &[Signer<'_>], words: &str| {
        let mut history = start();
        let error = add(&mut history, change, old, signers).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert_eq!(history, start());
    };
    refused(rotation(10, 1, 2), None, &both[1..], "not signed by the key before it");
    refused(rotation(10, 1, 2), None, &both[..1], "not signed by the new key");
    refused(rotation(10, 3, 2), None, &[Signer::Log(&three), both[1]], "does not name the key before it");
    refused(rotation(10, 1, 1), None, &both[..1], "its new key is none");
    refused(nothing(10), None, &both[..1], "changes no key");
    refused(mac_rotation(600, 1, 2), None, &both[..1], "authentication code");
    refused(mac_rotation(600, 1, 2), Some(1), &both[1..], "not signed by the key before it");
    let mut early = mac_rotation(600, 1, 2);
    early.mac.as_mut().unwrap().bundle = 2;
    refused(early, Some(1), &both[..1], "counts from another bundle");
    refused(loss(10, 1, 2), None, &lost[..1], "new chain's first key");
    refused(loss(10, 1, 2), None, &lost[1..], "not signed by the new key");
    refused(KeyChange { lost: vec![Lost::Log, Lost::Mac], ..loss(10, 1, 2) }, None, &lost, "chain does not fit");
    refused(KeyChange { lost: vec![Lost::Mac, Lost::Log, Lost::Epoch], ..loss(10, 1, 2) }, None, &lost, "in order");
    refused(KeyChange { lost: Vec::new(), ..loss(10, 1, 2) }, None, &lost, "besides its writer");
    refused(take_over(10, 9, 9), None, &[Signer::Epoch(&nine)], "not signed by the key before it");
    refused(take_over(10, 9, 9), None, &both[..1], "new chain's first key");
    refused(take_over(10, 9, 9), None, &[Signer::Log(&two), Signer::Epoch(&nine)], "not signed by the key before it");
    let foreign = LogKey::from_seed("other.example", &[2; 32]).unwrap();
    let change = KeyChange { origin: "other.example".into(), ..rotation(10, 1, 2) };
    refused(change, None, &[Signer::Log(&foreign)], "another log");
}

#[test]
fn only_whole_statements_in_order_are_read() {
    let (one, two, three) = (log(1), log(2), log(3));
    let mut history = start();
    add(&mut history, rotation(10, 1, 2), None, &[Signer::Log(&one), Signer::Log(&two)]).unwrap();
    let again = rotation(10, 2, 3);
    let refused = add(&mut history, again, None, &[Signer::Log(&two), Signer::Log(&three)]).unwrap_err();
    assert!(refused.contains("out of order"), "{refused}");
    let text = history.changes()[0].text().to_owned();
    assert_eq!(SignedKeyChange::parse(text.as_bytes()).unwrap(), history.changes()[0]);
    for n in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[n] ^= 1;
        assert!(start().add(&bytes).is_err(), "byte {n}");
    }
    for wrong in
        ["", "x", "sceau.keys.v1\n", &text[..text.len() - 1], &format!("{text}\n"), &text.replace("lost -", "lost ")]
    {
        assert!(SignedKeyChange::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
    // Neither a checkpoint nor a seal can be taken for one, nor the other way round.
    let checkpoint = sign_checkpoint(&one, &Head::empty());
    assert!(SignedKeyChange::parse(checkpoint.as_bytes()).is_err());
    assert!(open_checkpoint(text.as_bytes(), &one.verifier()).is_err());
    assert!(Seal::parse(text.as_bytes()).is_err());
}

#[test]
fn a_checkpoint_is_checked_by_the_key_of_its_size() {
    let (one, two) = (log(1), log(2));
    let mut history = start();
    add(&mut history, rotation(10, 1, 2), None, &[Signer::Log(&one), Signer::Log(&two)]).unwrap();
    let note = |key: &LogKey, size: u64| sign_checkpoint(key, &Head { size: TreeSize(size), root: RootHash([1; 32]) });
    for (key, size, right) in [(&one, 10, true), (&one, 11, false), (&two, 10, false), (&two, 11, true)] {
        let opened = open_checkpoint_of(note(key, size).as_bytes(), history.log());
        assert_eq!(opened.is_ok(), right, "{size}");
        if let Err(error) = opened {
            assert!(matches!(error, LedgerError::OtherKeyThen { .. }), "{error}");
        }
    }
    let stranger = open_checkpoint_of(note(&log(7), 11).as_bytes(), history.log()).unwrap_err();
    assert!(matches!(stranger, LedgerError::NotSigned(_)), "{stranger}");
}

#[test]
fn mac_keys_keep_their_bundles() {
    let mut keys = MacKeys::new(0, mac(1));
    keys.add(3, mac(2));
    keys.add(7, mac(3));
    let again = MacKeys::from_text(&keys.to_text()).unwrap();
    let ids = |keys: &MacKeys| keys.iter().map(|(from, key)| (from, key.commitment())).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&keys));
    let at = |keys: &MacKeys, bundle| keys.at(bundle).map(MacKey::commitment);
    assert_eq!(at(&again, 2), Some(mac(1).commitment()));
    assert_eq!(at(&again, 3), Some(mac(2).commitment()));
    assert_eq!(at(&again, 99), Some(mac(3).commitment()));
    // Replaced before its first bundle began: it stays, but authenticates no bundle. Added twice, it is there once.
    let mut replaced = again.clone();
    replaced.add(7, mac(4));
    replaced.add(7, mac(4));
    let replaced = MacKeys::from_text(&replaced.to_text()).unwrap();
    assert_eq!(ids(&replaced).len(), 4);
    assert_eq!(ids(&replaced)[2..], [(7, mac(3).commitment()), (7, mac(4).commitment())]);
    assert_eq!((at(&replaced, 6), at(&replaced, 7)), (Some(mac(2).commitment()), Some(mac(4).commitment())));
    assert_eq!(replaced.newest().1.commitment(), mac(4).commitment());
    let lost = MacKeys::from_text(&MacKeys::new(5, mac(4)).to_text()).unwrap();
    assert_eq!((lost.first_bundle(), at(&lost, 4)), (5, None));
    // A file of the time before keys could be rotated.
    let old = format!("{}\n", mac(1).to_secret().as_str());
    assert_eq!(ids(&MacKeys::from_text(&old).unwrap()), [(0, mac(1).commitment())]);
    let two = keys.to_text();
    let mut lines: Vec<&str> = two.lines().collect();
    lines.swap(1, 2);
    for wrong in [
        String::new(),
        "\n".into(),
        lines.join("\n"),
        format!("{}\n", lines.join("\n")),
        old.replace('\n', " x\n"),
        old.replace('\n', " 01\n"),
        old.replace('\n', " 0\n"),
        format!("{old}{old}"),
    ] {
        assert!(MacKeys::from_text(&wrong).is_err(), "{wrong:?}");
    }
}
