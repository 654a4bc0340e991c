//! The command line as a whole; each command's own options are beside its code.

use clap::{Parser, Subcommand};

/// The exit codes, the same for every command.
const EXIT_CODES: &str = "\
Exit codes:
  0  done, and nothing to complain about
  1  it could not be done; the message says why
  2  the command line is wrong
  3  import: done, but some lines were refused
  4  verify, proof --check: faults were found; rules check: rules were refused

Environment:
  SCEAU_URL, SCEAU_DATA_DIR, SCEAU_KEY_DIR  stand for --url, --data-dir and --key-dir
  SCEAU_STORE, SCEAU_STORE_PASSWORD         stand for --store, and hold the password of its database
  SCEAU_TOKEN                               the token for --url (or give --token-file)
  SCEAU_CA_FILE, SCEAU_TLS_FINGERPRINT      stand for --ca-file and --tls-fingerprint
  SCEAU_CONFIG                              stands for serve --config
  SCEAU_BOOTSTRAP_TOKEN                     serve: the first administrator's token
  SCEAU_SECTION_KEY                         serve: any setting of sceau.toml, see `sceau config show`
  RUST_LOG                                  what is logged, e.g. info or sceau_server=debug";

/// A sealed log: what was logged can be searched, and nobody can alter it unnoticed.
#[derive(Debug, Parser)]
#[command(name = "sceau", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Tell what an error was caused by, and what goes on inside.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server; the first start makes the log and its keys.
    Serve(crate::serve::ServeArgs),
    /// Check the server's settings, or show them all.
    Config(crate::config::ConfigArgs),
    /// Make a log and its keys, and print what an auditor should keep.
    Init(crate::keys::InitArgs),
    /// Send log files in, each line exactly once.
    Import(crate::import::ImportArgs),
    /// Find events.
    Search(crate::search::SearchArgs),
    /// Count events.
    Count(crate::aggregate::CountArgs),
    /// Show a field's most frequent values.
    Top(crate::aggregate::TopArgs),
    /// Count events per interval of time.
    Histogram(crate::aggregate::HistogramArgs),
    /// Check that nothing was altered, and say how far that is proven.
    Verify(crate::verify::VerifyArgs),
    /// Write the sealed entries, byte for byte, one a line.
    Export(crate::export::ExportArgs),
    /// Prove that an entry is in the log, or check such a proof.
    Proof(crate::proof::ProofArgs),
    /// Print the newest signed checkpoint, to be kept elsewhere.
    Checkpoint(crate::keys::CheckpointArgs),
    /// Print the log's public keys and what each is for.
    Keys(crate::keys::KeysArgs),
    /// Make a token, e.g. another administrator's if the first was lost.
    Token(crate::token::TokenArgs),
    /// Make, list, reset and disable users of a log that no server holds.
    User(crate::user::UserArgs),
    /// Derive all records again from the sealed entries.
    Rebuild(crate::rebuild::RebuildArgs),
    /// Copy a whole log into another store, byte for byte.
    Migrate(crate::migrate::MigrateArgs),
    /// Check and try detection rules, and replay them over the log.
    Rules(crate::rules::RulesArgs),
    /// Show the alerts of a running server, and move them on.
    Alerts(crate::alerts::AlertsArgs),
    /// Prepare a MongoDB database for a log.
    Mongo(crate::mongo::MongoArgs),
}
