//! Which of a directory and a database holds the log, when both were said somewhere.

use sceau_server::Place;

use super::{Origin, Rank, Told};
use crate::{error::CliError, store};

const DIRECTORY: &str = "store.data_dir";
const DATABASE: &str = "store.uri";

pub(super) fn place(told: &Told) -> Result<Place, CliError> {
    let (directory, database) = (told.rank(DIRECTORY), told.rank(DATABASE));
    let uri = told.settings.uri.as_ref().filter(|_| database >= directory);
    match uri {
        None if told.rank("store.password_file") == Rank::Option => {
            Err(CliError::Usage("--store-password-file is the password for --store, which is missing".into()))
        }
        None => Ok(Place::Directory(told.settings.data_dir.clone())),
        Some(_) if database == directory => Err(both(told)),
        Some(uri) => {
            let origin = told.origin(DATABASE);
            if uri.has_password() {
                match &origin {
                    Origin::File(..) => {
                        return Err(CliError::Usage(format!(
                            "{origin}: {DATABASE} holds a password, which does not belong into this file: leave it out and \
                             give store.password_file"
                        )));
                    }
                    Origin::Option(option) => store::warn_of_password(uri, option),
                    _ => {}
                }
            }
            // The environment's is for whoever gives none: a URI that has one is whole.
            let is_whole = uri.has_password() && told.rank("store.password_file") < Rank::Environment;
            let file = "store.password_file";
            let password = if is_whole { None } else { told.secret("store.password", &told.settings.password, file)? };
            store::database(uri, password, &origin.to_string())
        }
    }
}

fn both(told: &Told) -> CliError {
    CliError::Usage(match told.rank(DATABASE) {
        Rank::Environment => {
            "both SCEAU_STORE and SCEAU_DATA_DIR are set; say which log is meant with --store or --data-dir".into()
        }
        Rank::File => {
            format!("{}: both {DIRECTORY} and {DATABASE} are set; a log is in one of them", told.origin(DATABASE))
        }
        _ => "a log is either in --store or in --data-dir: give one of them".into(),
    })
}
