//! `sceau config`.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    serve,
    settings::{Origin, SettingsFile, Told},
    store,
};

/// Options of `sceau config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the settings as `sceau serve` would, and say what is wrong with them.
    Check {
        /// The file; ./sceau.toml or /etc/sceau/sceau.toml if left out and there [env: SCEAU_CONFIG].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print every setting that counts, and where it was said. Secrets are hidden.
    Show {
        /// The file; ./sceau.toml or /etc/sceau/sceau.toml if left out and there [env: SCEAU_CONFIG].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Only what is not the default.
        #[arg(long)]
        changed: bool,
    },
}

/// Runs `sceau config`.
pub fn run(args: ConfigArgs) -> Result<Outcome, CliError> {
    match args.command {
        ConfigCommand::Check { file } => check(file),
        ConfigCommand::Show { config, changed } => show(&read(config)?, changed),
    }
}

fn read(file: Option<PathBuf>) -> Result<Told, CliError> {
    Told::read(Vec::new(), file.as_deref(), store::variable)
}

fn check(file: Option<PathBuf>) -> Result<Outcome, CliError> {
    let told = read(file)?;
    serve::examine(&told.config()?)?;
    let changed = told.all().filter(|(.., origin)| *origin != Origin::Default).count();
    let mut out = stdout();
    match &told.file {
        Some(path) => writeln!(out, "{}: good", path.display())?,
        None => writeln!(out, "there is no file of settings ({}); the others are good", SettingsFile::places())?,
    }
    writeln!(out, "{changed} settings are not the default; `sceau config show` prints all")?;
    out.flush()?;
    Ok(Outcome::Done)
}

/// Prints the settings as a file could say them.
fn show(told: &Told, changed: bool) -> Result<Outcome, CliError> {
    let mut out = stdout();
    let mut last = "";
    for (setting, value, origin) in told.all() {
        if changed && origin == Origin::Default {
            continue;
        }
        let (section, key) = setting.parts();
        if section != last {
            let between = if last.is_empty() { "" } else { "\n" };
            writeln!(out, "{between}[{section}]")?;
            last = section;
        }
        match value {
            // As a comment, since it can't stand in the file.
            Some(value) if setting.secret => writeln!(out, "# {key} = {value}  # {origin}")?,
            Some(value) => writeln!(out, "{key} = {value}  # {origin}")?,
            None => writeln!(out, "# {key} is not set")?,
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}
