//! An older dump in the place of the database.

use super::victim::Victim;
use crate::common::named::{named, range, whole};

#[test]
fn an_older_dump_is_refused_and_named() {
    let Some(victim) = Victim::get() else { return };
    let (early, last) = (victim.facts.early, victim.facts.size - 1);
    let admin = victim.database.admin();
    victim.database.run(victim.older().restore(&admin));
    let size = victim.older().0["logs"].len() as u64;
    assert!(size >= early);

    let refused = victim.log.run(&["serve", "--listen", "127.0.0.1:0"]).with(1);
    assert!(refused.err.contains("older") || refused.err.contains("behind"), "{refused:#?}");
    let wanted = [range("rollback", size, last), whole("seal_chain")];
    victim.names("an older dump", &wanted);
    let said = named("an older dump, without an outside head", |verify| victim.log.run(verify), &wanted);
    assert!(said.out.contains("the key directory noted as committed"), "{}", said.out);
    // Without keys nothing in the database shows it: it is said what is missing, and an outside head shows it.
    let pin = victim.log.pin();
    let said = victim.without_keys(&["--pin", pin]).with(0);
    assert!(said.out.contains("nothing is anchored. Unproven:"), "{}", said.out);
    victim.without_keys(&["--since-checkpoint", &victim.late()]).with(4);
    // With the keys of that time nothing but an outside head shows it.
    victim.older_keys();
    victim.log.run(&["verify", "--pin", pin, "--since-checkpoint", &victim.early()]).with(0);
    victim.names("an older dump and older keys", &[range("rollback", size, last)]);
}
