//! Reading `sceau.toml`: every key must be known, and what is wrong is told with its line.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::table::{SETTINGS, Setting, setting};
use crate::error::CliError;

/// The most bytes of a file of settings.
const MAX_FILE: u64 = 1 << 20;
/// Where it is looked for, in this order.
const PLACES: [&str; 2] = ["./sceau.toml", "/etc/sceau/sceau.toml"];

/// A file of settings: what it says, and where.
#[derive(Debug)]
pub struct SettingsFile {
    /// Where it lies.
    pub path: PathBuf,
    /// By the settings' names.
    pub said: Said,
}

impl SettingsFile {
    /// Reads a file that was named.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(CliError::file("reading", path))?;
        Self::of(path, file)
    }

    /// Reads the first file that is where one is looked for, if there is one.
    pub fn find() -> Result<Option<Self>, CliError> {
        for path in PLACES.map(Path::new) {
            match File::open(path) {
                Ok(file) => return Self::of(path, file).map(Some),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(CliError::file("reading", path)(error)),
            }
        }
        Ok(None)
    }

    /// Where one is looked for, in words.
    pub fn places() -> String {
        PLACES.join(" or ")
    }

    /// Whether every key in a text is known.
    #[cfg(test)]
    pub fn all_known(text: &str) -> Result<(), String> {
        parse(text).map(|_| ()).map_err(|(line, what)| format!("{line}: {what}"))
    }

    fn of(path: &Path, file: File) -> Result<Self, CliError> {
        let mut text = String::new();
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(CliError::file("reading", path))?;
        if text.len() as u64 > MAX_FILE {
            return Err(CliError::Usage(format!("{} has more than {MAX_FILE} bytes", path.display())));
        }
        let said =
            parse(&text).map_err(|(line, what)| CliError::Usage(format!("{}:{line}: {what}", path.display())))?;
        Ok(Self { path: path.to_owned(), said })
    }
}

/// Values, and the lines that they are in, by the settings' names.
type Said = BTreeMap<&'static str, (Value, usize)>;

/// What a text says, or the line and what is wrong there.
fn parse(text: &str) -> Result<Said, (usize, String)> {
    let line = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let broken = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        (line(at), error.message().trim().to_owned())
    };
    let whole: Table = text.parse().map_err(broken)?;
    let places = DeTable::parse(text).map_err(broken)?;
    let mut said = BTreeMap::new();
    for (section, content) in places.get_ref() {
        let DeValue::Table(keys) = content.get_ref() else {
            let known = nearest(section.get_ref());
            return Err((line(section.span().start), format!("{} belongs into a section{known}", section.get_ref())));
        };
        let section: &str = section.get_ref();
        if keys.is_empty() && !SETTINGS.iter().any(|setting| setting.parts().0 == section) {
            return Err((line(content.span().start), format!("there is no section {section}")));
        }
        for key in keys.keys() {
            let at = line(key.span().start);
            let key: &str = key.get_ref();
            let name = format!("{section}.{key}");
            let Some(setting) = setting(&name) else {
                return Err((at, format!("{name} is no setting{}", nearest(&name))));
            };
            if setting.secret {
                return Err((at, secret(setting)));
            }
            let value = whole.get(section).and_then(|section| section.get(key));
            if let Some(value) = value {
                said.insert(setting.key, (value.clone(), at));
            }
        }
    }
    Ok(said)
}

fn secret(setting: &Setting) -> String {
    format!(
        "{} is a secret, which does not belong into this file: put it into a file of its own and name that in {}_file, or \
         set {}",
        setting.key,
        setting.key,
        setting.variable()
    )
}

/// The known name that is meant, if one is near enough.
fn nearest(name: &str) -> String {
    let key = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |setting: &&Setting| {
        // The right key in the wrong section is nearer than anything else.
        if key(setting.key) == key(name) { 0 } else { strsim::damerau_levenshtein(setting.key, name) }
    };
    let found = SETTINGS.iter().filter(|setting| !setting.secret).min_by_key(distance);
    match found {
        Some(setting) if distance(&setting) <= 2 + name.len() / 4 => format!("; is {} meant?", setting.key),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_is_said_is_found_with_its_line() {
        let said = parse("# x\n[server]\nlisten = \"127.0.0.1:1\"\n\n[rates]\naddress = 5\n").unwrap();
        assert_eq!(said["server.listen"], (Value::from("127.0.0.1:1"), 3));
        assert_eq!(said["rates.address"], (Value::Integer(5), 6));
        let inline = parse("server.listen = \"127.0.0.1:1\"\nstore = { data_dir = \"/d\" }").unwrap();
        assert_eq!(inline["store.data_dir"], (Value::from("/d"), 2));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_that_is_known() {
        for (text, line, meant) in [
            ("[server]\n\nlisen = 1", 3, "server.listen"),
            ("[servr]\nlisten = 1", 2, "server.listen"),
            ("[server]\nqueries = 1", 2, "limits.queries"),
            ("[retention]\ndais = 1", 2, "retention.days"),
        ] {
            let (at, what) = refused(text);
            assert!(at == line && what.contains(&format!("is {meant} meant?")), "{at}: {what}");
        }
        assert!(refused("[servr]\n").1.contains("no section servr"));
        assert!(!refused("[a]\nzzzzzzzzzzzzzzzz = 1").1.contains("meant"));
        assert_eq!(refused("listen = 1"), (1, "listen belongs into a section; is server.listen meant?".to_owned()));
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        assert_eq!(refused("[server]\nlisten = \n").0, 2);
        assert_eq!(refused("[server]\nlisten = 1\nlisten = 2\n").0, 3);
    }

    #[test]
    fn secrets_do_not_stand_in_it() {
        for text in ["[store]\npassword = \"x\"", "[server]\nbootstrap_token = \"x\""] {
            let (line, what) = refused(text);
            assert!(line == 2 && what.contains("_file") && what.contains("SCEAU_"), "{what}");
        }
    }
}
