//! Older copies: of the database, of the data directory, of everything.

use crate::{
    common::{copy::copy_directory, numbered},
    victim::{Victim, clean, names, range, whole, without_keys},
};

#[test]
fn an_older_database_is_refused_and_named() {
    let (victim, place) = (Victim::get(), Victim::get().copy());
    let older = victim.older();
    std::fs::remove_dir_all(place.data()).unwrap();
    copy_directory(&older.data(), &place.data());
    let size = crate::victim::number(&crate::victim::database(&place.data()), "SELECT size FROM head");

    let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1);
    assert!(refused.err.contains("older") || refused.err.contains("behind"), "{refused:#?}");
    let said =
        names("an older copy", &place, &[], &[range("rollback", size, victim.facts.size - 1), whole("seal_chain")]);
    assert!(said.out.contains("the key directory noted as committed"), "{}", said.out);
    // Without keys nothing in the directory shows it: it is said what is missing, and an outside head shows it.
    let said = without_keys(&place, &["--pin", &victim.facts.pin]).with(0);
    assert!(said.out.contains("nothing is anchored. Unproven:"), "{}", said.out);
    assert!(said.out.contains("neither MACs nor its note of the head were checked"), "{}", said.out);
    without_keys(&place, &["--since-checkpoint", &victim.late()]).with(4);
}

#[test]
fn everything_older_is_caught_by_an_outside_head_alone() {
    let victim = Victim::get();
    let older = victim.older();
    let size = crate::victim::number(&crate::victim::database(&older.data()), "SELECT size FROM head");
    let said = clean(&older, &["--pin", &victim.facts.pin]);
    let unproven = "nothing is anchored. Unproven: no checkpoint kept elsewhere fits this log or none was given.";
    assert!(said.out.contains(unproven), "{}", said.out);
    let said = clean(&older, &["--pin", &victim.facts.pin, "--since-checkpoint", &victim.early()]);
    assert!(said.out.contains(&format!("anchored to entry {} by", victim.facts.early - 1)), "{}", said.out);
    victim.names("everything", &older, &[range("rollback", size, victim.facts.size - 1)]);
    // It goes on, as nothing tells it that it is old; the outside head still does.
    let server = older.serve();
    server.run(&["verify", "--since-checkpoint", &victim.late()]).with(4);
    server.stop();
}

/// Cut off behind a seal, "because the keys were lost", and gone on with under keys of the thief's own.
#[test]
fn a_loss_of_keys_that_is_claimed_is_said_and_caught_by_an_outside_head() {
    let victim = Victim::get();
    let older = victim.older();
    std::fs::remove_dir_all(older.keys()).unwrap();
    older.run(&["keys", "replace", "--i-have-lost-the-keys", "--pin", &victim.facts.pin]).with(0);
    let more = older.file("more.log", numbered(2_000));
    older.run(&["import", more.to_str().unwrap()]).with(0);

    let early = victim.early();
    let said = clean(&older, &["--pin", &victim.facts.pin, "--since-checkpoint", &early]);
    let told = format!("note: entry {} says that keys were lost (", victim.facts.early);
    for words in [told.as_str(), "so a new chain of seals begins at epoch", "which is not pinned"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let reach = format!("sealed to entry {} under pinned key {}; ", victim.facts.early - 1, victim.facts.pin);
    assert!(said.out.contains(&reach), "{reach}: {}", said.out);
    // The thief's log is longer than that checkpoint, which the first log key may not have signed by then.
    victim.names("the late checkpoint", &older, &[whole("outside_head")]);
}
