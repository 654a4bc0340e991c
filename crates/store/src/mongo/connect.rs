//! From a URI to a client that is known to be good enough.

use std::{fmt, time::Duration};

use mongodb::{
    Client, Database,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern},
};

use super::trouble;
use crate::error::StoreError;

/// The database where the URI names none.
const DATABASE: &str = "sceau";
/// How many connections there may be to each member at least.
const CONNECTIONS: u32 = 64;

/// A text that must not be seen: it shows neither in `Debug` nor in errors.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A `mongodb://` or `mongodb+srv://` URI, shown without what is secret in it.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUri(String);

impl MongoUri {
    /// Takes a URI; whether it is one shows when it is opened. `None`: it has another scheme.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let known = ["mongodb://", "mongodb+srv://"].iter().any(|scheme| text.starts_with(scheme));
        known.then_some(Self(text))
    }

    /// Whether it holds a password, which should not be on a command line, where everybody on the machine reads it.
    pub fn has_password(&self) -> bool {
        self.parts().1.is_some_and(|user| user.contains(':'))
    }

    /// The database that it names, or the one that is used where it names none.
    #[must_use]
    pub fn database(&self) -> &str {
        let path = self.parts().2.split('?').next().and_then(|hosts| hosts.split_once('/'));
        path.map(|(_, name)| name).filter(|name| !name.is_empty()).unwrap_or(DATABASE)
    }

    /// Scheme, user with password, and the rest. What is in front of the last `@` is taken for the user, even where it
    /// holds characters that it must not: a wrong URI must not show its password either.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        match rest.rsplit_once('@') {
            Some((user, rest)) => (scheme, Some(user), rest),
            None => (scheme, None, rest),
        }
    }
}

impl fmt::Display for MongoUri {
    /// Without password, and without options, some of which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user, rest) = self.parts();
        let rest = rest.split('?').next().unwrap_or_default();
        match user.map(|user| user.split(':').next().unwrap_or_default()) {
            Some(user) => write!(f, "{scheme}://{user}@{rest}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for MongoUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct MongoLimits {
    /// Until a connection is made, and until a server is found that can be asked.
    pub connect: Duration,
    /// One operation.
    pub operation: Duration,
    /// How long the outcome of a transaction is asked for before the store gives up and stops.
    pub outcome: Duration,
    /// How long a write waits for the one before it.
    pub patience: Duration,
}

impl Default for MongoLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            operation: Duration::from_secs(30),
            outcome: Duration::from_secs(15 * 60),
            patience: Duration::from_secs(10),
        }
    }
}

/// Where the store is and how it is used.
#[derive(Clone, Debug)]
pub struct MongoOptions {
    /// Servers, user, database and options of the connection.
    pub uri: MongoUri,
    /// The user's password, where the URI does not hold it.
    pub password: Option<Secret>,
    /// Time limits.
    pub limits: MongoLimits,
    /// How many entries retention deletes together (a multiple of 256).
    pub stretch: u64,
    /// Only look: nothing is written, so that a damaged store can be verified.
    pub inspect: bool,
}

impl MongoOptions {
    /// The product's settings.
    pub fn new(uri: MongoUri) -> Self {
        Self { uri, password: None, limits: MongoLimits::default(), stretch: 4_096, inspect: false }
    }
}

/// A database that was reached once and can do what is needed.
pub async fn connect(options: &MongoOptions) -> Result<Database, StoreError> {
    reach(settings(options).await?, options).await
}

/// The same, and once more over connections of its own.
pub async fn connect_both(options: &MongoOptions) -> Result<(Database, Database), StoreError> {
    let settings = settings(options).await?;
    let one = reach(settings.clone(), options).await?;
    let other = Client::with_options(settings).map_err(|error| told(&error, options))?.database(one.name());
    Ok((one, other))
}

fn told(error: &Error, options: &MongoOptions) -> StoreError {
    StoreError::Mongo(format!("{}: {}", options.uri, redacted(&trouble::text(error), options)))
}

async fn settings(options: &MongoOptions) -> Result<ClientOptions, StoreError> {
    let mut client = ClientOptions::parse(&options.uri.0).await.map_err(|error| told(&error, options))?;
    if let Some(Secret(password)) = &options.password {
        let user = client.credential.as_mut().ok_or_else(|| {
            StoreError::Mongo(format!("{}: a password is given, but the URI names no user", options.uri))
        })?;
        user.password = Some(password.clone());
    }
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    client.app_name.get_or_insert_with(|| "sceau".into());
    client.connect_timeout.get_or_insert(options.limits.connect);
    client.server_selection_timeout.get_or_insert(options.limits.connect);
    // Not the URI's to weaken: what is acknowledged must survive.
    client.write_concern = Some(durable);
    client.read_concern = Some(ReadConcern::majority());
    client.selection_criteria = None;
    client.retry_writes = Some(true);
    // The driver's ten would soon all be taken by questions.
    client.max_pool_size = Some(client.max_pool_size.map_or(CONNECTIONS, |most| most.max(CONNECTIONS)));
    Ok(client)
}

async fn reach(client: ClientOptions, options: &MongoOptions) -> Result<Database, StoreError> {
    let told = |error: &Error| told(error, options);
    let name = client.default_database.clone().unwrap_or_else(|| DATABASE.into());
    let alone = direct(&client);
    let database = Client::with_options(client).map_err(|error| told(&error))?.database(&name);
    match hello(&database).await {
        Ok(hello) => check(&hello, &options.uri)?,
        Err(error) => {
            // A server outside a replica set is never found when the URI names one, and nothing says why.
            if matches!(*error.kind, ErrorKind::ServerSelection { .. })
                && let Ok(client) = Client::with_options(alone)
                && let Ok(hello) = hello(&client.database(&name)).await
            {
                check(&hello, &options.uri)?;
            }
            return Err(match told(&error) {
                // The driver finds no server older than 4.4 good enough, and says so; waiting would not make it younger.
                StoreError::Mongo(text) if trouble::away(&error) && !text.contains("wire version") => {
                    StoreError::Unavailable(text)
                }
                other => other,
            });
        }
    }
    Ok(database)
}

/// The same, but for one server alone and without a user: its hello tells what it is.
fn direct(client: &ClientOptions) -> ClientOptions {
    let mut alone = client.clone();
    alone.hosts.truncate(1);
    alone.repl_set_name = None;
    alone.credential = None;
    alone.direct_connection = Some(true);
    alone
}

/// What the server says of itself.
pub async fn hello(database: &Database) -> Result<Document, Error> {
    let admin = database.client().database("admin");
    match admin.run_command(doc! { "hello": 1 }).await {
        // 4.4.0 and 4.4.1 know it by its old name only.
        Err(error) if trouble::unknown(&error) => admin.run_command(doc! { "isMaster": 1 }).await,
        told => told,
    }
}

fn check(hello: &Document, uri: &MongoUri) -> Result<(), StoreError> {
    let sharded = hello.get_str("msg").is_ok_and(|text| text == "isdbgrid");
    if !sharded && hello.get_str("setName").is_err() {
        return Err(StoreError::Standalone(uri.to_string()));
    }
    Ok(())
}

/// A whole number of any kind.
pub fn whole(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        mongodb::bson::Bson::Int32(value) => Some((*value).into()),
        mongodb::bson::Bson::Int64(value) => Some(*value),
        mongodb::bson::Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

/// A text without the secrets of these options.
fn redacted(text: &str, options: &MongoOptions) -> String {
    let (_, user, rest) = options.uri.parts();
    let in_uri = user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
    let decoded = in_uri.map(unescaped);
    let of_options = rest.split(['?', '&']).skip(1).filter_map(|option| Some(option.split_once('=')?.1));
    let secrets = [in_uri, decoded.as_deref(), options.password.as_ref().map(|secret| secret.0.as_str())];
    let all = secrets.into_iter().flatten().chain(of_options.filter(|value| value.len() > 7));
    all.filter(|secret| !secret.is_empty()).fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
