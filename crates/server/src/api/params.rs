//! Query parameters: each known by name, given once, and used; anything else is refused by name.

use axum::{extract::Query, http::Uri};
use sceau_store::query::Order;

use crate::{error::ServerError, reader::Filtered};

/// The most parameters that are looked at.
const MAX: usize = 32;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

/// The first `limit` of a list that was asked for one more, and where the next page begins: behind the last of them.
pub(super) fn page<T>(mut found: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(cursor);
    (found, next)
}

impl Params {
    /// Reads a request's parameters, all of which must be `known`.
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Self, ServerError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ServerError::parameter("?", "the part behind ? can't be read"))?;
        if pairs.len() > MAX {
            return Err(ServerError::parameter("?", format!("at most {MAX} parameters are read")));
        }
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let name = name.chars().take(64).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ServerError::UnknownParameter { name, known });
            }
            if pairs.iter().take(at).any(|(other, _)| other == name) {
                return Err(ServerError::parameter(name, "must be given once"));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter's text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A parameter that must be there.
    pub fn required(&mut self, name: &str) -> Result<String, ServerError> {
        self.text(name).ok_or_else(|| ServerError::parameter(name, "is missing"))
    }

    /// A whole number.
    pub fn number<N: std::str::FromStr>(&mut self, name: &str) -> Result<Option<N>, ServerError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(ServerError::parameter(name, "must be a whole number")),
        }
    }

    /// How many of a list: at least one, and so many if nothing is said.
    pub fn limit(&mut self, default: usize, most: usize) -> Result<usize, ServerError> {
        match self.number("limit")?.unwrap_or(default) {
            limit if (1..=most).contains(&limit) => Ok(limit),
            limit => Err(ServerError::parameter("limit", format!("must be 1 to {most}, not {limit}"))),
        }
    }

    /// `true` or `false`, and what counts if nothing is said.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, ServerError> {
        match self.text(name).as_deref() {
            None => Ok(default),
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ServerError::parameter(name, "must be true or false")),
        }
    }

    /// `newest` or `oldest`.
    pub fn order(&mut self) -> Result<Order, ServerError> {
        match self.text("order").as_deref() {
            None | Some("newest") => Ok(Order::Newest),
            Some("oldest") => Ok(Order::Oldest),
            Some(_) => Err(ServerError::parameter("order", "must be newest or oldest")),
        }
    }

    /// What all questions share. An empty text is as good as none: forms send it.
    pub fn filtered(&mut self) -> Filtered {
        let mut text = |name| self.text(name).filter(|text| !text.is_empty());
        Filtered { q: text("q"), from: text("from"), to: text("to") }
    }
}

/// An index in a path.
pub(super) fn index(text: &str) -> Result<u64, ServerError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| ServerError::parameter("index", "must be a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, ServerError> {
        Params::read(&format!("/x?{query}").parse().unwrap(), &["a", "limit", "order"])
    }

    #[test]
    fn each_is_known_given_once_and_understood() {
        assert_eq!(read("a=x%20y&limit=5").unwrap().text("a").as_deref(), Some("x y"));
        assert_eq!(read("limit=5").unwrap().number::<usize>("limit").unwrap(), Some(5));
        assert_eq!(read("").unwrap().number::<usize>("limit").unwrap(), None);
        for (query, code) in [("b=1", "unknown_parameter"), ("a=1&a=2", "bad_parameter")] {
            assert_eq!(read(query).unwrap_err().code(), code, "{query}");
        }
        for number in ["", "-1", "+1", "1.0", "x", "99999999999999999999999"] {
            assert!(read(&format!("limit={number}")).unwrap().number::<u64>("limit").is_err(), "{number}");
        }
        assert_eq!(read("").unwrap().limit(100, 500).unwrap(), 100);
        assert_eq!(read("limit=500").unwrap().limit(100, 500).unwrap(), 500);
        for wrong in ["limit=0", "limit=501", "limit=x"] {
            assert_eq!(read(wrong).unwrap().limit(100, 500).unwrap_err().code(), "bad_parameter", "{wrong}");
        }
        assert!(read("order=up").unwrap().order().is_err());
        assert!(read("a=yes").unwrap().flag("a", false).is_err());
        assert!(index("+1").is_err() && index("").is_err() && index("18446744073709551616").is_err());
    }
}
