//! What the tests share: the real binary, run as people run it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod copy;
pub mod detect;
pub mod http;
pub mod load;
pub mod named;
mod shared;

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
#[allow(unused_imports)]
pub use shared::{shared, skip};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const LIMIT: Duration = Duration::from_secs(300);

/// The binary, in an environment without any setting.
pub fn sceau() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sceau"));
    for name in ["URL", "TOKEN", "DATA_DIR", "KEY_DIR", "BOOTSTRAP_TOKEN", "STORE", "STORE_PASSWORD"] {
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

/// The same, which must end in time.
pub fn run_within(command: &mut Command, limit: Duration) -> Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let (out, err) = (read(Box::new(out)), read(Box::new(err)));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                let _ = child.kill();
                panic!("{command:?} does not end");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Said::of(Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() })
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
    /// Where data and keys are.
    pub root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { root: dir.path().to_owned(), dir }
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
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
        self.serve_as(&mut self.serving(address))
    }

    /// The command that starts a server on the directory; what it logs is added to `server.log`.
    pub fn serving(&self, address: &str) -> Command {
        let mut serve = self.serving_nothing(address);
        serve.arg("--data-dir").arg(self.data());
        serve
    }

    /// The same, but it isn't said where the log is. Nothing is detected, so that the log holds what was sent.
    pub fn serving_nothing(&self, address: &str) -> Command {
        let mut serve = self.detecting_somewhere(address);
        serve.arg("--no-detection");
        serve
    }

    /// Starts a server on the directory that looks for what rules describe.
    pub fn detect(&self, more: &[&str]) -> Server {
        let mut serve = self.detecting_somewhere("127.0.0.1:0");
        serve.arg("--data-dir").arg(self.data()).args(more);
        self.serve_as(&mut serve)
    }

    /// The command that starts a server with detection, of which it isn't said where the log is.
    pub fn detecting_somewhere(&self, address: &str) -> Command {
        let errors = self.dir.path().join("server.log");
        let errors = File::options().append(true).create(true).open(errors).unwrap();
        let mut serve = sceau();
        serve.args(["serve", "--listen", address]);
        serve.arg("--key-dir").arg(self.keys()).env("SCEAU_BOOTSTRAP_TOKEN", TOKEN);
        serve.stdout(Stdio::piped()).stderr(errors);
        serve
    }

    /// What servers on the directory have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// Starts a server with a command that [`Self::serving`] made, and waits until it takes requests.
    pub fn serve_as(&self, serve: &mut Command) -> Server {
        let mut server = Server { child: serve.spawn().unwrap(), url: String::new(), said: Vec::new() };
        let out = BufReader::new(server.child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        loop {
            match lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    server.said.push(line);
                    if let Some(url) = server.said.last().and_then(|line| line.strip_prefix("listening on ")) {
                        server.url = url.to_owned();
                        return server;
                    }
                }
                Err(error) => panic!("the server is not ready ({error}): {:?} {}", server.said, self.log()),
            }
        }
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

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory at its most so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks it to stop; what it ended with.
    pub fn end(mut self) -> std::process::ExitStatus {
        terminate(&self.child);
        let mut status = None;
        until("the server's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Stops it in good order.
    pub fn stop(self) {
        let status = self.end();
        assert!(status.success(), "{status:?}");
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

/// Posts an event as JSON, with more headers than the binary's own client sends; the whole answer.
pub fn post(url: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
