//! `sceau`, the one binary: it serves a sealed log, fills it, searches it and verifies it.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used))]

mod aggregate;
mod alerts;
mod args;
mod backend;
mod client;
mod config;
mod error;
mod export;
mod import;
mod keys;
mod logging;
mod migrate;
mod mongo;
mod notify;
mod output;
mod proof;
mod qr;
mod rebuild;
mod rules;
mod search;
mod serve;
mod settings;
mod store;
mod target;
mod token;
mod user;
mod verdict;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

use crate::{
    args::{Cli, Command},
    error::CliError,
};

/// Batches are allocated on one thread and freed on another, in all sizes. The system's allocator keeps what is freed so:
/// after a day it holds twice what is in use. How this one is set up is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What a command ended with, other than an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Done,
    /// The import is done, but some lines were refused.
    Refused,
    /// The log has faults, or rules were refused.
    Faults,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 3,
            Self::Faults => 4,
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let verbose = cli.verbose;
    match run(cli) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            error.report(verbose);
            ExitCode::from(error.code())
        }
    }
}

/// Tells what is wrong with the command line, of which a part may be a URI with a password.
fn refused(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let safe = store::redact(&text);
    if safe == text {
        error.exit();
    }
    eprint!("{safe}");
    ExitCode::from(2)
}

fn run(cli: Cli) -> Result<Outcome, CliError> {
    if let Command::Serve(args) = cli.command {
        // Its log is its own, and it starts threads only once it is confined.
        return serve::run(args);
    }
    logging::for_people(cli.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("starting the threads"))?;
    runtime.block_on(dispatch(cli.command))
}

async fn dispatch(command: Command) -> Result<Outcome, CliError> {
    match command {
        Command::Serve(_) => Err(CliError::Failed("the server is started before there are threads".into())),
        Command::Config(args) => config::run(args),
        Command::Init(args) => keys::init(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Search(args) => search::run(args).await,
        Command::Count(args) => aggregate::count(args).await,
        Command::Top(args) => aggregate::top(args).await,
        Command::Histogram(args) => aggregate::histogram(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Proof(args) => proof::run(args).await,
        Command::Checkpoint(args) => keys::checkpoint(args).await,
        Command::Keys(args) => keys::keys(args).await,
        Command::Token(args) => token::run(args).await,
        Command::User(args) => user::run(args).await,
        Command::Rules(args) => rules::run(args).await,
        Command::Alerts(args) => alerts::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Mongo(args) => mongo::run(args).await,
    }
}
