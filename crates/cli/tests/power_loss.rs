//! Power loss: an XFS file system is forced down while the server writes to it. What was acknowledged is there.
//!
//! Needs root, `mkfs.xfs`, `xfs_io` and loop devices. `SCEAU_POWER_ROUNDS` says how often (4), `SCEAU_TORTURE_SEED`
//! repeats a run's choices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{
    Place, Server,
    http::Client,
    load::{self, Fate, Random, Request, Shared},
    run, sceau, skip,
};

/// Connections at once.
const CONNECTIONS: usize = 3;
/// Bytes of the disk; `mkfs.xfs` makes none below 300 MiB. The file is sparse.
const DISK: u64 = 512 << 20;

/// A file system of our own; unmounted when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes and mounts it.
    ///
    /// # Errors
    /// Why that can't be done here.
    fn new(directory: &Path) -> Result<Self, String> {
        let disk = Self { image: directory.join("disk.img"), at: directory.join("disk") };
        std::fs::File::create(&disk.image).and_then(|file| file.set_len(DISK)).unwrap();
        std::fs::create_dir(&disk.at).unwrap();
        command("mkfs.xfs", &["-q", "-f"], Some(&disk.image))?;
        command("xfs_io", &["-V"], None)?;
        disk.mount()?;
        Ok(disk)
    }

    /// The loop device goes when the file system does.
    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        done(mount.args(["-t", "xfs", "-o", "loop"]).arg(&self.image).arg(&self.at))
    }

    fn unmount(&self) -> Result<(), String> {
        command("umount", &[], Some(&self.at))
    }

    /// From here on nothing reaches the disk, not even what the file system had only in memory.
    fn pull_the_plug(&self) {
        command("xfs_io", &["-x", "-c", "shutdown"], Some(&self.at)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also in the midst of a panic, with a server that still has files open.
        if self.unmount().is_err() {
            let _ = command("umount", &["-l"], Some(&self.at));
        }
    }
}

fn command(program: &str, args: &[&str], path: Option<&Path>) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(args).args(path);
    done(&mut command)
}

fn done(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {told}")) }
}

/// A log on a disk of its own. The order of its fields is that of their end.
struct Victim {
    disk: Disk,
    place: Place,
    pin: String,
    sent: Vec<Request>,
    shared: Arc<Shared>,
}

impl Victim {
    fn new() -> Result<Self, String> {
        let mut place = Place::new();
        let disk = Disk::new(place.dir.path())?;
        place.root.clone_from(&disk.at);
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        Ok(Self { disk, place, pin, sent: Vec::new(), shared: Arc::default() })
    }

    fn serve(&self) -> Server {
        let mut serve = self.place.serving("127.0.0.1:0");
        self.place.serve_as(serve.args(["--segment-entries", "2048", "--seal-after", "1"]))
    }

    /// Loads the server; the power goes at a random moment. What was published before that.
    fn lose_power(&mut self, random: &mut Random) -> Option<String> {
        let server = self.serve();
        self.shared.stop.store(false, Ordering::Relaxed);
        self.shared.disk.store(load::DISK_THERE, Ordering::SeqCst);
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (url, shared, random) = (server.url.clone(), self.shared.clone(), Random(random.next()));
                std::thread::spawn(move || load::drive(&url, random, &shared))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + random.below(1_500)));
        let published = Client::connect(&server.url).and_then(|mut client| client.get("/log/checkpoint")).unwrap();
        self.shared.disk.store(load::DISK_GOING, Ordering::SeqCst);
        self.disk.pull_the_plug();
        self.shared.disk.store(load::DISK_GONE, Ordering::SeqCst);
        // For a moment the server goes on without its disk: it must not acknowledge anything then.
        std::thread::sleep(Duration::from_millis(random.below(100)));
        self.shared.stop.store(true, Ordering::Relaxed);
        server.kill();
        for client in clients {
            self.sent.extend(client.join().unwrap());
        }
        self.disk.unmount().unwrap();
        self.disk.mount().unwrap();
        (published.status == 200).then(|| String::from_utf8(published.body).unwrap())
    }

    fn check(&mut self, published: Option<&str>) {
        let mut verify = sceau();
        verify.args(["verify", "--json", "--pin", &self.pin]);
        if let Some(published) = published {
            verify.arg("--since-checkpoint").arg(self.place.file("kept", published));
        }
        verify.arg("--data-dir").arg(self.place.data()).arg("--key-dir").arg(self.place.keys());
        run(&mut verify).with(0);
        let server = self.serve();
        let entries = load::entries(&mut Client::connect(&server.url).unwrap(), 0);
        let there = load::check(&self.sent, &entries, 0);
        server.stop();
        // Nobody asks for the unanswered ones again.
        self.sent.retain(|request| matches!(request.fate, Fate::Kept(_)) || there.contains_key(&request.number));
    }
}

#[test]
fn what_was_acknowledged_survives_power_loss() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("SCEAU_POWER_ROUNDS").unwrap_or(4);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let seed = number("SCEAU_TORTURE_SEED").unwrap_or(u64::try_from(now & 0xFFFF_FFFF).unwrap());
    let mut random = Random(seed);
    let mut victim = match Victim::new() {
        Ok(victim) => victim,
        Err(why) => return skip("power loss", &why),
    };
    eprintln!("{rounds} rounds, SCEAU_TORTURE_SEED={seed}");
    // What `init` has made is there to stay as soon as it says so.
    victim.disk.pull_the_plug();
    victim.disk.unmount().unwrap();
    victim.disk.mount().unwrap();
    victim.check(None);
    for _ in 0..rounds {
        let published = victim.lose_power(&mut random);
        victim.check(published.as_deref());
    }
    let kept = victim.sent.iter().filter(|request| matches!(request.fate, Fate::Kept(_))).count();
    eprintln!("{rounds} power losses, {kept} acknowledged requests");
    assert!(kept > 0);
}
