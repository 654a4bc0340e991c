//! `sceau mongo`: what a database needs before it can hold a log.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use sceau_server::Place;
use sceau_store::mongo::{Mongo, MongoOptions, roles};
use serde_json::json;

use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    store::{self, StoreArgs, Uri},
};

/// Options of `sceau mongo`.
#[derive(Args, Debug)]
pub struct MongoArgs {
    #[command(subcommand)]
    command: MongoCommand,
}

/// What can be done with a database.
#[derive(Subcommand, Debug)]
pub enum MongoCommand {
    /// Make collections, validators, indexes and views, and the roles of those who use them.
    Init(MongoInitArgs),
}

/// Options of `sceau mongo init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau mongo init --store 'mongodb://owner@db.example.org/sceau?replicaSet=rs0' > roles.js
  sceau mongo init --admin-store 'mongodb://root@db.example.org/sceau?replicaSet=rs0&authSource=admin' \\
      --admin-password-file root.txt
  sceau mongo init --store mongodb://db.example.org/sceau --print | mongosh mongodb://root@db.example.org/admin
Once this was done by whoever administers the database, `sceau serve` needs a user with the role sceau_server only, which can
add entries but neither change nor delete them. Doing it again is harmless and brings the roles up to date.")]
pub struct MongoInitArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The same database with a user who may make collections and roles: the roles are then made, not printed.
    #[arg(long, value_name = "URI")]
    admin_store: Option<Uri>,
    /// A file that holds the password for --admin-store (or set SCEAU_STORE_PASSWORD).
    #[arg(long, value_name = "FILE", requires = "admin_store")]
    admin_password_file: Option<PathBuf>,
    /// Only print the roles, as text for mongosh, and leave the database alone.
    #[arg(long, conflicts_with = "admin_store")]
    print: bool,
}

/// Runs `sceau mongo`.
pub async fn run(args: MongoArgs) -> Result<Outcome, CliError> {
    match args.command {
        MongoCommand::Init(args) => init(args).await,
    }
}

async fn init(args: MongoInitArgs) -> Result<Outcome, CliError> {
    let named = match args.store.place(args.admin_store.is_none(), store::variable)? {
        Some(Place::Mongo(options)) => Some(*options),
        _ => None,
    };
    let admin =
        args.admin_store.as_ref().map(|uri| store::options(uri, "--admin-store", args.admin_password_file.as_ref()));
    let admin = admin.transpose()?;
    let Some(options) = admin.clone().or_else(|| named.clone()) else {
        return Err(CliError::Usage("which database? Give --store (or SCEAU_STORE), or --admin-store".into()));
    };
    let database = options.uri.database().to_owned();
    if named.is_some_and(|named| named.uri.database() != database) {
        return Err(CliError::Usage(format!(
            "--admin-store names the database {database}, --store another one: name the log's in both (and where the \
             administrator's user is known with authSource=admin)"
        )));
    }
    if args.print {
        print(&database)?;
        return Ok(Outcome::Done);
    }
    prepare(options, admin.is_some(), &database).await
}

async fn prepare(options: MongoOptions, makes_roles: bool, database: &str) -> Result<Outcome, CliError> {
    let is_there = Mongo::exists(&options).await?;
    if is_there {
        Mongo::prepare(&options).await?;
    } else {
        Mongo::create(&options).await?;
    }
    // What the text for mongosh is piped into must not see it.
    let what = if is_there { "the log is there; collections, indexes and views are" } else { "an empty log is there," };
    eprintln!("{}: {what} ready", options.uri);
    if !makes_roles {
        print(database)?;
        return Ok(Outcome::Done);
    }
    Mongo::create_roles(&options).await?;
    let mut out = stdout();
    for (name, purpose) in ROLES {
        writeln!(out, "role {name}: {purpose}")?;
    }
    writeln!(out, "give users these roles, e.g. in mongosh:")?;
    writeln!(out, "  {}", user(database))?;
    out.flush()?;
    Ok(Outcome::Done)
}

/// The roles, and whom each is for.
const ROLES: [(&str, &str); 4] = [
    (roles::SERVER, "`sceau serve`; adds entries, can't change or delete any"),
    (roles::READER, "people who look at the logs in MongoDB Compass"),
    (roles::BACKUP, "mongodump, `sceau search`, `sceau verify` and the like: reads everything"),
    (roles::RETENTION, "`sceau serve --retain-days` and `--retain-bytes`: may delete entries, too"),
];

/// How a user gets a role.
fn user(database: &str) -> String {
    let (role, database) = (json!(roles::SERVER), json!(database));
    format!(
        "db.getSiblingDB(\"admin\").createUser({{user: \"sceau\", pwd: passwordPrompt(), roles: [{{role: {role}, db: {database}}}]}})"
    )
}

fn print(database: &str) -> Result<(), CliError> {
    let mut out = stdout();
    for (name, purpose) in ROLES {
        writeln!(out, "// {name}: {purpose}")?;
    }
    out.write_all(roles::script(database).as_bytes())?;
    writeln!(out, "// Then make the users, each with a password of its own, e.g.\n// {}", user(database))?;
    Ok(out.flush()?)
}
