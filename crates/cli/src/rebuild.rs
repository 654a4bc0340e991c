//! `sceau rebuild`.

use std::collections::BTreeMap;

use bytes::Bytes;
use clap::Args;
use sceau_server::{Reader, Rebuilt, ServerError};
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
struct Answer {
    derived: Option<u64>,
    alerts: Option<u64>,
    failed: Option<BTreeMap<String, Reason>>,
}

#[derive(Deserialize)]
struct Reason {
    title: String,
    #[serde(default)]
    detail: String,
}

/// What was made again, or why not.
type Made = Result<u64, String>;

/// Runs `sceau rebuild`.
pub async fn run(args: RebuildArgs) -> Result<Outcome, CliError> {
    let (config, keys_known) = match args.target.resolve()? {
        Target::Local(config, keys_known) => (config, keys_known),
        Target::Remote(client) => {
            let answer = client.post("api/v1/integrity/rebuild", &[], "application/json", Bytes::new()).await?;
            let Answer { derived, alerts, failed } = serde_json::from_str(&answer)
                .map_err(|error| CliError::Failed(format!("the answer can't be understood: {error}")))?;
            let why = |name: &str| match failed.as_ref().and_then(|failed| failed.get(name)) {
                Some(Reason { title, detail }) => format!("{title}. {detail}"),
                None => "the server does not say why".to_owned(),
            };
            return tell(derived.ok_or_else(|| why("derived")), Some(alerts.ok_or_else(|| why("alerts"))));
        }
    };
    let reader = Reader::open(&config).await?;
    let steps = Steps::new("entries");
    let made = reader.rebuild(keys_known.then_some(&config), &|done, total| steps.at(done, total)).await;
    steps.finish();
    reader.close().await?;
    let Rebuilt { records, alerts } = made?;
    let told = |made: Result<u64, ServerError>| made.map_err(|error| error.to_string());
    tell(told(records), alerts.map(told))
}

/// Says what became of both; it failed if one of them did.
fn tell(records: Made, alerts: Option<Made>) -> Result<Outcome, CliError> {
    if let Ok(records) = &records {
        println!("derived {} records again", grouped(*records));
    }
    match &alerts {
        Some(Ok(alerts)) => println!("made {} alerts again", grouped(*alerts)),
        Some(Err(_)) => {}
        None => println!("alerts stay as they are: to make them again, give --key-dir (or SCEAU_KEY_DIR)"),
    }
    let failed =
        |what: &str, made: Option<Made>| made?.err().map(|why| format!("{what} could not be made again: {why}"));
    let failed: Vec<String> = failed("alerts", alerts).into_iter().chain(failed("records", Some(records))).collect();
    if failed.is_empty() { Ok(Outcome::Done) } else { Err(CliError::Failed(failed.join("\n"))) }
}
