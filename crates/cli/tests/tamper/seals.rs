//! The chain of seals: links dropped, exchanged, edited and signed by the wrong keys.

use rusqlite::params;
use sceau_ledger::{EpochKey, EpochPublic, Seal, SealBody};
use sceau_server::KeyDir;

use crate::{
    common::Place,
    edit::sql,
    forge::{put_seal, seals},
    victim::{Victim, database, whole, without_keys},
};

#[test]
fn dropped_seals_are_named() {
    let victim = Victim::get();
    let last = victim.facts.seals.len() - 1;
    for epoch in 0..last {
        victim.named(&format!("the seal of epoch {epoch} dropped"), &[whole("seal_chain")], |data| {
            sql(data, &format!("DELETE FROM seal WHERE epoch = {epoch}"));
        });
    }
    let ends = ["epoch = (SELECT max(epoch) FROM seal)", "epoch >= 1", "epoch >= 0"];
    for end in ends {
        victim.named(&format!("the last seals dropped: {end}"), &[whole("seal_chain")], |data| {
            sql(data, &format!("DELETE FROM seal WHERE {end}"));
        });
    }
}

/// Without the key directory nothing shows how many seals there were; what is left says how far it reaches.
#[test]
fn the_last_seals_dropped_without_the_key_directory_are_said_to_be_missing_cover() {
    let victim = Victim::get();
    let copy = victim.copy();
    sql(&copy.data(), "DELETE FROM seal WHERE epoch >= 2");
    let said = without_keys(&copy, &["--pin", &victim.facts.pin]).with(0);
    let (covered, younger) = (victim.facts.seals[1], victim.facts.size - victim.facts.seals[1]);
    let reach = format!("sealed to entry {} under pinned key {}; {younger} younger", covered - 1, victim.facts.pin);
    assert!(said.out.replace(',', "").contains(&reach), "{reach}: {}", said.out);
    sql(&copy.data(), "DELETE FROM seal");
    let said = without_keys(&copy, &["--pin", &victim.facts.pin]).with(0);
    assert!(said.out.contains("nothing is sealed."), "{}", said.out);
}

#[test]
fn exchanged_seals_are_named() {
    let victim = Victim::get();
    let exchanged = [whole("seal"), whole("seal"), whole("seal_chain"), whole("seal_chain")];
    victim.named("the texts of two seals exchanged", &exchanged, |data| {
        let connection = database(data);
        let text = |epoch: i64| -> String {
            connection.query_row("SELECT text FROM seal WHERE epoch = ?1", [epoch], |row| row.get(0)).unwrap()
        };
        let (one, other) = (text(1), text(2));
        for (epoch, text) in [(1, other), (2, one)] {
            connection.execute("UPDATE seal SET text = ?1 WHERE epoch = ?2", params![text, epoch]).unwrap();
        }
    });
    victim.named("a seal under another number", &[whole("seal")], |data| {
        sql(data, "UPDATE seal SET epoch = 1000 WHERE epoch = (SELECT max(epoch) FROM seal)");
    });
    victim.named("a seal that comes twice", &[whole("seal"), whole("seal_chain")], |data| {
        sql(data, "INSERT INTO seal SELECT 1000, text FROM seal WHERE epoch = 1");
    });
}

#[test]
fn edited_seals_are_named() {
    let victim = Victim::get();
    let malformed = [whole("seal"), whole("seal_chain")];
    for (line, edited, wanted) in [
        ("size ", "size 1", &[whole("seal"), whole("seal_chain"), whole("seal_chain")][..]),
        ("time ", "time 1", &[whole("seal"), whole("seal_chain"), whole("time")]),
        ("root ", "root A", &malformed),
        ("next ", "next A", &malformed),
    ] {
        let edit = format!(
            "UPDATE seal SET text = replace(text, char(10) || '{line}', char(10) || '{edited}') WHERE epoch = 1"
        );
        victim.named(&format!("the line {line:?} of a seal"), wanted, |data| sql(data, &edit));
    }
    victim.named("a checkpoint in the place of a seal", &malformed, |data| {
        sql(data, "UPDATE seal SET text = (SELECT max(note) FROM checkpoint) WHERE epoch = 1");
    });
}

/// A seal of epoch 1 that the thief signs again, changed or not, with a key that the server has now.
#[test]
fn seals_signed_again_are_named() {
    let victim = Victim::get();
    for (what, key) in [("the log key", log_key as fn(&Place) -> EpochKey), ("the present epoch's key", epoch_key)] {
        for (how, change) in [
            ("as it was", (|_| ()) as fn(&mut SealBody)),
            ("with another time", |body| body.time_micros += 1),
            ("with another key to come", |body| body.next = EpochPublic([3; 32])),
        ] {
            let copy = victim.copy();
            let old = seals(&copy).remove(1);
            let mut body = old.body().clone();
            change(&mut body);
            put_seal(&database(&copy.data()), &Seal::close(body.clone(), &key(&copy)).unwrap());
            // The next seal names the hash of the one before it, and is signed by the key that this one names.
            let other_key = Some(whole("seal")).filter(|_| body.next == EpochPublic([3; 32]));
            let wanted: Vec<String> = [whole("seal"), whole("seal_chain")].into_iter().chain(other_key).collect();
            victim.names(&format!("signed with {what} {how}"), &copy, &sorted(wanted));
        }
    }
}

fn sorted(mut kinds: Vec<String>) -> Vec<String> {
    kinds.sort();
    kinds
}

fn epoch_key(place: &Place) -> EpochKey {
    let slot = KeyDir::open(&place.keys(), Some(&place.data())).unwrap().epoch_slots().unwrap().pop().unwrap();
    EpochKey::from_seed(1, &slot.key().seed())
}

/// The log key's seed lies in its text as base64, behind one byte that says which algorithm it is for.
fn log_key(place: &Place) -> EpochKey {
    let secret = KeyDir::open(&place.keys(), Some(&place.data())).unwrap().log_key().to_secret();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let coded = secret.trim().splitn(5, '+').last().unwrap();
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in coded.chars().filter_map(|letter| alphabet.find(letter)) {
        (bits, count) = (bits << 6 | u32::try_from(digit).unwrap(), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    EpochKey::from_seed(1, bytes[1..].try_into().unwrap())
}
