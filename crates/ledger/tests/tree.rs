//! The tree and its proofs against `ct-merkle`, restoring, and huge sparse logs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Memory, entry};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sceau_ledger::*;
use sha2::Sha256;

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

fn oracle(size: u64) -> Oracle {
    let mut oracle = Oracle::new();
    (0..size).for_each(|n| oracle.push(entry(n)));
    oracle
}

fn root(oracle: &Oracle) -> RootHash {
    RootHash((*oracle.root().as_bytes()).into())
}

fn hashes(bytes: &[u8]) -> Vec<[u8; 32]> {
    bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect()
}

#[test]
fn roots_equal_the_oracles_and_restore_works_at_every_size() {
    let (mut memory, mut oracle) = (Memory::default(), Oracle::new());
    for size in 0..=1000 {
        let head = memory.tree.head();
        assert_eq!(head, Head { size: TreeSize(size), root: root(&oracle) });
        let mut restored = Tree::restore(TreeSize(size), &memory).unwrap();
        assert_eq!(restored.head(), head);
        memory.push(&entry(size));
        oracle.push(entry(size));
        let completed = restored.append(&[leaf_hash(&entry(size))]);
        assert_eq!(restored.head(), memory.tree.head());
        let newest = memory.completed.last().copied().filter(|_| (size + 1) % 256 == 0);
        assert_eq!(completed.last().copied(), newest);
    }
    assert_eq!(memory.tree.head().size, TreeSize(1001));
    assert_eq!(Head::empty().root, root(&Oracle::new()));
}

#[test]
fn batches_give_the_same_tree_as_single_leaves() {
    let leaves: Vec<LeafHash> = (0..70_000).map(|n| leaf_hash(&entry(n))).collect();
    let mut single = Tree::new();
    let one_by_one: Vec<TileHash> = leaves.iter().flat_map(|leaf| single.append(&[*leaf])).collect();
    let mut batched = Tree::new();
    let in_batches: Vec<TileHash> = leaves.chunks(777).flat_map(|batch| batched.append(batch)).collect();
    assert_eq!(single.head(), batched.head());
    assert_eq!(one_by_one, in_batches);
    assert_eq!(one_by_one.iter().filter(|tile| tile.level == 1).count(), 273);
    assert_eq!(one_by_one.iter().filter(|tile| tile.level == 2).count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn proofs_equal_the_oracles(size in 1u64..1500, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let memory = Memory::of((0..size).map(entry));
        let oracle = oracle(size);
        let head = memory.tree.head();
        let index = at.index(size as usize) as u64;
        let proof = inclusion_proof(Index(index), TreeSize(size), &memory).unwrap();
        prop_assert_eq!(&proof, &hashes(oracle.prove_inclusion(index as usize).as_bytes()));
        let leaf = leaf_hash(&entry(index));
        check_inclusion(Index(index), leaf, &head, &proof).unwrap();
        prop_assert!(check_inclusion(Index((index + 1) % size), leaf, &head, &proof).is_err() || size == 1);

        let old = old.index(size as usize) as u64 + 1;
        let older = Memory::of((0..old).map(entry)).tree.head();
        let proof = consistency_proof(TreeSize(old), TreeSize(size), &memory).unwrap();
        if old < size {
            prop_assert_eq!(&proof, &hashes(oracle.prove_consistency((size - old) as usize).as_bytes()));
        }
        check_consistency(&older, &head, &proof).unwrap();
        let other = Head { root: RootHash([7; 32]), ..older };
        prop_assert!(check_consistency(&other, &head, &proof).is_err());
        check_consistency(&Head::empty(), &head, &[]).unwrap();
    }

    #[test]
    fn proofs_of_nonsense_are_refused_without_panic(
        size: u64, index: u64, old: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..200)
    ) {
        let head = Head { size: TreeSize(size), root: RootHash([1; 32]) };
        let older = Head { size: TreeSize(old), root: RootHash([2; 32]) };
        prop_assert!(check_inclusion(Index(index), LeafHash([3; 32]), &head, &proof).is_err());
        prop_assert!(check_consistency(&older, &head, &proof).is_err());
        let memory = Memory::default();
        prop_assert!(inclusion_proof(Index(index), TreeSize(size), &memory).is_err());
    }
}

/// A log in which all subtrees of one height are equal: any size can be had without its leaves.
struct Uniform;

fn node(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    use sha2::Digest as _;
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

fn uniform(height: u32) -> [u8; 32] {
    (0..height).fold(leaf_hash(b"same").0, |hash, _| node(hash, hash))
}

impl Tiles for Uniform {
    fn tile(&self, level: u8, _: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
        Ok(vec![uniform(8 * u32::from(level)); usize::from(width)])
    }
}

#[test]
fn huge_sparse_trees_restore_and_prove() {
    for size in [1u64 << 20, (1 << 40) + 12_345, (1 << 56) - 1, MAX_TREE_SIZE] {
        let tree = Tree::restore(TreeSize(size), &Uniform).unwrap();
        let heights = (0..63).filter(|bit| size >> bit & 1 == 1);
        let expected = heights.map(uniform).reduce(|right, left| node(left, right)).unwrap();
        let head = tree.head();
        assert_eq!(head, Head { size: TreeSize(size), root: RootHash(expected) });
        for index in [0, size / 3, size - 1] {
            let proof = inclusion_proof(Index(index), TreeSize(size), &Uniform).unwrap();
            check_inclusion(Index(index), leaf_hash(b"same"), &head, &proof).unwrap();
        }
        let older = Tree::restore(TreeSize(size / 3), &Uniform).unwrap().head();
        let proof = consistency_proof(older.size, TreeSize(size), &Uniform).unwrap();
        check_consistency(&older, &head, &proof).unwrap();
    }
    let too_large = TreeSize(MAX_TREE_SIZE + 1);
    assert_eq!(Tree::restore(too_large, &Uniform).unwrap_err(), LedgerError::TooLarge(too_large.0));
}

#[test]
fn a_store_that_gives_too_few_hashes_is_named() {
    struct Short;
    impl Tiles for Short {
        fn tile(&self, _: u8, _: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
            Ok(vec![[0; 32]; usize::from(width) - 1])
        }
    }
    for result in [
        Tree::restore(TreeSize(3), &Short).map(|_| Vec::new()),
        inclusion_proof(Index(0), TreeSize(3), &Short),
        consistency_proof(TreeSize(2), TreeSize(3), &Short),
    ] {
        assert!(matches!(result, Err(LedgerError::Tile { level: 0, n: 0, .. })), "{result:?}");
    }
    let outside = inclusion_proof(Index(3), TreeSize(3), &Short);
    assert!(matches!(outside, Err(LedgerError::OutOfRange { value: 3, size: 3, .. })));
}

#[test]
fn tile_paths_are_canonical() {
    for (text, kind, n, width) in [
        ("0/000", TileKind::Level(0), 0, None),
        ("63/999", TileKind::Level(63), 999, None),
        ("0/x001/x234/067", TileKind::Level(0), 1_234_067, None),
        ("1/x001/x234/067.p/12", TileKind::Level(1), 1_234_067, Some(12)),
        ("entries/x001/000.p/255", TileKind::Entries, 1000, Some(255)),
        ("0/x018/x446/x744/x073/x709/x551/615", TileKind::Level(0), u64::MAX, None),
    ] {
        let path = TilePath { kind, n, width };
        assert_eq!(text.parse::<TilePath>().unwrap(), path);
        assert_eq!(path.to_string(), text);
    }
    for (text, why) in [
        ("", "empty"),
        ("0", "no number"),
        ("/000", "no level"),
        ("00/000", "leading zero in the level"),
        ("+1/000", "sign"),
        ("64/000", "level too high"),
        ("data/000", "the Go database's name"),
        ("0/0", "not three digits"),
        ("0/0000", "four digits"),
        ("0/x000/001", "leading group of zeros"),
        ("0/001/002", "no x"),
        ("0/x001", "x before the last group"),
        ("0/xx01/002", "two x"),
        ("0/000.p/0", "width 0"),
        ("0/000.p/256", "full width written out"),
        ("0/000.p/012", "leading zero in the width"),
        ("0/000.p/", "no width"),
        ("0/000.p", "no width"),
        ("0/000.p/1.p/1", "two widths"),
        ("0/000/", "slash at the end"),
        ("0/x018/x446/x744/x073/x709/x551/616", "one more than 64 bits"),
        ("0/000 ", "space"),
        ("tile/0/000", "prefix"),
    ] {
        assert!(matches!(text.parse::<TilePath>(), Err(LedgerError::TilePath(_))), "{why}: {text}");
    }
}

proptest! {
    #[test]
    fn tile_paths_round_trip(level in prop::option::of(0u8..64), n: u64, width in prop::option::of(1u8..)) {
        let kind = level.map_or(TileKind::Entries, TileKind::Level);
        let path = TilePath { kind, n, width };
        prop_assert_eq!(path.to_string().parse::<TilePath>().unwrap(), path);
    }

    #[test]
    fn tile_path_parser_never_panics(text in "[0-9x/.p entris]{0,60}|.{0,40}") {
        if let Ok(path) = text.parse::<TilePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }
}

#[test]
fn bundles_carry_lengths() {
    assert_eq!(bundle(&[b"one", b"", b"three"]).unwrap(), b"\x00\x03one\x00\x00\x00\x05three");
    let longest = vec![0; MAX_ENTRY_BYTES];
    assert_eq!(bundle(&[&longest]).unwrap().len(), 65_537);
    let too_long = vec![0; MAX_ENTRY_BYTES + 1];
    assert_eq!(bundle(&[b"", &too_long]).unwrap_err(), LedgerError::EntryTooLong { position: 1, length: 65_536 });
}
