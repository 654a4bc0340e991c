//! What the product says about itself, on standard error.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

use crate::error::CliError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The server's log, with a level that the settings have told.
pub fn for_server(format: LogFormat, level: &str) -> Result<(), CliError> {
    let filter = filter(level)?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| CliError::Failed(format!("the log can't be set up: {error}")))
}

/// Warnings only, for commands whose output is what counts.
pub fn for_people(verbose: bool) -> Result<(), CliError> {
    let level = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(level.as_deref().unwrap_or(if verbose { "info" } else { "error" }))?;
    let ansi = std::io::stderr().is_terminal();
    fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .try_init()
        .map_err(|error| CliError::Failed(format!("the log can't be set up: {error}")))
}

fn filter(level: &str) -> Result<EnvFilter, CliError> {
    EnvFilter::try_new(level).map_err(|error| CliError::Usage(format!("log level {level:?}: {error}")))
}
