//! Times: the clock of the server set back or forward, the process stopped, an epoch's key kept alive by either.
//!
//! The thief signs seals at times of his choosing, with a chain of his own: nothing but the times is wrong.

use crate::{
    common::{Place, Server, numbered, skip},
    forge::{Forge, seals},
    victim::{Victim, clean, names, range, whole},
};

const HOUR: i64 = 3_600_000_000;

/// The log with seals at other times: so much is added to each, by epoch.
fn sealed_at(victim: &Victim, shift: impl Fn(usize) -> i64) -> Place {
    let copy = victim.copy();
    let forge = Forge::of(&copy, victim.facts.size, |_| ());
    let plan = seals(&copy).into_iter().enumerate();
    let plan: Vec<_> =
        plan.map(|(epoch, seal)| (seal.body().head.size.0, seal.body().time_micros + shift(epoch))).collect();
    forge.put_seals(&plan);
    copy
}

#[test]
fn the_chain_made_anew_at_its_own_times_has_no_fault() {
    clean(&sealed_at(&Victim::get(), |_| 0), &[]);
}

#[test]
fn seals_older_than_their_entries_are_named() {
    let victim = Victim::get();
    let (seals, size) = (&victim.facts.seals, victim.facts.size);
    names("all of them", &sealed_at(&victim, |_| -2 * HOUR), &[], &[range("time", 0, size - 1)]);
    // The clock was set back for one epoch.
    let back = sealed_at(&victim, |epoch| if epoch == 1 { -2 * HOUR } else { 0 });
    let said = names("one", &back, &[], &[range("time", seals[0], seals[1] - 1), whole("time")]);
    assert!(said.out.contains("older than the one before it"), "{}", said.out);
    assert!(said.out.contains("s after the seal that covers it"), "{}", said.out);
}

#[test]
fn seals_younger_than_what_follows_are_named() {
    let victim = Victim::get();
    let (seals, size) = (&victim.facts.seals, victim.facts.size);
    // Entries that say they are older than the seal before them: the clock was set back behind it.
    let ahead = sealed_at(&victim, |epoch| if epoch == 0 { 0 } else { 2 * HOUR });
    let said = names("all but the first", &ahead, &[], &[range("time", seals[1], size - 1)]);
    assert!(said.out.contains("s before the seal before it"), "{}", said.out);
    // Its second epoch was held open for two hours, which a power cut does too: it is told, with its entries.
    let told = format!("with entries {} to {} in it; its key existed for as long", seals[0], seals[1] - 1);
    assert!(said.out.contains("note: epoch 1 was open for 72") && said.out.contains(&told), "{}", said.out);
}

#[test]
fn entries_taken_in_by_an_epoch_that_should_have_ended_are_named() {
    let victim = Victim::get();
    let (copy, first) = (victim.copy(), victim.facts.unsealed);
    let forge = Forge::of(&copy, victim.facts.size, |entries| {
        entries.iter_mut().skip(usize::try_from(first).unwrap()).for_each(a_year_later);
    });
    forge.put_entries();
    forge.put_checkpoints();
    drop(forge);
    let said =
        names("a year later", &copy, &["--pin", &victim.facts.pin], &[range("time", first, victim.facts.size - 1)]);
    assert!(said.out.contains("in an epoch that should have ended long before"), "{}", said.out);
}

/// The receive time comes first in an entry, so its year does too.
fn a_year_later(entry: &mut Vec<u8>) {
    let text = String::from_utf8(std::mem::take(entry)).unwrap();
    let (before, rest) = text.split_once("\"received\":\"").unwrap();
    let (year, rest) = rest.split_at(4);
    let year: u64 = year.parse().unwrap();
    *entry = format!("{before}\"received\":\"{}{rest}", year + 1).into_bytes();
}

/// The library that gives a process another wall clock, if this machine has it.
fn faketime() -> Option<String> {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu", "."]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    if found.is_none() {
        skip("a clock set back and forward under the real server", "libfaketime is not installed");
    }
    found
}

/// A server whose wall clock is off by so much, while its monotonic clock is not.
fn off_by(place: &Place, library: &str, offset: &str) -> Server {
    let mut serve = place.serving("127.0.0.1:0");
    serve.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    place.serve_as(&mut serve)
}

#[test]
fn the_real_server_with_a_clock_set_back_and_forward() {
    let Some(library) = faketime() else { return };
    let victim = Victim::get();
    let pin = ["--pin", victim.facts.pin.as_str()];
    // Set back: receive times and seals go on from what the log has seen, so there is nothing wrong with them.
    let copy = victim.copy();
    let server = off_by(&copy, &library, "-6h");
    let file = copy.file("late.log", numbered(300));
    server.run(&["import", file.to_str().unwrap()]).with(0);
    server.stop();
    assert!(copy.log().contains("the wall clock is behind the log's time"), "{}", copy.log());
    let said = clean(&copy, &pin);
    assert!(!said.out.contains("was open for"), "{}", said.out);

    // Forward over entries that no seal covered yet, as after nine hours without power: their epoch's key existed for
    // as long, and that is told.
    let copy = victim.copy();
    off_by(&copy, &library, "+9h").stop();
    let said = clean(&copy, &pin);
    let (first, last) = (victim.facts.unsealed, victim.facts.size - 1);
    let told = format!("s with entries {first} to {last} in it; its key existed for as long");
    assert!(said.out.contains(&told), "{}", said.out);
    let open = said.out.split_once("was open for ").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0;
    assert!(open.parse::<u64>().unwrap() >= 9 * 3_600, "{}", said.out);
}
