use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use super::*;

fn directories() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (keys, data) = (root.path().join("keys"), root.path().join("data"));
    (root, keys, data)
}

#[test]
fn made_once_and_opened_again() {
    let (_root, keys, data) = directories();
    let made = KeyDir::create(&keys, Some(&data), "example.org/log").unwrap();
    let vkey = made.log_key().verifier().to_string();
    let slots = made.epoch_slots().unwrap();
    assert_eq!(slots.len(), 1);
    drop(made);
    let again = KeyDir::create(&keys, Some(&data), "example.org/other").unwrap();
    assert_eq!(again.log_key().verifier().to_string(), vkey);
    assert_eq!(again.epoch_slots().unwrap(), slots);
    assert!(again.noted_head().is_none());
}

#[test]
fn a_half_made_directory_is_completed() {
    let (_root, keys, data) = directories();
    let made = KeyDir::create(&keys, Some(&data), "example.org/log").unwrap();
    let vkey = made.log_key().verifier().to_string();
    drop(made);
    for name in [EPOCH_KEY, HEADS] {
        std::fs::remove_file(keys.join(name)).unwrap();
    }
    assert!(!KeyDir::is_complete(&keys));
    let error = KeyDir::open(&keys, Some(&data)).unwrap_err().to_string();
    assert!(error.contains("epoch.key"), "{error}");
    assert_eq!(KeyDir::noted_origin(&keys).unwrap().as_deref(), Some("example.org/log"));
    let again = KeyDir::create(&keys, Some(&data), "example.org/log").unwrap();
    assert_eq!(again.log_key().verifier().to_string(), vkey);
}

#[test]
fn wide_permissions_are_refused_by_name() {
    let (_root, keys, data) = directories();
    drop(KeyDir::create(&keys, Some(&data), "example.org/log").unwrap());
    std::fs::set_permissions(keys.join(MAC_KEY), Permissions::from_mode(0o640)).unwrap();
    let error = KeyDir::open(&keys, Some(&data)).unwrap_err().to_string();
    assert!(error.contains("mac.key") && error.contains("0640"), "{error}");
    std::fs::set_permissions(keys.join(MAC_KEY), Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&keys, Permissions::from_mode(0o750)).unwrap();
    let error = KeyDir::open(&keys, Some(&data)).unwrap_err().to_string();
    assert!(error.contains("0750"), "{error}");
}

#[test]
fn a_damaged_key_is_named() {
    let (_root, keys, data) = directories();
    drop(KeyDir::create(&keys, Some(&data), "example.org/log").unwrap());
    std::fs::write(keys.join(LOG_KEY), "PRIVATE+KEY+nonsense\n").unwrap();
    let error = KeyDir::open(&keys, Some(&data)).unwrap_err().to_string();
    assert!(error.contains("log.key"), "{error}");
}

#[test]
fn slots_are_written_and_wiped() {
    let (_root, keys, data) = directories();
    let made = KeyDir::create(&keys, Some(&data), "example.org/log").unwrap();
    let first = made.epoch_slots().unwrap().remove(0);
    let next = first.next(&EpochKey::from_seed(1, &[7; 32]));
    made.write_slot(&next).unwrap();
    assert_eq!(made.epoch_slots().unwrap(), [first.clone(), next.clone()]);
    made.wipe_slot(first.place).unwrap();
    assert_eq!(made.epoch_slots().unwrap(), [next]);
    let bytes = std::fs::read(keys.join(EPOCH_KEY)).unwrap();
    assert!(!bytes.windows(32).any(|window| window == first.seed.as_slice()));
}
