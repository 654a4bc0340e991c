//! `sceau rebuild`.

use bytes::Bytes;
use clap::Args;
use sceau_server::Reader;
use serde::Deserialize;

use crate::{
    Outcome,
    error::CliError,
    import::progress::Steps,
    output::grouped,
    target::{Target, TargetArgs},
};

/// Options of `sceau rebuild`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau rebuild --data-dir /var/lib/sceau --parsers /etc/sceau/parsers
Records and alerts are derived: this loses nothing and changes no entry. Use it after parsers were added or changed, when
`verify` finds a record that its entry does not lead to, or when alerts were lost or changed in the database; alerts need
the keys (--key-dir). A running server does it with its own parsers (--url).")]
pub struct RebuildArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// What a server says.
#[derive(Deserialize)]
struct Rebuilt {
    derived: u64,
    alerts: u64,
}

/// Runs `sceau rebuild`.
pub async fn run(args: RebuildArgs) -> Result<Outcome, CliError> {
    let (config, keys_known) = match args.target.resolve()? {
        Target::Local(config, keys_known) => (config, keys_known),
        Target::Remote(client) => {
            let answer = client.post("api/v1/integrity/rebuild", &[], "application/json", Bytes::new()).await?;
            let answer: Rebuilt = serde_json::from_str(&answer)
                .map_err(|error| CliError::Failed(format!("the answer can't be understood: {error}")))?;
            tell(answer.derived, Some(answer.alerts));
            return Ok(Outcome::Done);
        }
    };
    let reader = Reader::open(&config).await?;
    let steps = Steps::new("entries");
    let done = reader.rebuild(&|done, total| steps.at(done, total)).await?;
    steps.finish();
    let alerts = if keys_known { Some(reader.rebuild_alerts(&config).await?) } else { None };
    reader.close().await?;
    tell(done, alerts);
    Ok(Outcome::Done)
}

fn tell(records: u64, alerts: Option<u64>) {
    println!("derived {} records again", grouped(records));
    match alerts {
        Some(alerts) => println!("made {} alerts again", grouped(alerts)),
        None => println!("alerts stay as they are: to make them again, give --key-dir (or SCEAU_KEY_DIR)"),
    }
}
