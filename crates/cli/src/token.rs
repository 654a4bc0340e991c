//! `sceau token`.

use std::io::Write as _;

use clap::Args;

use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    target::{Target, TargetArgs, open_log},
};

/// The longest name of whoever asks.
const MAX_NAME: usize = 128;

/// Options of `sceau token`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau token --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --name alice > token.txt
For a lost first token: whoever has the key directory may have one. Stop the server first. Tokens that were there stay
valid, and that one was made is sealed in the log.")]
pub struct TokenArgs {
    /// Who asks for it, as the log will say.
    #[arg(long, value_name = "NAME", default_value = "local")]
    name: String,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `sceau token`.
pub async fn run(args: TokenArgs) -> Result<Outcome, CliError> {
    let name = args.name.trim();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(CliError::Usage(format!("--name must be 1 to {MAX_NAME} bytes without control characters")));
    }
    let Target::Local(config, keys_known) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "a token is made in a log that no server holds: stop the server, then give --data-dir or --store".into(),
        ));
    };
    let log = open_log(&config, keys_known).await?;
    let made = log.new_admin_token(name).await;
    // Before anything else can fail: it is valid now, and nobody can show it again.
    let printed = made.as_ref().map(|token| print(token.secret.expose()));
    let closed = log.close().await;
    if let Ok(Err(error)) = printed {
        return Err(CliError::Failed(format!("a token was made but could not be printed ({error}); make another")));
    }
    made?;
    closed?;
    Ok(Outcome::Done)
}

fn print(token: &str) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{token}")?;
    out.flush()?;
    eprintln!("an administrator's token: secret, shown only this once; `sceau --url` reads it from --token-file");
    Ok(())
}
