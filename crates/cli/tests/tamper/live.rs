//! The database and files changed under a running server.

use crate::{
    edit::{edit_tail, replace, segment_file, sql},
    victim::{Victim, listed},
};

#[test]
fn what_is_changed_under_a_running_server_is_named_by_it() {
    let victim = Victim::get();
    let copy = victim.copy();
    let server = copy.serve();
    server.run(&["verify", "--pin", &victim.facts.pin]).with(0);
    let (data, sealed, newest) = (copy.data(), victim.facts.tail + 60, victim.facts.unsealed + 60);
    for index in [sealed, newest] {
        edit_tail(&data, index, |place, batch| replace(&mut batch.lines[place], "failed", "passed"));
    }
    sql(&data, "UPDATE state SET value = replace(value, 'admin', 'mallory') WHERE collection = 'tokens'");
    std::fs::remove_file(segment_file(&data, 512)).unwrap();
    let late = victim.late();
    let said = server.run(&["verify", "--json", "--pin", &victim.facts.pin, "--since-checkpoint", &late]).with(4);
    let found = listed(&said);
    for wanted in [
        crate::victim::at("entry_changed", sealed),
        crate::victim::at("entry_changed", newest),
        crate::victim::range("segment", 512, 1_023),
    ] {
        assert!(found.contains(&wanted), "{wanted}: {said:#?}");
    }
    assert!(found.iter().any(|fault| fault.starts_with("state at ")), "{said:#?}");
    let people = server.run(&["verify"]).with(4);
    assert!(people.out.contains(&format!("fault: entry_changed at {sealed}: ")), "{people:#?}");
    server.kill();
}
