//! `sceau mongo`: what a database needs before it can hold a log.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use sceau_server::Place;
use sceau_store::mongo::{MongoOptions, roles};

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
Once this was done by whoever administers the database, `sceau serve` needs a user with the role sceauServer only, which can
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
    let admin = args.admin_store.as_ref().map(|uri| store::options(uri, "--admin-store", args.admin_password_file.as_ref()));
    let admin = admin.transpose()?;
    let Some(options) = admin.clone().or_else(|| named.clone()) else {
        return Err(CliError::Usage("which database? Give --store (or SCEAU_STORE), or --admin-store".into()));
    };
    let database = roles::database_of(&options.uri);
    if named.is_some_and(|named| roles::database_of(&named.uri) != database) {
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
    let place = Place::from(options.clone());
    let made = !place.exists().await?;
    if made {
        place.create().await?;
    }
    // What the text for mongosh is piped into must not see it.
    eprintln!("{place}: {}", if made { "collections, indexes and views were made" } else { "was prepared already" });
    if !makes_roles {
        print(database)?;
        return Ok(Outcome::Done);
    }
    let new = roles::create_roles(&options).await?;
    let mut out = stdout();
    for role in roles::roles() {
        let what = if new.contains(&role.name) { "made" } else { "up to date" };
        writeln!(out, "role {} ({what}): {}", role.name, role.purpose)?;
    }
    writeln!(out, "now give users these roles, e.g. in mongosh:")?;
    writeln!(
        out,
        "  db.getSiblingDB(\"admin\").createUser({{user: \"sceau\", pwd: passwordPrompt(), roles: [{{role: \"sceauServer\", \
         db: \"{database}\"}}]}})"
    )?;
    out.flush()?;
    Ok(Outcome::Done)
}

fn print(database: &str) -> Result<(), CliError> {
    let mut out = stdout();
    out.write_all(roles::mongosh(database).as_bytes())?;
    Ok(out.flush()?)
}
