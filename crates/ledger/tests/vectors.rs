//! Published vectors through our API: RFC 6962 inclusion proofs, and a tile log written by Tessera.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use common::shared;
use ed25519_dalek::VerifyingKey;
use sceau_ledger::*;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn hash(value: &serde_json::Value) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(value.as_str()?).ok()?.try_into().ok()
}

/// Their convention: an empty or odd hash is refused, which a type of 32 bytes does by itself.
fn verify(vector: &serde_json::Value) -> bool {
    let proof = vector["proof"].as_array();
    let proof: Option<Vec<[u8; 32]>> = proof.map(Vec::as_slice).unwrap_or_default().iter().map(hash).collect();
    let (Some(leaf), Some(root), Some(proof)) = (hash(&vector["leafHash"]), hash(&vector["root"]), proof) else {
        return false;
    };
    let (Some(index), Some(size)) = (vector["leafIdx"].as_u64(), vector["treeSize"].as_u64()) else {
        return false;
    };
    let head = Head { size: TreeSize(size), root: RootHash(root) };
    check_inclusion(Index(index), LeafHash(leaf), &head, &proof).is_ok()
}

#[test]
fn rfc6962_inclusion_vectors() {
    let Some(folder) = shared("tlog/rfc6962/inclusion") else { return };
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut right = 0;
    for file in &found {
        let vector: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let wanted = !vector["wantErr"].as_bool().unwrap();
        assert_eq!(verify(&vector), wanted, "{}", file.display());
        right += 1;
    }
    assert_eq!(right, 98);
    eprintln!("{right} RFC 6962 inclusion vectors agree");
}

fn entries_of(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut entries) = (bundle, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, more) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry.to_vec());
        rest = more;
    }
    entries
}

/// The public key that Tessera publishes for its test log.
const TESSERA: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

#[test]
fn tessera_log() {
    let Some(folder) = shared("tlog/tessera/testdata/log") else { return };
    let mut tree = Tree::new();
    let mut checked = 0;
    for size in 0..=15u64 {
        let note = fs::read(folder.join(format!("checkpoint.{size}"))).unwrap();
        let checkpoint = open_checkpoint(&note, &TESSERA.parse().unwrap()).unwrap();
        assert_eq!(Checkpoint::parse_unverified(&note).unwrap(), checkpoint);
        assert_eq!(checkpoint.origin, "example.com/log/testdata");
        assert_eq!(checkpoint.head, tree.head(), "size {size}");
        let stranger = LogKey::from_seed(&checkpoint.origin, &[1; 32]).unwrap().verifier();
        assert!(matches!(open_checkpoint(&note, &stranger), Err(LedgerError::NotSigned(_))));
        if size > 0 {
            let name = |kind| TilePath { kind, n: 0, width: Some(size as u8) }.to_string();
            let written = fs::read(folder.join("tile").join(name(TileKind::Entries))).unwrap();
            let entries = entries_of(&written);
            let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            assert_eq!(bundle(&slices).unwrap(), written);
            let leaves: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(entry).0).collect();
            assert_eq!(leaves, fs::read(folder.join("tile").join(name(TileKind::Level(0)))).unwrap());
            checked += 1;
        }
        let next = fs::read(folder.join(format!("tile/entries/000.p/{}", (size + 1).min(15)))).unwrap();
        if size < 15 {
            tree.append(&[leaf_hash(entries_of(&next).last().unwrap())]);
        }
    }
    assert_eq!(checked, 15);
    eprintln!("{checked} Tessera tiles, bundles and 16 checkpoints agree");
}

/// The specification's own example.
#[test]
fn signed_note_example_key() {
    let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let vkey: VerifierKey = text.parse().unwrap();
    assert_eq!(vkey.to_string(), text);
    assert_eq!(vkey.origin(), "example.com/foo");
    let public = BASE64_STANDARD.decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
    assert!(VerifyingKey::from_bytes(public[1..].try_into().unwrap()).is_ok());
}
