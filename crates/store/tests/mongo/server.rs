//! A MongoDB-compatible server for the tests of one process: it ends with the process, however that ends.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::{Client, bson::doc};
use sceau_store::mongo::{MongoOptions, MongoUri};

const PROGRAM: &str = "secantusd-rs";

/// The program, if it is installed.
fn program() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bins = [cargo, home].into_iter().flatten().map(|dir| dir.join("bin"));
    bins.chain(std::env::split_paths(&path)).map(|dir| dir.join(PROGRAM)).find(|file| file.exists())
}

/// A running server.
pub struct Server {
    pub port: u16,
    /// Its data goes with it.
    directory: PathBuf,
    guard: Child,
}

impl Server {
    /// Starts one, or says aloud that it can't be.
    pub async fn start() -> Option<Self> {
        let Some(program) = program() else {
            super::shared::skip("MongoDB", &format!("{PROGRAM} is not installed; see .ci/run"));
            return None;
        };
        let directory = tempfile::Builder::new().prefix("sceau-mongo-").tempdir().unwrap().keep();
        Some(Self::run(&program, directory, "").await)
    }

    /// Ends it as a power cut would, and starts it again on the same data.
    pub async fn again(self, arguments: &str) -> Self {
        let directory = self.directory.with_extension("again");
        std::fs::rename(&self.directory, &directory).unwrap();
        // The guard removes what is no longer there.
        drop(self);
        Self::run(&program().unwrap(), directory, arguments).await
    }

    async fn run(program: &Path, directory: PathBuf, arguments: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // The shell waits for the end of its input, which comes when this process has ended, killed or not.
        let script = format!(
            "'{}' --host 127.0.0.1 --port {port} --storage-path '{data}/data' --sync-on-commit {arguments} \
             >'{data}/log' 2>&1 & pid=$!; cat >/dev/null; kill -9 $pid; wait $pid; rm -rf '{data}'",
            program.display(),
            data = directory.display()
        );
        std::fs::create_dir_all(directory.join("data")).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = command.spawn().unwrap();
        let server = Self { port, directory, guard };
        server.wait().await;
        server
    }

    async fn wait(&self) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "{PROGRAM} does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where a database of it is, for a user if there is one: `name:password@`.
    pub fn uri(&self, user: &str, database: &str) -> String {
        format!("mongodb://{user}127.0.0.1:{}/{database}?replicaSet=secantus&authSource=admin", self.port)
    }

    /// With full rights, past the product.
    pub async fn admin(&self, database: &str) -> mongodb::Database {
        self.admin_as("", database).await
    }

    /// As a user: `name:password@`.
    pub async fn admin_as(&self, user: &str, database: &str) -> mongodb::Database {
        Client::with_uri_str(self.uri(user, database)).await.unwrap().database(database)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The one server of this process.
async fn common() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = STARTING.lock().await;
    if SERVER.get().is_none() {
        let _ = SERVER.set(Server::start().await);
    }
    SERVER.get().and_then(Option::as_ref)
}

/// A database of its own for a test.
pub struct Base {
    pub server: &'static Server,
    pub name: String,
    pub options: MongoOptions,
}

impl Base {
    /// `None`: there is no server, which was said.
    pub async fn new() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = common().await?;
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let uri = MongoUri::new(server.uri("", &name)).unwrap();
        let options = MongoOptions { stretch: 512, ..MongoOptions::new(uri) };
        Some(Self { server, name, options })
    }

    pub async fn database(&self) -> mongodb::Database {
        let database = self.server.admin(&self.name).await;
        database.run_command(doc! { "ping": 1 }).await.unwrap();
        database
    }
}
