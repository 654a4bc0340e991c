//! How the values of settings are written, in `sceau.toml` and as text in the environment and behind options.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use sceau_server::{ForwardedHeader, Secret};
use toml::Value;

use crate::{logging::LogFormat, store::Uri};

/// A way to write values of a type.
pub trait Form<T> {
    /// Reads a value, or says what it must be.
    fn read(&self, given: &Value) -> Result<T, String>;

    /// Writes it; `None` if there is none to write.
    fn show(&self, value: &T) -> Option<Value>;
}

/// A value that may be missing.
pub struct Optional<F>(pub F);

impl<T, F: Form<T>> Form<Option<T>> for Optional<F> {
    fn read(&self, given: &Value) -> Result<Option<T>, String> {
        self.0.read(given).map(Some)
    }

    fn show(&self, value: &Option<T>) -> Option<Value> {
        value.as_ref().and_then(|value| self.0.show(value))
    }
}

fn text(given: &Value) -> Result<&str, String> {
    given.as_str().ok_or_else(|| "must be a text in quotes".to_owned())
}

/// Text.
pub struct Text;

impl Form<String> for Text {
    fn read(&self, given: &Value) -> Result<String, String> {
        text(given).map(str::to_owned)
    }

    fn show(&self, value: &String) -> Option<Value> {
        Some(Value::from(value.as_str()))
    }
}

/// A file or a directory.
pub struct Path;

impl Form<PathBuf> for Path {
    fn read(&self, given: &Value) -> Result<PathBuf, String> {
        match text(given)? {
            "" => Err("must name a file or directory".to_owned()),
            path => Ok(PathBuf::from(path)),
        }
    }

    fn show(&self, value: &PathBuf) -> Option<Value> {
        Some(Value::from(value.to_string_lossy().into_owned()))
    }
}

/// An address and a port.
pub struct Address;

impl Form<SocketAddr> for Address {
    fn read(&self, given: &Value) -> Result<SocketAddr, String> {
        let wanted = || "must be ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8443".to_owned();
        text(given)?.parse().map_err(|_| wanted())
    }

    fn show(&self, value: &SocketAddr) -> Option<Value> {
        Some(Value::from(value.to_string()))
    }
}

/// Yes or no.
pub struct Switch;

impl Form<bool> for Switch {
    fn read(&self, given: &Value) -> Result<bool, String> {
        match given {
            Value::Boolean(value) => Ok(*value),
            Value::String(text) if ["true", "1", "yes"].contains(&text.as_str()) => Ok(true),
            Value::String(text) if ["false", "0", "no"].contains(&text.as_str()) => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    fn show(&self, value: &bool) -> Option<Value> {
        Some(Value::from(*value))
    }
}

/// A whole number in a range.
pub struct Count(pub u64, pub u64);

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Count {
    fn read(&self, given: &Value) -> Result<T, String> {
        let number = match given {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (self.0..=self.1).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("must be a number, {} to {}", self.0, self.1))
    }

    fn show(&self, value: &T) -> Option<Value> {
        let number: u64 = (*value).try_into().ok()?;
        Some(Value::Integer(i64::try_from(number).ok()?))
    }
}

/// A number of entries that make a segment.
pub struct Entries;

impl Form<usize> for Entries {
    fn read(&self, given: &Value) -> Result<usize, String> {
        let wanted = || "must be a multiple of 256, from 256 to 1048576".to_owned();
        let entries: usize = Count(256, 1 << 20).read(given).map_err(|_| wanted())?;
        if entries.is_multiple_of(256) { Ok(entries) } else { Err(wanted()) }
    }

    fn show(&self, value: &usize) -> Option<Value> {
        Count(0, u64::MAX).show(value)
    }
}

/// A number of bytes.
pub struct Bytes;

const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Form<T> for Bytes {
    fn read(&self, given: &Value) -> Result<T, String> {
        let wanted = || "must be a size such as 500M, 20G, or a number of bytes".to_owned();
        let bytes = match given {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| wanted())?,
            _ => sceau_server::size(text(given).map_err(|_| wanted())?).map_err(|_| wanted())?,
        };
        T::try_from(bytes).map_err(|_| wanted())
    }

    fn show(&self, value: &T) -> Option<Value> {
        let bytes: u64 = (*value).try_into().ok()?;
        let unit = UNITS.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
        Some(match unit {
            Some((unit, name)) => Value::from(format!("{}{name}", bytes / unit)),
            None => Value::Integer(i64::try_from(bytes).ok()?),
        })
    }
}

/// A length of time, in whole seconds from the first to the second.
pub struct Time(pub u64, pub u64);

const TIMES: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];

impl Form<Duration> for Time {
    fn read(&self, given: &Value) -> Result<Duration, String> {
        let wanted = || format!("must be a time such as 30s, 10m, 1h or 1d, of {} to {} seconds", self.0, self.1);
        let time = match given {
            Value::Integer(seconds) => Duration::from_secs(u64::try_from(*seconds).map_err(|_| wanted())?),
            Value::String(text) => match text.parse() {
                Ok(seconds) => Duration::from_secs(seconds),
                Err(_) => sceau_server::duration(text).map_err(|_| wanted())?,
            },
            _ => return Err(wanted()),
        };
        if (self.0..=self.1).contains(&time.as_secs()) { Ok(time) } else { Err(wanted()) }
    }

    fn show(&self, value: &Duration) -> Option<Value> {
        let seconds = value.as_secs();
        let (unit, name) = TIMES.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, 's'));
        Some(Value::from(format!("{}{name}", seconds / unit)))
    }
}

/// How often something is done, or `never`.
pub struct Every;

impl Form<Option<Duration>> for Every {
    fn read(&self, given: &Value) -> Result<Option<Duration>, String> {
        if given.as_str() == Some("never") {
            return Ok(None);
        }
        let time = Time(1, 366 * 86_400).read(given).map_err(|wanted| format!("{wanted}, or never"))?;
        Ok(Some(time))
    }

    fn show(&self, value: &Option<Duration>) -> Option<Value> {
        value.map_or(Some(Value::from("never")), |time| Time(0, 0).show(&time))
    }
}

/// A list of texts; in the environment and behind options divided by commas.
pub struct List;

impl Form<Vec<String>> for List {
    fn read(&self, given: &Value) -> Result<Vec<String>, String> {
        let wanted = || "must be a list of texts".to_owned();
        match given {
            Value::String(text) => Ok(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wanted)).collect()
            }
            _ => Err(wanted()),
        }
    }

    fn show(&self, value: &Vec<String>) -> Option<Value> {
        Some(Value::Array(value.iter().map(|item| Value::from(item.as_str())).collect()))
    }
}

/// One of some words.
pub struct Word<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: PartialEq + Copy + fmt::Debug> Form<T> for Word<T> {
    fn read(&self, given: &Value) -> Result<T, String> {
        let found = self.0.iter().find(|(word, _)| given.as_str() == Some(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            format!("must be {}", words.join(" or "))
        })
    }

    fn show(&self, value: &T) -> Option<Value> {
        self.0.iter().find(|(_, known)| known == value).map(|(word, _)| Value::from(*word))
    }
}

/// How log lines look.
pub const LOG_FORMAT: Word<LogFormat> = Word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
/// What trusted proxies write.
pub const FORWARDED: Word<ForwardedHeader> =
    Word(&[("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)]);

/// The URI of a database. A password in it is not shown.
pub struct Database;

impl Form<Uri> for Database {
    fn read(&self, given: &Value) -> Result<Uri, String> {
        let Ok(uri) = text(given)?.parse::<Uri>();
        Ok(uri)
    }

    fn show(&self, value: &Uri) -> Option<Value> {
        Some(Value::from(format!("{value:?}")))
    }
}

/// A secret.
pub struct Hidden;

impl Form<Secret> for Hidden {
    fn read(&self, given: &Value) -> Result<Secret, String> {
        text(given).map(|text| Secret::new(text.to_owned()))
    }

    fn show(&self, _: &Secret) -> Option<Value> {
        Some(Value::from("***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        let sizes = [0u64, 1, 1_000, 1 << 10, 512 << 20, 3 << 40];
        for size in sizes {
            assert_eq!(Bytes.read(&Bytes.show(&size).unwrap()), Ok(size));
        }
        for seconds in [1u64, 60, 90, 3_600, 86_400, 86_401] {
            let time = Duration::from_secs(seconds);
            let form = Time(1, 100_000);
            assert_eq!(form.read(&form.show(&time).unwrap()), Ok(time));
        }
        for every in [None, Some(Duration::from_secs(1_800))] {
            assert_eq!(Every.read(&Every.show(&every).unwrap()), Ok(every));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let number: Result<u32, String> = Count(1, 100).read(&Value::Integer(101));
        assert_eq!(number, Err("must be a number, 1 to 100".to_owned()));
        assert!(Form::<u32>::read(&Count(0, u64::MAX), &Value::Integer(-1)).is_err());
        assert!(Form::<u32>::read(&Count(0, u64::MAX), &Value::Integer(1 << 40)).is_err());
        assert!(Form::<usize>::read(&Bytes, &Value::from("1X")).is_err());
        assert!(Entries.read(&Value::Integer(257)).is_err());
        assert!(Time(1, 3_600).read(&Value::from("2h")).is_err());
        assert!(Switch.read(&Value::from("maybe")).is_err());
        assert!(LOG_FORMAT.read(&Value::from("xml")).unwrap_err().contains("text or json"));
        assert!(List.read(&Value::Array(vec![Value::Integer(1)])).is_err());
        assert_eq!(List.read(&Value::from("a, b")), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }
}
