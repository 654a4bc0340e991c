//! A MongoDB-compatible server of a test's own: `secantusd-rs`, a separate process.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use mongodb::{Client, Database};
use tempfile::TempDir;

#[path = "../../../cli/tests/common/shared.rs"]
mod shared;

const PROGRAM: &str = "secantusd-rs";

/// A running server; it ends with the test.
pub struct Server {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Server {
    /// Starts one; `None` where the program is not installed, which is said.
    pub fn start(what: &str) -> Option<Self> {
        let Some(program) = installed() else {
            shared::skip(what, &format!("{PROGRAM} is not installed: see docs/mongodb.md"));
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", "0", "--cache-size", "128MB", "--storage-path"]);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        command.arg(directory.path().join("data")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("listening on ")?;
            Some(address.trim().to_owned())
        });
        // All that it says is read: a full pipe would stop it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self { child, address: address.unwrap(), _directory: directory })
    }

    pub async fn database(&self) -> Database {
        let uri = format!("mongodb://{}/?directConnection=true", self.address);
        Client::with_uri_str(uri).await.unwrap().database("sceau")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    directories.extend(std::env::home_dir().map(|home| home.join(".cargo/bin")));
    directories.into_iter().map(|directory| directory.join(PROGRAM)).find(|path| path.is_file())
}
