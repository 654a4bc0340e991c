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
Records are derived: this loses nothing and changes no entry. Use it after parsers were added or changed, or when
`verify` finds a record that its entry does not lead to. A running server does it with its own parsers (--url).")]
pub struct RebuildArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// What a server says.
#[derive(Deserialize)]
struct Rebuilt {
    derived: u64,
}

/// Runs `sceau rebuild`.
pub async fn run(args: RebuildArgs) -> Result<Outcome, CliError> {
    let config = match args.target.resolve()? {
        Target::Local(config, _) => config,
        Target::Remote(client) => {
            let answer = client.post("api/v1/integrity/rebuild", &[], "application/json", Bytes::new()).await?;
            let answer: Rebuilt = serde_json::from_str(&answer)
                .map_err(|error| CliError::Failed(format!("the answer can't be understood: {error}")))?;
            println!("derived {} records again", grouped(answer.derived));
            return Ok(Outcome::Done);
        }
    };
    let reader = Reader::open(&config).await?;
    let steps = Steps::new("entries");
    let done = reader.rebuild(&|done, total| steps.at(done, total)).await?;
    steps.finish();
    reader.close().await?;
    println!("derived {} records again", grouped(done));
    Ok(Outcome::Done)
}
