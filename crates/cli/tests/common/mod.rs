//! What the tests share: the real binary, run as people run it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The binary, in an environment without any setting.
pub fn sceau() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sceau"));
    for name in ["URL", "TOKEN", "DATA_DIR", "KEY_DIR", "BOOTSTRAP_TOKEN"] {
        command.env_remove(format!("SCEAU_{name}"));
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// What a command said and ended with.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same, which must have ended with `code`.
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    Said::of(command.output().unwrap())
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A log in directories of its own.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Makes the log; its public facts.
    pub fn init(&self) -> Value {
        let mut init = sceau();
        init.args(["init", "--origin", "test.example/log", "--json"]);
        run(init.arg("--data-dir").arg(self.data()).arg("--key-dir").arg(self.keys())).with(0).json()
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command on the directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = sceau();
        command.args(args).env("SCEAU_DATA_DIR", self.data()).env("SCEAU_KEY_DIR", self.keys());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        run(&mut self.command(args))
    }

    /// Starts a server on the directory.
    pub fn serve(&self) -> Server {
        self.serve_at("127.0.0.1:0")
    }

    /// The same, listening there.
    pub fn serve_at(&self, address: &str) -> Server {
        let errors = self.dir.path().join("server.log");
        let errors = File::options().append(true).create(true).open(errors).unwrap();
        let mut serve = sceau();
        serve.args(["serve", "--listen", address, "--data-dir"]).arg(self.data());
        serve.arg("--key-dir").arg(self.keys()).env("SCEAU_BOOTSTRAP_TOKEN", TOKEN);
        let mut child = serve.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut said = Vec::new();
        let url = loop {
            match lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    said.push(line);
                    if let Some(url) = said.last().and_then(|line| line.strip_prefix("listening on ")) {
                        break url.to_owned();
                    }
                }
                Err(error) => {
                    let mut log = String::new();
                    File::open(self.dir.path().join("server.log")).unwrap().read_to_string(&mut log).unwrap();
                    panic!("the server is not ready ({error}): {said:?} {log}");
                }
            }
        };
        Server { child, url, said }
    }
}

/// The token of all tests' servers.
pub const TOKEN: &str = "sceau_test_0123456789abcdef0123456789abcdef";

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub said: Vec<String>,
}

impl Server {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = sceau();
        command.args(args).env("SCEAU_URL", &self.url).env("SCEAU_TOKEN", TOKEN);
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        run(&mut self.command(args))
    }

    /// Its resident memory at its most so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in good order.
    pub fn stop(mut self) {
        terminate(&self.child);
        let mut status = None;
        until("the server's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM; the shell has `kill` built in, whatever else the machine lacks.
pub fn terminate(child: &Child) {
    signal(child, "TERM");
}

/// Sends a signal.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(sent.success());
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Lines that are all different.
pub fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("Nov 21 08:00:00 host app[1]: numbered line {n} of a test\n")).collect()
}

/// The events' text in an export, in order.
pub fn data(export: &str) -> Vec<String> {
    let data = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let mine = |entry: &Value| !entry["source"].as_str().unwrap().starts_with("sceau.");
    let text = |entry: Value| match &entry["data"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    export.lines().map(data).filter(mine).map(text).collect()
}
