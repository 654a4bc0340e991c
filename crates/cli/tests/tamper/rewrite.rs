//! Whoever holds the database and every key that the server has now rewrites history and signs it again.

use crate::{
    edit::replace,
    forge::{Forge, seals},
    victim::{Victim, clean, names, range, whole, without_keys},
};

/// An entry that the early checkpoint and the first seal cover.
const OLD: u64 = 300;

fn passed(index: u64) -> impl FnOnce(&mut Vec<Vec<u8>>) {
    move |entries| replace(&mut entries[usize::try_from(index).unwrap()], "failed", "passed")
}

/// Entries, hashes, codes, checkpoints, a chain of seals and the note: all anew.
#[test]
fn all_history_signed_again_is_caught_by_the_pin_and_by_an_outside_head_alone() {
    let (victim, copy) = (Victim::get(), Victim::get().copy());
    let forge = Forge::of(&copy, victim.facts.size, passed(OLD));
    forge.put_entries();
    forge.put_checkpoints();
    let plan: Vec<_> = seals(&copy).iter().map(|seal| (seal.body().head.size.0, seal.body().time_micros)).collect();
    forge.put_seals(&plan);
    drop(forge);

    let (pin, early) = (victim.facts.pin.as_str(), victim.early());
    names("with the pin", &copy, &["--pin", pin], &[whole("pin")]);
    let anchor = [range("outside_head", 0, victim.facts.early - 1)];
    names("with the early checkpoint", &copy, &["--since-checkpoint", &early], &anchor);

    // The keys that it was made with have nothing to say against it; neither have they for an auditor.
    for said in [clean(&copy, &[]), without_keys(&copy, &[]).with(0)] {
        for unproven in [
            "Unproven: no pinned key was given, so the chain's first key is the store's own word.",
            "nothing is anchored. Unproven: no checkpoint kept elsewhere fits this log or none was given.",
            "no fault was found, as far as these guards reach.",
        ] {
            assert!(said.out.contains(unproven), "{unproven}: {}", said.out);
        }
    }
    // The server, too, goes on with it.
    let server = copy.serve();
    server.run(&["verify", "--pin", pin]).with(4);
    server.run(&["verify", "--since-checkpoint", &early]).with(4);
    server.run(&["verify"]).with(0);
    server.stop();
}

/// The thief can't sign old seals, so he leaves them: they don't fit the entries any more.
#[test]
fn all_history_with_the_true_seals_is_caught_by_them() {
    let (victim, copy) = (Victim::get(), Victim::get().copy());
    let forge = Forge::of(&copy, victim.facts.size, passed(OLD));
    forge.put_entries();
    forge.put_checkpoints();
    drop(forge);
    let said =
        names("the true seals", &copy, &["--pin", &victim.facts.pin], &[range("seal", 0, victim.facts.unsealed - 1)]);
    assert!(said.out.contains("the seal of epoch 1 of size 602 contradicts"), "{said:#?}");
}

/// What is sealed stays; what no seal covers yet is the thief's to write, until an outside head covers it.
#[test]
fn what_is_not_sealed_yet_can_be_rewritten_and_is_said_to_be_uncovered() {
    let (victim, copy) = (Victim::get(), Victim::get().copy());
    let (facts, index) = (&victim.facts, victim.facts.unsealed + 60);
    let forge = Forge::of(&copy, facts.size, passed(index));
    forge.put_entries();
    forge.put_checkpoints();
    drop(forge);
    let said = clean(&copy, &["--pin", &facts.pin, "--since-checkpoint", &victim.early()]);
    let sealed = facts.seals.last().unwrap();
    let uncovered = format!(
        "sealed to entry {} under pinned key {}; {} younger not covered.",
        sealed - 1,
        facts.pin,
        facts.size - sealed
    );
    assert!(said.out.replace(',', "").contains(&uncovered), "{uncovered}: {}", said.out);
    assert!(said.out.contains(&format!("anchored to entry {} by", facts.early - 1)), "{}", said.out);
    victim.names("the late checkpoint", &copy, &[range("outside_head", *sealed, facts.size - 1)]);
}

/// Both log and chain cut off, and the chain carried on with the key that the server has now: it is not the one that
/// the last seal left names.
#[test]
fn a_chain_carried_on_with_todays_key_is_caught() {
    let (victim, copy) = (Victim::get(), Victim::get().copy());
    let kept = victim.facts.seals[1] + 100;
    let forge = Forge::of(&copy, kept, |_| ());
    let true_seals = seals(&copy);
    forge.put_entries();
    forge.put_checkpoints();
    let plan: Vec<_> =
        true_seals.iter().map(|seal| (seal.body().head.size.0.min(kept), seal.body().time_micros)).collect();
    forge.put_seals(&plan);
    // The first true seals in front of the thief's.
    let database = crate::victim::database(&copy.data());
    true_seals.iter().take(2).for_each(|seal| crate::forge::put_seal(&database, seal));
    let fact = "UPDATE fact SET value = ?1 WHERE name = 'first_epoch_key'";
    database.execute(fact, [&victim.facts.pin]).unwrap();
    drop((database, forge));
    names(
        "another chain behind the first true seal",
        &copy,
        &["--pin", &victim.facts.pin],
        &[whole("seal"), whole("seal_chain"), whole("state")],
    );
}
