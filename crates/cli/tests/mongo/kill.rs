//! SIGKILL, of the server and of the database, while both are loaded.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    common::{load::Shared, until},
    database::Database,
    log::{Load, Log, is_away, random, rounds},
    proxy::{Proxy, Side},
};

/// The longest that a server is loaded before it is killed.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits until so many more requests were acknowledged.
fn acknowledged(shared: &Shared, more: u64) {
    let wanted = shared.kept.load(Ordering::Relaxed) + more;
    until("acknowledged requests", || shared.kept.load(Ordering::Relaxed) >= wanted);
}

#[test]
fn what_was_acknowledged_survives_every_kill_of_the_server() {
    let Some(database) = Database::start("kills of a server on MongoDB") else { return };
    let (log, mut load, mut random) = (Log::new(&database), Load::default(), random());
    let rounds = rounds(8);
    for round in 0..rounds {
        let server = log.serve();
        load.check(&server);
        let (more, time) = (random.below(60), Duration::from_millis(random.below(400)));
        load.during(&server, &mut random, |shared| {
            let (begun, before) = (Instant::now(), shared.kept.load(Ordering::Relaxed));
            while begun.elapsed() < LONGEST && shared.kept.load(Ordering::Relaxed) < before + more {
                std::thread::sleep(Duration::from_micros(500));
            }
            std::thread::sleep(time);
            server.signal("KILL");
        });
        if round % 10 == 9 {
            log.verify();
        }
    }
    let server = log.serve();
    load.check(&server);
    server.stop();
    log.verify();
    eprintln!("{rounds} kills of the server, {} entries", load.len());
}

/// The moments that matter most, each hit for sure: the commit did not arrive; it arrived, and the answer did not.
#[test]
fn a_server_killed_in_the_middle_of_a_commit_leaves_all_of_it_or_nothing() {
    let Some(database) = Database::start("kills of a server within a commit on MongoDB") else { return };
    let (mut log, mut load, mut random) = (Log::new(&database), Load::default(), random());
    let proxy = Proxy::start(database.address());
    log.go_through(&proxy);
    for (side, command) in [
        (Side::ToServer, "commitTransaction"),
        (Side::ToClient, "commitTransaction"),
        (Side::ToServer, "insert"),
        (Side::ToClient, "insert"),
    ] {
        let server = log.serve();
        load.check(&server);
        load.during(&server, &mut random, |shared| {
            acknowledged(shared, 3);
            proxy.hold(side, command);
            proxy.until_held();
            server.signal("KILL");
        });
        proxy.heal();
    }
    let server = log.serve();
    load.check(&server);
    server.stop();
    log.verify();
}

#[test]
fn the_log_goes_on_by_itself_after_every_kill_of_the_database() {
    let Some(mut database) = Database::start("kills of MongoDB under load") else { return };
    let (log, mut load, mut random) = (Log::new(&database), Load::default(), random());
    let rounds = rounds(4);
    let server = log.serve();
    for _ in 0..rounds {
        let more = random.below(40);
        load.during(&server, &mut random, |shared| {
            acknowledged(shared, more);
            database.kill();
            until("a refusal that says when to come again", || is_away(&server.url));
            database.restart();
            acknowledged(shared, 3);
        });
        load.check(&server);
    }
    server.stop();
    log.verify();
    eprintln!("{rounds} kills of the database, {} entries", load.len());
}
