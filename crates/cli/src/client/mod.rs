//! The server's API, seen from outside.

mod connect;
mod tls;

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use hyper::{
    Method, Request, Uri,
    header::{self, HeaderValue},
};
use sceau_server::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::connect::{Answer, Http, Whole};
pub use self::{connect::Broken, tls::TrustArgs};
use crate::error::CliError;

/// What a server said instead of doing it: problem details (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: String,
    /// The same in words.
    pub title: String,
    /// What is wrong and what would be right.
    pub detail: String,
    /// Further members, such as the column of a query's error.
    #[serde(flatten)]
    pub members: Map<String, Value>,
    /// Seconds to wait before trying again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.title.is_empty() { "the server refused" } else { &self.title };
        write!(f, "{title} (HTTP {})", self.status)?;
        if let Some(column) = self.members.get("column") {
            write!(f, ", column {column}")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if self.status == 401 {
            f.write_str(" Give --token-file, or set SCEAU_TOKEN.")?;
        }
        Ok(())
    }
}

/// Parameters of a request.
pub type Params<'a> = [(&'a str, Option<String>)];

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    /// The server's address, without a slash at its end.
    base: String,
    token: Option<Secret>,
}

impl Client {
    /// Prepares to talk to the server at `url`.
    pub fn new(url: &str, token: Option<Secret>, trust: &TrustArgs) -> Result<Self, CliError> {
        let usage = |why: &str| CliError::Usage(format!("--url {url}: {why}"));
        let parsed: Uri = url.parse().map_err(|_| usage("it should be like https://HOST:PORT"))?;
        let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
            return Err(usage("it should be like https://HOST:PORT"));
        };
        if authority.as_str().contains('@') {
            return Err(usage("secrets don't belong on the command line; use --token-file or SCEAU_TOKEN"));
        }
        let tls = match scheme {
            "http" => None,
            "https" => Some(tls::connector(trust)?),
            _ => return Err(usage("it should begin with http:// or https://")),
        };
        if token.is_some() && tls.is_none() && !is_loopback(authority.host()) {
            eprintln!("sceau: warning: the token travels to {} in the clear", authority.host());
        }
        let base = format!("{scheme}://{authority}{}", parsed.path().trim_end_matches('/'));
        // No proxy is asked: it would see the token, and a server on this machine is out of its reach anyway.
        Ok(Self { http: Http::new(tls), base, token })
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.base
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        params: &Params<'_>,
        body: Option<(&str, Bytes)>,
    ) -> Result<Request<Whole>, CliError> {
        let mut request = Request::builder()
            .method(method)
            .uri(address(&self.base, path, params))
            .header(header::USER_AGENT, concat!("sceau/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| CliError::Usage("the token has characters that no token has".into()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut whole = Bytes::new();
        if let Some((kind, bytes)) = body {
            request = request.header(header::CONTENT_TYPE, kind);
            whole = bytes;
        }
        request.body(Whole::from(whole)).map_err(|error| CliError::Usage(format!("{path}: {error}")))
    }

    async fn finish(&self, request: Request<Whole>) -> Result<Bytes, CliError> {
        let answer = self.http.send(request).await.map_err(|source| CliError::Connection {
            url: self.url().to_owned(),
            reason: source.reason(),
            source,
        })?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(CliError::Refused(Box::new(problem(&answer))))
    }

    /// Asks for something, as bytes.
    pub async fn get(&self, path: &str, params: &Params<'_>) -> Result<Bytes, CliError> {
        self.finish(self.request(Method::GET, path, params, None)?).await
    }

    /// Changes a part of something.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<String, CliError> {
        let body = ("application/json", Bytes::from(body.to_string()));
        let request = self.request(Method::PATCH, path, &[], Some(body))?;
        let bytes = self.finish(request).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }

    /// Removes or stops something.
    pub async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.finish(self.request(Method::DELETE, path, &[], None)?).await.map(|_| ())
    }

    /// Asks for something, as text.
    pub async fn get_text(&self, path: &str, params: &Params<'_>) -> Result<String, CliError> {
        let bytes = self.get(path, params).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }

    /// Sends a body; the answer as text.
    pub async fn post(&self, path: &str, params: &Params<'_>, kind: &str, body: Bytes) -> Result<String, CliError> {
        let request = self.request(Method::POST, path, params, Some((kind, body)))?;
        let bytes = self.finish(request).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The address of something on a server.
fn address(base: &str, path: &str, params: &Params<'_>) -> String {
    // What a path may hold as it is (RFC 3986), and what divides it.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%?".contains(&byte);
    let mut address = format!("{base}/");
    encode(&mut address, path, plain);
    let given = params.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (at, (name, value)) in given.enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        for (divider, text) in [("", *name), ("=", value.as_str())] {
            address.push_str(divider);
            encode(&mut address, text, |byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
        }
    }
    address
}

fn encode(into: &mut String, text: &str, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        match byte {
            byte if plain(byte) => into.push(char::from(byte)),
            byte => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn problem(answer: &Answer) -> Problem {
    let header = answer.headers.get(header::RETRY_AFTER);
    let mut problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    problem.status = answer.status.as_u16();
    problem.retry_after = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let pinned = TrustArgs { tls_fingerprint: Some("0".repeat(64)), ca_file: None };
        for (url, good) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("https://127.0.0.1", true),
            ("ftp://127.0.0.1", false),
            ("127.0.0.1:8080", false),
            ("http://user:secret@localhost", false),
        ] {
            assert_eq!(Client::new(url, None, &pinned).is_ok(), good, "{url}");
        }
        let odd = TrustArgs { tls_fingerprint: Some("odd".into()), ca_file: None };
        assert!(Client::new("https://127.0.0.1", None, &odd).unwrap_err().to_string().contains("--tls-fingerprint"));
        let client = Client::new("http://127.0.0.1:8080/logs/", None, &pinned).unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:8080/logs");
        let params = [("q", Some("a b&é".into())), ("to", None), ("n", Some("1".into()))];
        let request = client.request(Method::GET, "api/v1/events/é", &params, None).unwrap();
        assert_eq!(request.uri(), "http://127.0.0.1:8080/logs/api/v1/events/%C3%A9?q=a%20b%26%C3%A9&n=1");
    }

    #[test]
    fn problems_read_well() {
        let text =
            r#"{"status":400,"code":"query_syntax","title":"The query can't be understood","detail":"no.","column":3}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.to_string(), "The query can't be understood (HTTP 400), column 3: no.");
    }
}
