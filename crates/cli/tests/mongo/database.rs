//! A MongoDB-compatible server of a test's own: `secantusd-rs`, a separate process. Where it is not installed, what needs
//! it is left out aloud.

use std::{
    collections::BTreeMap,
    fs::File,
    future::Future,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use mongodb::{
    Client, Collection,
    bson::{Document, RawDocumentBuf, doc},
    options::ClientOptions,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::{LIMIT, copy::copy_directory, signal, skip};

/// The database that holds the log.
pub const NAME: &str = "sceau";
/// Who may do everything.
pub const ADMIN: &str = "root";
/// Everybody's password: so rare that it is found wherever it does not belong.
pub const PASSWORD: &str = "hush-7F3kQx-do-not-tell";
const PROGRAM: &str = "secantusd-rs";

/// A running server.
pub struct Database {
    directory: PathBuf,
    _own: Option<TempDir>,
    child: Option<Child>,
    address: SocketAddr,
    runtime: Runtime,
}

impl Database {
    /// Starts one with an administrator; `None` where the program is not installed, which is said.
    pub fn start(what: &str) -> Option<Self> {
        let template = template(what)?;
        let own = tempfile::tempdir().unwrap();
        let directory = own.path().join("db");
        copy_directory(&template, &directory);
        Some(Self::start_in(&directory, Some(own)))
    }

    /// The same in a directory that is already there, such as one on a small disk.
    pub fn start_at(what: &str, directory: &Path) -> Option<Self> {
        let template = template(what)?;
        copy_directory(&template, directory);
        Some(Self::start_in(directory, None))
    }

    fn start_in(directory: &Path, own: Option<TempDir>) -> Self {
        let (child, address) = spawn(directory, 0, &["--auth"]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let database = Self { directory: directory.to_owned(), _own: own, child: Some(child), address, runtime };
        database.forget_soon();
        database
    }

    /// A server that was killed within a transaction leaves that open; until the database gives it up nobody can write.
    /// That takes a minute if nobody says otherwise, which is too long for many rounds.
    fn forget_soon(&self) {
        let set = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 2 };
        let admin = self.client(ADMIN).database("admin");
        self.run(async { admin.run_command(set).await }).unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let (child, _) = spawn(&self.directory, self.address.port(), &["--auth"]);
        self.child = Some(child);
        self.forget_soon();
    }

    /// The URI for a user, without a password.
    pub fn uri(&self, user: &str) -> String {
        uri(user, self.address)
    }

    /// A client with somebody's rights, which gives up soon.
    pub fn client(&self, user: &str) -> Client {
        let uri = self.uri(user).replacen('@', &format!(":{PASSWORD}@"), 1);
        self.run(async {
            let mut options = ClientOptions::parse(&uri).await.unwrap();
            options.server_selection_timeout = Some(Duration::from_secs(20));
            Client::with_options(options).unwrap()
        })
    }

    /// The log's database with all rights.
    pub fn admin(&self) -> mongodb::Database {
        self.client(ADMIN).database(NAME)
    }

    pub fn run<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Makes a user in `admin`.
    pub fn create_user(&self, user: &str, roles: Vec<Document>) {
        let create = doc! { "createUser": user, "pwd": PASSWORD, "roles": roles };
        let admin = self.client(ADMIN).database("admin");
        self.run(async { admin.run_command(create).await }).unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The URI of a server at an address, for a user, without a password.
pub fn uri(user: &str, address: SocketAddr) -> String {
    format!("mongodb://{user}@{address}/{NAME}?authSource=admin&directConnection=true")
}

fn installed() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    directories.extend(std::env::home_dir().map(|home| home.join(".cargo/bin")));
    directories.into_iter().map(|directory| directory.join(PROGRAM)).find(|path| path.is_file())
}

fn spawn(directory: &Path, port: u16, more: &[&str]) -> (Child, SocketAddr) {
    let log = File::options().append(true).create(true).open(directory.with_extension("log")).unwrap();
    let mut command = Command::new(installed().unwrap());
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--sync-on-commit", "--storage-path"]);
    // Its cache is a gigabyte if nobody says otherwise.
    command.arg(directory).args(["--cache-size", "1GB"]).args(more);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    // All that it says is read: a full pipe would stop it.
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => {
                if let Some((_, address)) = line.split_once("listening on ") {
                    return (child, address.trim().parse().unwrap());
                }
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = std::fs::read_to_string(directory.with_extension("log")).unwrap_or_default();
                panic!("{PROGRAM} does not start ({error}): {log}");
            }
        }
    }
}

/// A database directory with an administrator in it, made once for all tests of this build.
fn template(what: &str) -> Option<PathBuf> {
    if installed().is_none() {
        skip(what, &format!("{PROGRAM} is not installed: see docs/mongodb.md"));
        return None;
    }
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mongo");
    std::fs::create_dir_all(&all).unwrap();
    let lock = File::create(all.join("lock")).unwrap();
    lock.lock().unwrap();
    let (made, making) = (all.join("template"), all.join("making"));
    if !made.exists() {
        let _ = std::fs::remove_dir_all(&making);
        std::fs::create_dir_all(&making).unwrap();
        let (mut child, address) = spawn(&making, 0, &[]);
        let create = doc! { "createUser": ADMIN, "pwd": PASSWORD, "roles": [{ "role": "root", "db": "admin" }] };
        Runtime::new().unwrap().block_on(async {
            let client = Client::with_uri_str(format!("mongodb://{address}/?directConnection=true")).await.unwrap();
            client.database("admin").run_command(create).await.unwrap();
        });
        signal(&child, "TERM");
        child.wait().unwrap();
        std::fs::rename(&making, &made).unwrap();
    }
    Some(made)
}

/// All documents of all collections, as somebody with all rights can take them and put them back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump(pub BTreeMap<String, Vec<RawDocumentBuf>>);

impl Dump {
    /// Takes everything.
    pub async fn take(database: &mongodb::Database) -> Self {
        let mut dump = Self::default();
        for name in database.list_collection_names().filter(doc! { "type": "collection" }).await.unwrap() {
            if !name.starts_with("system.") {
                dump.0.insert(name.clone(), documents(&database.collection(&name)).await);
            }
        }
        dump
    }

    /// Puts everything back as it was; collections, indexes and validators stay.
    pub async fn restore(&self, database: &mongodb::Database) {
        for (name, wanted) in &self.0 {
            let collection: Collection<RawDocumentBuf> = database.collection(name);
            if documents(&collection).await == *wanted {
                continue;
            }
            collection.delete_many(doc! {}).await.unwrap();
            for part in wanted.chunks(1_000) {
                collection.insert_many(part).await.unwrap();
            }
        }
    }

    /// Writes it into a directory, one file a collection, like `mongodump`.
    pub fn save(&self, directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        for (name, documents) in &self.0 {
            let bytes: Vec<u8> = documents.iter().flat_map(|document| document.as_bytes().to_vec()).collect();
            std::fs::write(directory.join(format!("{name}.bson")), bytes).unwrap();
        }
    }

    /// Reads what [`Dump::save`] wrote.
    pub fn load(directory: &Path) -> Self {
        let mut dump = Self::default();
        for file in std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()) {
            let bytes = std::fs::read(&file).unwrap();
            let (mut rest, mut documents) = (bytes.as_slice(), Vec::new());
            while let Some(length) = rest.first_chunk::<4>() {
                let (document, behind) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
                documents.push(RawDocumentBuf::from_bytes(document.to_vec()).unwrap());
                rest = behind;
            }
            dump.0.insert(file.file_stem().unwrap().to_str().unwrap().to_owned(), documents);
        }
        dump
    }
}

async fn documents(collection: &Collection<RawDocumentBuf>) -> Vec<RawDocumentBuf> {
    let mut cursor = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    let mut documents = Vec::new();
    while cursor.advance().await.unwrap() {
        documents.push(cursor.current().to_owned());
    }
    documents
}
