//! `sceau rules`: detection rules checked, tried on events, and replayed over the log.

mod check;
mod replay;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{Outcome, error::CliError};

/// Options of `sceau rules`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau rules check /etc/sceau/rules
  sceau rules test my_rule.yml --events samples.ndjson
  sceau rules replay --from now-30d --rule 5f0f7c0e-…
What rules may say, and which fields they see, is described in docs/rules.md.")]
pub struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

/// What can be done with rules.
#[derive(Subcommand, Debug)]
pub enum RulesCommand {
    /// Load a directory of rules beside the shipped ones, and name what is refused, with line and reason.
    Check(check::CheckArgs),
    /// Show events to the rules of a file, and tell what they find.
    Test(test::TestArgs),
    /// Show the rules of a running server, and what is refused.
    List(check::ListArgs),
    /// Judge what is in the log already: nothing is sealed, no alert is opened.
    Replay(replay::ReplayArgs),
}

/// Where further rules are.
#[derive(Args, Clone, Debug, Default)]
pub struct RulesDir {
    /// A directory of further rules, as given to `sceau serve`.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

/// Runs `sceau rules`.
pub async fn run(args: RulesArgs) -> Result<Outcome, CliError> {
    match args.command {
        RulesCommand::Check(args) => check::check(&args),
        RulesCommand::Test(args) => test::run(&args),
        RulesCommand::List(args) => check::list(args).await,
        RulesCommand::Replay(args) => replay::run(args).await,
    }
}
