//! Notes and keys: what is read is written back byte for byte, and no change to a signed note passes for signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_ledger::{
    Checkpoint, EpochKey, EpochPublic, FILE_SIZE, FIRST_PREVIOUS, Head, KeyChange, KeyHistory, LogChange, LogKey,
    MacKey, MacKeys, RootHash, SLOT_SIZE, Seal, SealBody, SignedKeyChange, Signer, TilePath, TreeSize, VerifierKey,
    WriterId, check_origin, choose, decode, encode, open_checkpoint, parse_tlog_proof, sign_checkpoint, tlog_proof,
    verify_tlog_proof,
};
use std::{str::FromStr, sync::LazyLock};

static KEY: LazyLock<LogKey> =
    LazyLock::new(|| LogKey::from_seed("fuzz.example/log", &[7; 32]).expect("a good origin"));
const HEAD: Head = Head { size: TreeSize(4711), root: RootHash([9; 32]) };
static NOTE: LazyLock<String> = LazyLock::new(|| sign_checkpoint(&KEY, &HEAD));
static EPOCH: LazyLock<EpochKey> = LazyLock::new(|| EpochKey::from_seed(3, &[5; 32]));
static SEAL: LazyLock<Seal> = LazyLock::new(|| {
    let body = SealBody {
        origin: "fuzz.example/log".into(),
        writer: WriterId([1; 16]),
        epoch: 3,
        head: HEAD,
        time_micros: 1_795_334_400_123_456,
        previous: FIRST_PREVIOUS,
        next: EpochKey::from_seed(4, &[6; 32]).public(),
    };
    Seal::close(body, &EPOCH).expect("the epoch's own key")
});

static NEXT: LazyLock<LogKey> =
    LazyLock::new(|| LogKey::from_seed("fuzz.example/log", &[8; 32]).expect("a good origin"));
static STATEMENT: LazyLock<SignedKeyChange> = LazyLock::new(|| {
    let log = Some(LogChange { old: KEY.verifier(), new: NEXT.verifier() });
    let origin = "fuzz.example/log".into();
    let change = KeyChange { origin, index: 4711, lost: Vec::new(), log, mac: None, chain: None };
    change.sign(None, &[Signer::Log(&KEY), Signer::Log(&NEXT)]).expect("a good origin")
});

fuzz_target!(|data: &[u8]| {
    notes(data);
    if let Ok(text) = std::str::from_utf8(data) {
        texts(text);
    }
    mutated(data);
    key_file(data);
});

fn notes(data: &[u8]) {
    let read = Checkpoint::parse_unverified(data);
    if let Ok(opened) = open_checkpoint(data, &KEY.verifier()) {
        // Only this head was ever signed with the key.
        assert_eq!((opened.head, read.as_ref()), (HEAD, Ok(&opened)));
    }
    if let Ok(seal) = Seal::parse(data) {
        assert_eq!(seal.text().as_bytes(), data);
        assert!(read.is_err(), "a seal is no checkpoint");
        assert!(seal.verify(&EPOCH.public()).is_err() || seal == *SEAL);
    }
    if let Ok(statement) = SignedKeyChange::parse(data) {
        assert_eq!(statement.text().as_bytes(), data);
        assert!(read.is_err() && Seal::parse(data).is_err(), "a statement is no checkpoint and no seal");
        assert!(!statement.is_signed_by(&KEY.verifier()) || statement.body() == STATEMENT.body());
    }
}

fn texts(text: &str) {
    again::<VerifierKey>(text);
    again::<EpochPublic>(text);
    again::<WriterId>(text);
    again::<RootHash>(text);
    again::<TilePath>(text);
    if let Ok(key) = LogKey::from_secret(text) {
        assert_eq!(key.to_secret().as_str(), text);
    }
    if let Ok(key) = MacKey::from_secret(text) {
        assert_eq!(key.to_secret().as_str(), text);
    }
    if let Ok(keys) = MacKeys::from_text(text) {
        assert_eq!(keys.to_text().as_str(), text);
    }
    if let Ok(proof) = parse_tlog_proof(text)
        && proof.extra.is_none()
    {
        assert_eq!(tlog_proof(proof.index, &proof.proof, &proof.checkpoint), text);
    }
    let _ = verify_tlog_proof(text, b"an entry", &KEY.verifier());
    let _ = check_origin(text);
}

/// What is read is displayed as it was.
fn again<T: FromStr + ToString>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string(), text);
    }
}

/// The input says where a good note is changed, and how.
fn mutated(data: &[u8]) {
    let [high, low, by, rest @ ..] = data else { return };
    let place = usize::from(u16::from_be_bytes([*high, *low]));
    let change = |good: &str| {
        let mut note = good.as_bytes().to_vec();
        let at = place % note.len();
        note[at] ^= *by;
        note.splice(at..at, rest.iter().copied());
        (note != good.as_bytes()).then_some(note)
    };
    if let Some(note) = change(&NOTE)
        && let Ok(opened) = open_checkpoint(&note, &KEY.verifier())
    {
        // Another signature line, as of a witness, may have been added; what was signed stays what it was.
        assert_eq!(opened.head, HEAD, "{:?}", String::from_utf8_lossy(&note));
        assert!(note.starts_with(&NOTE.as_bytes()[..NOTE.find("\n\n").expect("a note")]));
    }
    if let Some(seal) = change(SEAL.text())
        && let Ok(seal) = Seal::parse(&seal)
    {
        assert!(seal.verify(&EPOCH.public()).is_err(), "a changed seal verifies: {}", seal.text());
    }
    if let Some(statement) = change(STATEMENT.text()) {
        let mut history = KeyHistory::new(KEY.verifier(), EPOCH.public());
        if history.add(&statement).is_ok() {
            // As above: signature lines may be added, nothing else.
            assert_eq!(history.changes()[0].body(), STATEMENT.body());
        }
    }
}

/// Bytes of a key file that was torn or altered.
fn key_file(data: &[u8]) {
    let mut file = data.to_vec();
    file.resize(FILE_SIZE, 0);
    let _ = (decode(data), decode(&file));
    let slot = sceau_ledger::Slot::first(&EPOCH);
    file[SLOT_SIZE..].fill(0);
    file[..SLOT_SIZE].copy_from_slice(encode(&slot).as_slice());
    for (at, byte) in data.iter().enumerate().take(64) {
        file[SLOT_SIZE + at] = *byte;
    }
    let slots = decode(&file).expect("one slot is good");
    assert_eq!(choose(&slots, 3, &EPOCH.public()).map(|chosen| chosen.slot), Ok(slot));
}
