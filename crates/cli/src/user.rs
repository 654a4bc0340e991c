//! `sceau user`.

use std::io::Write as _;

use clap::{Args, Subcommand};
use sceau_server::{Accounts, By, Log, NewLink, Role, UserChange, UserView};

use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    target::{Target, TargetArgs, open_log},
    token::asker,
};

/// Users listed at once.
const PAGE: usize = 500;

/// Options of `sceau user`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau user add alice --role administrator --data-dir /var/lib/sceau --key-dir /etc/sceau/keys
  sceau user list --data-dir /var/lib/sceau --key-dir /etc/sceau/keys
  sceau user reset alice --data-dir /var/lib/sceau --key-dir /etc/sceau/keys
For a log that no server holds: stop the server first; a running one has all of this in its API. Whoever has the key
directory may do it, and that it was done is sealed in the log.")]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

/// What can be done with users.
#[derive(Subcommand, Debug)]
enum UserCommand {
    /// Make a user, and print the secret of the link by which he chooses a password.
    Add(AddArgs),
    /// List all users.
    List(ListArgs),
    /// Take password, second factor and sessions from a user, and print the secret of a link to choose a password anew.
    Reset(OneArgs),
    /// Let a user log in no more.
    Disable(OneArgs),
}

/// Options of `sceau user add`.
#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    one: OneArgs,
    /// What he may do: administrator, analyst or auditor.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// What people call him; the name for log-ins if left out.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

/// Options of `sceau user list`.
#[derive(Args, Debug)]
struct ListArgs {
    /// The answer as JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of what is done with one user.
#[derive(Args, Debug)]
struct OneArgs {
    /// The name for log-ins: a-z, 0-9 and . _ @ -
    #[arg(value_name = "USER")]
    user: String,
    /// Who does it, as the log will say.
    #[arg(long, value_name = "NAME", default_value = "local")]
    name: String,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `sceau user`.
pub async fn run(args: UserArgs) -> Result<Outcome, CliError> {
    match args.command {
        UserCommand::List(args) => {
            let (log, accounts) = open(&args.target).await?;
            let printed = print_users(&accounts, args.json);
            log.close().await?;
            printed?;
        }
        UserCommand::Add(AddArgs { one, role, display_name }) => {
            let by = By::local(asker(&one.name)?);
            let (log, accounts) = open(&one.target).await?;
            let shown = display_name.as_deref().unwrap_or(&one.user);
            let made = accounts.create_user(&log, &by, &one.user, shown, role, log.now()).await;
            finish(log, made.map(|link| print_link(&one.user, &link))).await?;
        }
        UserCommand::Reset(one) => {
            let by = By::local(asker(&one.name)?);
            let (log, accounts) = open(&one.target).await?;
            let made = accounts.reset_user(&log, &by, &one.user, true, log.now()).await;
            finish(log, made.map(|link| print_link(&one.user, &link))).await?;
        }
        UserCommand::Disable(one) => {
            let by = By::local(asker(&one.name)?);
            let (log, accounts) = open(&one.target).await?;
            let change = UserChange { disabled: Some(true), ..UserChange::default() };
            let changed = accounts.change_user(&log, &by, &one.user, change, log.now()).await;
            finish(log, changed.map(|_| Ok(()))).await?;
        }
    }
    Ok(Outcome::Done)
}

async fn open(target: &TargetArgs) -> Result<(Log, Accounts), CliError> {
    let Target::Local(config, keys_known) = target.resolve()? else {
        return Err(CliError::Usage(
            "`sceau user` works on a log that no server holds: stop the server, then give --data-dir or --store".into(),
        ));
    };
    let log = open_log(&config, keys_known).await?;
    match Accounts::of(&log, &config.accounts).await {
        Ok(accounts) => Ok((log, accounts)),
        Err(error) => {
            log.close().await?;
            Err(error.into())
        }
    }
}

/// Closes the log, whatever came of it; a link that could not be printed is lost, which is said.
async fn finish(log: Log, done: Result<std::io::Result<()>, sceau_server::ServerError>) -> Result<(), CliError> {
    let closed = log.close().await;
    if let Ok(Err(error)) = &done {
        return Err(CliError::Failed(format!("a link was made but could not be printed ({error}); reset the user")));
    }
    drop(done?);
    Ok(closed?)
}

fn print_link(user: &str, link: &NewLink) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{}", link.secret.expose())?;
    out.flush()?;
    eprintln!(
        "the secret of a link for {user}: open /setup#SECRET on the server, or give it to POST /api/v1/setup; it works \
         once, until {}",
        link.expires
    );
    Ok(())
}

fn print_users(accounts: &Accounts, json: bool) -> Result<(), CliError> {
    let mut out = stdout();
    let mut after = String::new();
    loop {
        let page = accounts.list_users(&after, PAGE);
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        for user in &page {
            if json {
                writeln!(out, "{}", serde_json::to_string(user).map_err(CliError::json("the answer"))?)?;
            } else {
                writeln!(out, "{:<24} {:<14} {:<12} {}", user.id, user.role.as_str(), state(user), user.name)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Whether a user can log in, in a word.
fn state(user: &UserView) -> &'static str {
    match (user.disabled, user.ready, user.second_factor) {
        (true, ..) => "disabled",
        (false, false, _) => "no password",
        (false, true, true) => "two factors",
        (false, true, false) => "password",
    }
}
