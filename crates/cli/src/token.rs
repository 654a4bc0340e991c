//! `sceau token`.

use std::{io::Write as _, time::Duration};

use clap::Args;
use sceau_event::Micros;
use sceau_server::{Role, TokenSpec};

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
Examples:
  sceau token --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --name alice > token.txt
  sceau token --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --role ingest --source nginx --address 192.0.2.0/24 \\
      --expires 90d --label 'web servers' > token.txt
For a lost first token: whoever has the key directory may have one. Stop the server first. Tokens that were there stay
valid, and that one was made is sealed in the log.")]
pub struct TokenArgs {
    /// Who asks for it, as the log will say.
    #[arg(long, value_name = "NAME", default_value = "local")]
    name: String,
    /// What it may do: administrator, analyst, auditor or ingest.
    #[arg(long, value_name = "ROLE", default_value = "administrator")]
    role: Role,
    /// What it is for, as lists of tokens show it.
    #[arg(long, value_name = "TEXT", default_value = "admin")]
    label: String,
    /// A source that it may send as, several times if need be; any, if left out.
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// An address or network that it may come from (192.0.2.0/24), several times if need be; any, if left out.
    #[arg(long = "address", value_name = "NETWORK")]
    addresses: Vec<String>,
    /// After how long it stops to be valid, e.g. 90d; never, if left out.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    target: TargetArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    sceau_server::duration(text).map_err(|error| error.to_string())
}

/// Makes sure that a name of whoever asks can be sealed and shown.
pub fn asker(name: &str) -> Result<&str, CliError> {
    let name = name.trim();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(CliError::Usage(format!("--name must be 1 to {MAX_NAME} bytes without control characters")));
    }
    Ok(name)
}

impl TokenArgs {
    /// What it shall be, refused before a log is opened if it can't.
    fn spec(&self, now: Micros) -> Result<TokenSpec, CliError> {
        let lasts = self.expires.map(|time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
        let spec = TokenSpec {
            name: self.label.clone(),
            role: self.role,
            expires: lasts.map(|lasts| Micros(now.0.saturating_add(lasts)).min(Micros::LAST)),
            sources: self.sources.clone(),
            addresses: self.addresses.clone(),
        };
        spec.check(now).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(spec)
    }
}

/// Runs `sceau token`.
pub async fn run(args: TokenArgs) -> Result<Outcome, CliError> {
    let name = asker(&args.name)?;
    args.spec(Micros(0))?;
    let Target::Local(config, keys_known) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "a token is made in a log that no server holds: stop the server, then give --data-dir or --store".into(),
        ));
    };
    let log = open_log(&config, keys_known).await?;
    let made = match args.spec(log.now()) {
        Ok(spec) => log.new_token(&spec, name).await.map_err(CliError::from),
        Err(error) => Err(error),
    };
    // Before anything else can fail: it is valid now, and nobody can show it again.
    let printed = made.as_ref().map(|token| print(token.secret.expose(), args.role));
    let closed = log.close().await;
    if let Ok(Err(error)) = printed {
        return Err(CliError::Failed(format!("a token was made but could not be printed ({error}); make another")));
    }
    made?;
    closed?;
    Ok(Outcome::Done)
}

fn print(token: &str, role: Role) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{token}")?;
    out.flush()?;
    eprintln!("a token ({role}): secret, shown only this once; `sceau --url` reads it from --token-file");
    Ok(())
}
