//! Finding out where an import of a file goes on.

use std::{fs::File, path::Path};

use super::{
    Job, POLL,
    batch::Reading,
    input::{Kind, Source},
    lines::Events,
    sink::About,
};
use crate::error::CliError;

/// How many files of one name and first line are told apart.
const GENERATIONS: u32 = 1_000;

/// A file as it is about to be read.
pub struct Plan {
    /// What is said about its events.
    pub about: About,
    /// The file.
    pub source: Source,
    /// How it is read.
    pub reading: Reading,
    /// How many others were imported under its name before.
    pub generation: u32,
}

/// Where an import is.
struct Place {
    id: String,
    generation: u32,
    lines: u64,
    events: Events,
}

impl Job {
    /// Finds out where to go on. `None` if there is nothing to import, or the wait for it was interrupted.
    pub(super) async fn plan(&self, path: &Path, file: File, source: &str) -> Result<Option<Plan>, CliError> {
        let Some(opened) = self.look(path, file).await? else { return Ok(None) };
        let kind = self.args.format.unwrap_or_else(|| opened.kind());
        let follow = self.args.follow;
        if follow && kind == Kind::Json {
            let text = format!("{} is a JSON array, so it can't be followed", path.display());
            return Err(CliError::Usage(text).of_input());
        }
        let Some(place) = self.place(path, &opened, kind, source).await? else { return Ok(None) };
        let Place { id, generation, lines, events } = place;
        // What is packed was finished before, and what is followed is waited for.
        let growing = kind != Kind::Text && !opened.packed() && !follow;
        let events = if growing { events.growing() } else { events };
        let watch = Some(opened.watch());
        let reading = Reading { events, lines, max_lines: self.max_lines(), watch, follow, eager: false };
        let about = self.about(source, kind, Some(id));
        Ok(Some(Plan { about, source: opened, reading, generation }))
    }

    /// Looks at the beginning of a file, which of one that is followed may come later.
    async fn look(&self, path: &Path, file: File) -> Result<Option<Source>, CliError> {
        let failed = || |error| CliError::file("reading", path)(error).of_input();
        let mut opened = Source::new(path, file).map_err(failed())?;
        if self.args.follow && opened.packed() {
            let text = format!("{} is packed, so it can't be followed", path.display());
            return Err(CliError::Usage(text).of_input());
        }
        while self.args.follow && !opened.has_first_line() {
            if self.stopped_within(POLL).await {
                return Ok(None);
            }
            let Some(file) = self.open(path).await? else { return Ok(None) };
            opened = Source::new(path, file).map_err(failed())?;
        }
        Ok(Some(opened).filter(|opened| !opened.is_empty()))
    }

    /// Asks the log how far the file was imported. `None` if the wait for the answer was interrupted.
    async fn place(&self, path: &Path, opened: &Source, kind: Kind, source: &str) -> Result<Option<Place>, CliError> {
        let failed = || |error| CliError::file("reading", path)(error).of_input();
        let mut fresh = None;
        for base in opened.ids(source) {
            let mut generation = 0;
            loop {
                let id = if generation == 0 { base.clone() } else { format!("{base}.{generation}") };
                let Some(stored) = self.sink.position(&id, self.patience(&|text| eprintln!("{text}"))).await? else {
                    return Ok(None);
                };
                let Some(stored) = stored else {
                    fresh.get_or_insert((id, generation));
                    break;
                };
                let found = opened.read_from(stored.offset, Some(&stored.tail), kind.shape()).map_err(failed())?;
                if let Some(events) = found {
                    return Ok(Some(Place { id, generation, lines: stored.lines, events }));
                }
                generation += 1;
                if generation == GENERATIONS {
                    let text = format!("{GENERATIONS} different files were imported as {}", path.display());
                    return Err(CliError::Failed(text).of_input());
                }
            }
        }
        let events = opened.read_from(0, None, kind.shape()).map_err(failed())?;
        Ok(fresh.zip(events).map(|((id, generation), events)| Place { id, generation, lines: 0, events }))
    }
}
