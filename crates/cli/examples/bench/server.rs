//! The server under test.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Outcome, process};

/// The administrator's token.
pub const TOKEN: &str = "sceau_bench_0123456789abcdef0123456789abcdef";

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// Where it answers.
    pub url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it on a directory and waits until it says where it listens.
    pub fn start(sceau: &Path, dir: &Path, further: &[String]) -> Outcome<Self> {
        Self::spawn(Command::new(sceau).arg("serve").arg("--data-dir").arg(dir.join("data")).args(further), dir)
    }

    /// Starts it on a database, with keys in a directory.
    pub fn start_on(sceau: &Path, dir: &Path, uri: &str) -> Outcome<Self> {
        Self::spawn(Command::new(sceau).args(["serve", "--no-detection"]).env("SCEAU_STORE", uri), dir)
    }

    fn spawn(serve: &mut Command, dir: &Path) -> Outcome<Self> {
        let mut child = serve
            .args(["--listen", "127.0.0.1:0", "--log-level", "warn", "--key-dir"])
            .arg(dir.join("keys"))
            .env("SCEAU_BOOTSTRAP_TOKEN", TOKEN)
            // What is measured is the server, not how often one address may ask it.
            .envs(["ADDRESS", "TOKEN", "INGEST_ADDRESS", "INGEST_TOKEN"].map(|of| (format!("SCEAU_RATES_{of}"), "0")))
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no output")?);
        let url =
            out.lines().map_while(Result::ok).find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        Ok(Self { child, url: url.ok_or("the server did not start")? })
    }

    /// How long it takes from its start until `/readyz` says that it is ready, and the server.
    pub async fn started(sceau: &Path, dir: &Path, further: &[String]) -> Outcome<(Self, Duration)> {
        let begun = Instant::now();
        let server = Self::start(sceau, dir, further)?;
        while server.ask("/readyz").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((server, begun.elapsed()))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Outcome<Duration> {
        Ok(process::cpu(self.pid())?)
    }

    /// Waits until the background work that ingest left behind is done.
    pub async fn settle(&self) -> Outcome<()> {
        loop {
            let before = self.cpu()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if self.cpu()? - before < Duration::from_millis(60) {
                return Ok(());
            }
        }
    }

    /// A GET request's answer.
    pub async fn ask(&self, path: &str) -> Outcome<String> {
        ask(&self.url, path).await
    }

    /// Sends a JSON object.
    pub async fn post(&self, path: &str, body: &str) -> Outcome<()> {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let sent = request.header("Content-Type", "application/json").body(body.to_owned()).send().await?;
        let (status, text) = (sent.status(), sent.text().await?);
        if status.is_success() { Ok(()) } else { Err(format!("{path}: {status} {text}").into()) }
    }

    /// A number of `/metrics`.
    pub async fn counter(&self, name: &str) -> Outcome<f64> {
        let text = self.ask("/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        Ok(line.unwrap_or(f64::NAN))
    }

    /// Whether it still runs, and if not, what it ended with.
    pub fn fate(mut self) -> Outcome<String> {
        Ok(self.child.try_wait()?.map_or_else(|| "runs".to_owned(), |status| format!("ended with {status}")))
    }

    /// Stops it in good order; the shell has `kill` built in.
    pub fn stop(mut self) -> Outcome<()> {
        Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.pid())).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}

/// A GET request's answer.
pub async fn ask(url: &str, path: &str) -> Outcome<String> {
    let asked = reqwest::Client::new().get(format!("{url}{path}")).bearer_auth(TOKEN).send().await?;
    let (status, text) = (asked.status(), asked.text().await?);
    if status.is_success() { Ok(text) } else { Err(format!("{path}: {status} {text}").into()) }
}
