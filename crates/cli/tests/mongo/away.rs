//! The database is away, slow or full, or the connection to it is cut: nothing acknowledged is lost, nothing forks, whoever
//! comes meanwhile gets 503, and the log goes on by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    common::{Server, http::Client, skip, until},
    database::Database,
    log::{Load, Log, is_away, random},
    proxy::{Cut, How, Place, Proxy, Side},
};

/// More messages than a commit ever has.
const MESSAGES: u64 = 60;

/// A log behind a proxy.
struct Cutting {
    proxy: Proxy,
    server: Server,
    load: Load,
}

impl Cutting {
    /// Cuts a commit there; whether it came to that.
    fn cut(&mut self, cut: Cut) -> bool {
        loop {
            let (cut, status) = self.attempt(cut);
            if cut || status == 200 {
                return cut;
            }
            // It was refused because of the cut before.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn attempt(&mut self, cut: Cut) -> (bool, u16) {
        self.proxy.cut(cut);
        let (proxy, load, url) = (&self.proxy, &mut self.load, &self.server.url);
        std::thread::scope(|scope| {
            let mut client = Client::connect(url).unwrap();
            let sent = scope.spawn(move || load.send(&mut client, 3, true).unwrap());
            until("the cut or an answer", || proxy.has_cut() || sent.is_finished());
            if cut.stays && proxy.has_cut() {
                // Long enough for what is tried again at once to fail as well.
                std::thread::sleep(Duration::from_millis(300));
            }
            let cut = proxy.has_cut();
            proxy.heal();
            let status = sent.join().unwrap();
            assert!(status == 200 || status == 503, "{status}");
            (cut, status)
        })
    }
}

#[test]
fn a_connection_cut_at_any_message_of_a_commit_loses_nothing_and_forks_nothing() {
    let Some(database) = Database::start("connections to MongoDB cut at every message of a commit") else { return };
    let proxy = Proxy::start(database.address());
    let mut log = Log::new(&database);
    log.go_through(&proxy);
    let server = log.serve();
    let mut cutting = Cutting { proxy, server, load: Load::default() };
    let mut cuts = 0;
    for stays in [false, true] {
        for side in [Side::ToServer, Side::ToClient] {
            for place in [Place::Before, Place::Within, Place::After] {
                let passed = (1..MESSAGES).find(|&nth| {
                    let how = if nth % 2 == 0 { How::Close } else { How::Reset };
                    let cut = cutting.cut(Cut { side, nth, place, how, transactions: true, stays });
                    cuts += u64::from(cut);
                    !cut
                });
                assert!(passed.is_some_and(|passed| passed > 3), "{side:?} {place:?}: {passed:?}");
                cutting.load.check(&cutting.server);
            }
        }
    }
    cutting.server.stop();
    log.verify();
    eprintln!("{cuts} cuts, {} entries", cutting.load.len());
}

#[test]
fn a_database_that_comes_and_goes_is_waited_for() {
    let Some(database) = Database::start("a slow MongoDB, and one that comes and goes") else { return };
    let proxy = Proxy::start(database.address());
    let (mut log, mut load, mut random) = (Log::new(&database), Load::default(), random());
    log.go_through(&proxy);
    let server = log.serve();
    load.during(&server, &mut random, |shared| {
        let kept = || shared.kept.load(std::sync::atomic::Ordering::Relaxed);
        let more = |more: u64| {
            let wanted = kept() + more;
            until("acknowledged requests", || kept() >= wanted);
        };
        more(3);
        proxy.delay(Duration::from_millis(100));
        more(3);
        proxy.heal();
        for side in [Side::ToServer, Side::ToClient] {
            proxy.hold(side, "");
            proxy.until_held();
            proxy.heal();
            more(3);
        }
        for how in [How::Close, How::Reset] {
            proxy.down(how);
            until("a refusal that says when to come again", || is_away(&server.url));
            proxy.heal();
            more(3);
        }
    });
    load.check(&server);
    server.stop();
    log.verify();
}

/// A small file system in a file; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn new(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).unwrap();
        let image = at.with_extension("img");
        std::fs::File::create(&image).and_then(|file| file.set_len(512 << 20)).unwrap();
        done(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// Fills what is free, but for a little.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let zeros = vec![0; 256 << 10];
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
        let left = file.metadata().unwrap().len().saturating_sub(2 << 20);
        file.set_len(left).unwrap();
        ballast
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {told}")) }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_of_the_database_stops_nothing_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let small = match Small::new(&directory.path().join("small")) {
        Ok(small) => small,
        Err(why) => {
            return skip("a full disk under MongoDB", &format!("needs root, mkfs.ext4 and loop devices: {why}"));
        }
    };
    let Some(mut database) = Database::start_at("a full disk under MongoDB", &small.0.join("db")) else { return };
    let (log, mut load, mut random) = (Log::new(&database), Load::default(), random());
    let server = log.serve();
    load.during(&server, &mut random, |shared| {
        let kept = || shared.kept.load(std::sync::atomic::Ordering::Relaxed);
        let ballast = small.fill();
        until("a refusal that says when to come again", || is_away(&server.url));
        std::fs::remove_file(ballast).unwrap();
        // A server whose disk was full may have ended, or takes nothing until it is started again.
        database.kill();
        database.restart();
        let wanted = kept() + 3;
        until("acknowledged requests", || kept() >= wanted);
    });
    load.check(&server);
    server.stop();
    log.verify();
    // What has files open there goes first.
    drop(database);
    drop(small);
}
