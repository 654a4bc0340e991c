//! Detection on a log in a database.

use crate::{
    common::detect::{Detecting, MOST_ROUNDS},
    database::Database,
    log::{Log, random, rounds},
};

#[test]
fn windows_that_were_kept_in_mid_burst_go_on_after_a_kill() {
    let Some(database) = Database::start("kills of detection on MongoDB") else { return };
    let log = Log::new(&database);
    let killed = Detecting {
        start: &|| log.detect(),
        run: &|args| log.run(args),
        file: &|name, lines| log.place.file(name, lines),
        logged: &|| log.place.log(),
    };
    killed.is_killed_behind_snapshots(rounds(4).min(MOST_ROUNDS), &mut random());
    log.verify();
}
