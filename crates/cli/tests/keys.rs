//! Keys that are rotated, lost, badly kept and tampered with, by the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use common::{Place, Said, numbered, text, until};

/// What an auditor got on the first day.
struct Auditor {
    pin: String,
    verifier_key: String,
}

impl Auditor {
    fn of(place: &Place) -> Self {
        let facts = place.init();
        let fact = |name: &str| facts[name].as_str().unwrap().to_owned();
        Self { pin: fact("first_epoch_key"), verifier_key: fact("verifier_key") }
    }

    /// Verifies with these pins and the first verifier key.
    fn verify(&self, place: &Place, pins: &[&str], more: &[&str]) -> Said {
        let mut args = vec!["verify", "--json", "--verifier-key", &self.verifier_key];
        pins.iter().for_each(|pin| args.extend(["--pin", pin]));
        args.extend(more);
        place.run(&args)
    }
}

fn proof(place: &Place, index: &str, name: &str) -> String {
    let said = place.run(&["proof", index]).with(0);
    text(&place.file(name, said.out))
}

fn check(proof: &str, key: &str) -> Said {
    common::run(common::sceau().args(["proof", "--check", proof, "--verifier-key", key]))
}

#[test]
fn both_keys_are_rotated_while_no_server_runs() {
    let place = Place::new();
    let auditor = Auditor::of(&place);
    let lines = place.file("lines", numbered(500));
    place.run(&["import", &text(&lines)]).with(0);
    let kept = text(&place.file("kept", place.run(&["checkpoint"]).with(0).out));
    let early = proof(&place, "7", "early");
    let secret = std::fs::read_to_string(place.keys().join("log.key")).unwrap();
    let log = place.run(&["keys", "rotate", "log", "--json"]).with(0).json();
    let new = log["verifier_key"].as_str().unwrap();
    assert_ne!(new, auditor.verifier_key);
    assert!(place.run(&["keys", "rotate", "mac"]).with(0).out.contains("counts from entry 512 on"));
    let more = place.file("more", numbered(900));
    place.run(&["import", &text(&more)]).with(0);
    let late = proof(&place, "7", "late");

    let verdict = auditor.verify(&place, &[&auditor.pin], &["--since-checkpoint", &kept]).with(0).json();
    assert_eq!(verdict["sealed"]["younger"], 0, "{verdict}");
    assert_eq!(verdict["macs"]["younger"], 0, "{verdict}");
    assert_eq!(verdict["anchored"]["up_to"], 499, "{verdict}");
    assert!(verdict["sealed"]["unproven"].is_null() && verdict["macs"]["unproven"].is_null(), "{verdict}");
    // On a machine without the key directory, and with the newer key.
    let mut elsewhere = common::sceau();
    elsewhere.args(["verify", "--verifier-key", new, "--pin", &auditor.pin, "--data-dir"]).arg(place.data());
    common::run(&mut elsewhere).with(0);

    check(&early, &auditor.verifier_key).with(0);
    check(&late, new).with(0);
    let advice = check(&late, &auditor.verifier_key).with(4).out;
    assert!(advice.contains("sceau keys check"), "{advice}");
    let keys = place.run(&["keys", "--json"]).with(0).json();
    assert_eq!(keys["verifier_keys"].as_array().unwrap().len(), 2, "{keys}");
    let notes: String =
        keys["key_changes"].as_array().unwrap().iter().map(|change| change["note"].as_str().unwrap()).collect();
    let file = text(&place.file("notes", &notes));
    let follow = |file: &str| {
        common::run(common::sceau().args(["keys", "check", "--verifier-key", &auditor.verifier_key, file]))
    };
    assert!(follow(&file).with(0).out.contains(new));
    // As it is printed, in words and as JSON.
    for (name, printed) in [("words", vec!["keys"]), ("json", vec!["keys", "--json"])] {
        let file = text(&place.file(name, place.run(&printed).with(0).out));
        assert!(follow(&file).with(0).out.contains(new), "{name}");
    }
    let other = text(&place.file("other", "verifier key: x\n"));
    assert!(follow(&other).with(2).err.contains("no statement"));
    let forged = text(&place.file("forged", notes.replacen("lost -", "lost heads", 1)));
    assert!(follow(&forged).with(4).out.contains("do NOT lead on"));
    // Nothing secret is left of the old key, nor printed.
    for file in std::fs::read_dir(place.keys()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len() - 1).any(|window| window == &secret.as_bytes()[..secret.len() - 1]));
    }
    assert!(!place.run(&["keys"]).with(0).out.contains("PRIVATE"));
}

#[test]
fn both_keys_are_rotated_on_a_busy_server() {
    let place = Place::new();
    let auditor = Auditor::of(&place);
    let server = place.serve();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let (server, place, done) = (&server, &place, &done);
                scope.spawn(move || {
                    let mut sent = 0usize;
                    while !done.load(Ordering::SeqCst) || sent == 0 {
                        let lines: String = numbered(200).replace("app[1]", &format!("s{sender}r{sent}[1]"));
                        let file = place.file(&format!("lines-{sender}-{sent}"), lines);
                        server.run(&["import", &text(&file)]).with(0);
                        sent += 1;
                    }
                    sent * 200
                })
            })
            .collect();
        for key in ["log", "mac", "log", "mac"] {
            server.run(&["keys", "rotate", key]).with(0);
            server.run(&["verify", "--pin", &auditor.pin, "--verifier-key", &auditor.verifier_key]).with(0);
        }
        done.store(true, Ordering::SeqCst);
        let sent: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        // One entry for the token, four for the rotations.
        until("everything to be counted", || {
            let integrity = server.run(&["keys", "--json"]).with(0).json();
            integrity["key_changes"].as_array().unwrap().len() == 4
        });
        let count = server.run(&["count", "--json"]).with(0).json();
        assert_eq!(count["count"], sent);
    });
    server.stop();
    let verdict = auditor.verify(&place, &[&auditor.pin], &[]).with(0).json();
    assert_eq!((&verdict["sealed"]["younger"], &verdict["macs"]["younger"]), (&0.into(), &0.into()), "{verdict}");
    // The next start takes up the newest keys.
    let server = place.serve();
    server.run(&["verify", "--pin", &auditor.pin]).with(0);
    server.stop();
}

#[test]
fn killed_while_keys_are_rotated_it_goes_on_with_whole_keys() {
    let place = Place::new();
    let auditor = Auditor::of(&place);
    let mut told = 0;
    for round in 0..6 {
        let server = place.serve();
        let lines = numbered(300).replace("app[1]", &format!("round{round}[1]"));
        server.run(&["import", &text(&place.file(&format!("lines-{round}"), lines))]).with(0);
        std::thread::scope(|scope| {
            let rotating = scope.spawn(|| {
                let mut done = 0;
                // Until the server is gone in the middle of one.
                while server.run(&["keys", "rotate", if done % 2 == 0 { "log" } else { "mac" }]).code == 0 {
                    done += 1;
                }
                done
            });
            let before = told;
            until("a rotation", || {
                let said = server.run(&["keys", "--json"]).with(0).json();
                told = said["key_changes"].as_array().unwrap().len();
                told > before + round
            });
            let kill = format!("kill -KILL {}", server.id());
            assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            rotating.join().unwrap();
        });
        drop(server);
        let verdict = auditor.verify(&place, &[&auditor.pin], &[]).with(0).json();
        assert!(verdict["macs"]["unproven"].is_null() && verdict["macs"]["younger"] == 0, "{verdict}");
        let server = place.serve();
        let names: Vec<String> = std::fs::read_dir(place.keys())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".next") || name.ends_with(".old"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
        told = server.run(&["keys", "--json"]).with(0).json()["key_changes"].as_array().unwrap().len();
        server.stop();
    }
    auditor.verify(&place, &[&auditor.pin], &[]).with(0);
}

#[test]
fn a_tampered_statement_is_named() {
    let place = Place::new();
    let auditor = Auditor::of(&place);
    place.run(&["import", &text(&place.file("lines", numbered(20)))]).with(0);
    place.run(&["keys", "rotate", "log"]).with(0);
    let database = rusqlite::Connection::open(place.data().join("sceau.db")).unwrap();
    let statement = "UPDATE state SET value = replace(value, 'lost -', 'lost heads') WHERE collection = 'keys'";
    assert_eq!(database.execute(statement, []).unwrap(), 1);
    drop(database);
    let verdict = auditor.verify(&place, &[&auditor.pin], &[]).with(4).json();
    let faults = verdict["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| fault["kind"] == "keys" && fault["first"] == 20), "{verdict}");
}

#[test]
fn a_lost_key_directory_means_a_new_chain_that_is_said() {
    let place = Place::new();
    let auditor = Auditor::of(&place);
    place.run(&["import", &text(&place.file("lines", numbered(600)))]).with(0);
    let kept = text(&place.file("kept", place.run(&["checkpoint"]).with(0).out));
    std::fs::remove_dir_all(place.keys()).unwrap();
    let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1).err;
    assert!(refused.contains("sceau keys replace"), "{refused}");
    assert!(!place.keys().exists(), "no keys are made unasked");
    place.run(&["keys", "replace"]).with(2);
    let replace = ["keys", "replace", "--i-have-lost-the-keys", "--pin", &auditor.pin, "--json"];
    let replaced = place.run(&replace).with(0).json();
    let second = replaced["epoch_key"].as_str().unwrap();
    assert_eq!((&replaced["index"], replaced["lost"].as_array().unwrap().len()), (&600.into(), 4), "{replaced}");
    let server = place.serve();
    server.run(&["import", &text(&place.file("more", numbered(300)))]).with(0);
    server.run(&["verify", "--pin", &auditor.pin, "--pin", second]).with(0);
    server.stop();

    let told = |said: &Said| {
        let verdict = said.json();
        let notes = verdict["notes"].as_array().unwrap();
        assert!(
            notes.iter().any(|note| note.as_str().unwrap().contains("entry 600 says that keys were lost")),
            "{verdict}"
        );
        verdict
    };
    let none = told(&auditor.verify(&place, &[], &[]).with(0));
    assert!(none["sealed"]["unproven"].as_str().unwrap().contains("no pinned key"), "{none}");
    assert!(none["macs"]["unproven"].as_str().unwrap().contains("entries 0 to 511"), "{none}");
    let one = told(&auditor.verify(&place, &[&auditor.pin], &["--since-checkpoint", &kept]).with(0));
    assert_eq!((&one["sealed"]["up_to"], &one["anchored"]["up_to"]), (&599.into(), &599.into()), "{one}");
    assert!(one["sealed"]["unproven"].as_str().unwrap().contains("not pinned"), "{one}");
    let two = told(&auditor.verify(&place, &[&auditor.pin, second], &[]).with(0));
    assert!(two["sealed"]["unproven"].is_null() && two["sealed"]["younger"] == 0, "{two}");
    let later = told(&auditor.verify(&place, &[second], &[]).with(0));
    assert!(later["sealed"]["unproven"].as_str().unwrap().contains("is not pinned"), "{later}");
    let wrong = auditor.verify(&place, &["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], &[]).with(4).json();
    assert_eq!(wrong["faults"][0]["kind"], "pin", "{wrong}");
    // For people, in words.
    let words = place.run(&["verify", "--pin", &auditor.pin]).with(0).out;
    assert!(words.contains("a new chain of seals begins at epoch"), "{words}");
    let replaced = place.run(&["keys"]).with(0).out;
    assert!(replaced.contains(second) && replaced.contains("as keys were lost"), "{replaced}");
    let again = place.run(&replace).with(1).err;
    assert!(again.contains("nothing is lost"), "{again}");
}

#[test]
fn a_key_directory_that_others_can_reach_is_refused() {
    let place = Place::new();
    place.init();
    let keys = place.keys();
    let serve = || place.run(&["serve", "--listen", "127.0.0.1:0"]);
    let set = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let refused = |words: &[&str]| {
        let said = serve().with(1).err;
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    };
    for name in ["log.key", "mac.key", "epoch.key", "heads", "origin"] {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
            set(&keys.join(name), mode);
            refused(&[name, "chmod 0600"]);
        }
        set(&keys.join(name), 0o600);
    }
    for mode in [0o750, 0o705, 0o770, 0o777, 0o711] {
        set(&keys, mode);
        refused(&["chmod 0700"]);
    }
    set(&keys, 0o700);
    // A directory above, in which anybody could put another in its place.
    for mode in [0o777, 0o757] {
        set(place.dir.path(), mode);
        refused(&["can be replaced by others"]);
    }
    set(place.dir.path(), 0o1777);
    place.run(&["keys", "rotate", "log"]).with(0);
    set(place.dir.path(), 0o700);
    // Symbolic links in the place of the directory or a file.
    let aside = place.dir.path().join("aside");
    std::fs::rename(keys.join("mac.key"), &aside).unwrap();
    symlink(&aside, keys.join("mac.key")).unwrap();
    refused(&["mac.key", "not a plain file"]);
    std::fs::remove_file(keys.join("mac.key")).unwrap();
    std::fs::rename(&aside, keys.join("mac.key")).unwrap();
    std::fs::rename(&keys, &aside).unwrap();
    symlink(&aside, &keys).unwrap();
    refused(&["not a directory"]);
    std::fs::remove_file(&keys).unwrap();
    std::fs::rename(&aside, &keys).unwrap();
    // Inside the data directory, straight or round a corner, and the other way round.
    let inside = place.data().join("keys");
    let corner = place.dir.path().join("corner");
    symlink(place.data(), &corner).unwrap();
    for (data, keys) in [
        (place.data(), inside.clone()),
        (place.data(), corner.join("keys")),
        (place.data(), place.data()),
        (keys.join("data"), keys.clone()),
    ] {
        let mut init = common::sceau();
        init.args(["init", "--data-dir"]).arg(data).arg("--key-dir").arg(&keys);
        let said = common::run(&mut init).with(1).err;
        assert!(said.contains("data directory"), "{said}");
    }
    assert!(!inside.exists());
    place.run(&["verify"]).with(0);
}

#[test]
fn keys_of_somebody_else_are_refused() {
    let place = Place::new();
    place.init();
    let change = |path: &Path, owner: u32| std::os::unix::fs::chown(path, Some(owner), None);
    let file = place.keys().join("mac.key");
    if change(&file, 12_345).is_err() {
        return common::skip("keys of somebody else", "only an administrator can give a file away");
    }
    let refused = |words: &str| {
        let said = place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1).err;
        assert!(said.contains(words), "{said}");
    };
    refused("belongs to the user 12345");
    change(&file, 0).unwrap();
    change(place.dir.path(), 12_345).unwrap();
    refused("can be replaced by others");
    change(place.dir.path(), 0).unwrap();
    place.run(&["verify"]).with(0);
}

#[test]
fn a_second_mount_of_the_data_directory_is_seen_through() {
    let place = Place::new();
    let (data, mount) = (place.data(), place.dir.path().join("mount"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&mount).unwrap();
    let mounted = std::process::Command::new("mount").arg("--bind").args([&data, &mount]).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        return common::skip("a second mount", "a directory can't be mounted a second time here");
    }
    let mut init = common::sceau();
    init.args(["init", "--data-dir"]).arg(&data).arg("--key-dir").arg(mount.join("keys"));
    let said = common::run(&mut init);
    let unmounted = std::process::Command::new("umount").arg(&mount).status().unwrap();
    assert!(said.err.contains("inside the data directory"), "{said:?}");
    assert!(unmounted.success());
}
