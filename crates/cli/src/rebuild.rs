//! `sceau rebuild`.

use clap::Args;
use sceau_server::Reader;

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
`verify` finds a record that its entry does not lead to. Stop the server first.")]
pub struct RebuildArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `sceau rebuild`.
pub async fn run(args: RebuildArgs) -> Result<Outcome, CliError> {
    let Target::Local(config, _) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "rebuild works on a data directory that no server holds: stop the server, then give --data-dir".into(),
        ));
    };
    let reader = Reader::open(&config).await?;
    let steps = Steps::new("entries");
    let done = reader.store().rebuild(reader.deriver().clone(), &|done, total| steps.at(done, total)).await?;
    steps.finish();
    reader.close().await?;
    println!("derived {} records again", grouped(done));
    Ok(Outcome::Done)
}
