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
    /// Host and port.
    pub address: String,
    directory: TempDir,
}

impl Server {
    /// Starts one; `None` where the program is not installed, which is said.
    pub fn start(what: &str) -> Option<Self> {
        let Some(program) = installed() else {
            shared::skip(what, &format!("{PROGRAM} is not installed: see docs/mongodb.md"));
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let (child, address) = run(program, &directory, &[]);
        Some(Self { child, address, directory })
    }

    /// Ends it as a power cut would, and starts it again on the same data and another port.
    pub fn restart(&mut self, arguments: &[&str]) {
        self.kill();
        (self.child, self.address) = run(installed().unwrap(), &self.directory, arguments);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Where a database of it is, for a user if there is one: `name:password@`.
    pub fn uri(&self, user: &str, database: &str) -> String {
        format!("mongodb://{user}{}/{database}?replicaSet=secantus&authSource=admin", self.address)
    }

    /// A database past the product, for a user if there is one.
    pub async fn database_as(&self, user: &str, database: &str) -> Database {
        Client::with_uri_str(self.uri(user, database)).await.unwrap().database(database)
    }

    /// The database `sceau`, past the product.
    pub async fn database(&self) -> Database {
        self.database_as("", "sceau").await
    }
}

fn run(program: PathBuf, directory: &TempDir, arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", "0", "--cache-size", "128MB", "--sync-on-commit", "--storage-path"]);
    command.arg(directory.path().join("data")).args(arguments);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, address) = line.split_once("listening on ")?;
        Some(address.trim().to_owned())
    });
    // All that it says is read: a full pipe would stop it.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    (child, address.unwrap())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn installed() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    directories.extend(std::env::home_dir().map(|home| home.join(".cargo/bin")));
    directories.into_iter().map(|directory| directory.join(PROGRAM)).find(|path| path.is_file())
}
