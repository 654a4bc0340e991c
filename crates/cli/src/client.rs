//! The server's API, seen from outside.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, Url, header};
use sceau_server::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};

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
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// Prepares to talk to the server at `url`.
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, CliError> {
        let usage = |why: String| CliError::Usage(format!("--url {url}: {why}"));
        let mut base =
            Url::parse(url).map_err(|error| usage(format!("{error}; it should be like http://HOST:PORT")))?;
        if base.scheme() != "http" {
            return Err(usage(
                "this version speaks plain HTTP only; use http:// through a tunnel or on this machine".into(),
            ));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(usage("secrets don't belong on the command line; use --token-file or SCEAU_TOKEN".into()));
        }
        if token.is_some() && !is_loopback(&base) {
            eprintln!("sceau: warning: the token travels to {} in the clear", base.host_str().unwrap_or_default());
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        // A proxy would see the token, and a server on this machine is out of its reach anyway.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(180))
            .user_agent(concat!("sceau/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| CliError::Connection { url: url.into(), reason: "no HTTP client", source })?;
        Ok(Self { http, base, token })
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn request(&self, method: Method, path: &str, params: &Params<'_>) -> Result<RequestBuilder, CliError> {
        let mut url = self.base.join(path).map_err(|error| CliError::Usage(format!("{path}: {error}")))?;
        for (name, value) in params {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let request = self.http.request(method, url);
        let Some(token) = &self.token else { return Ok(request) };
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| CliError::Usage("the token has characters that no token has".into()))?;
        value.set_sensitive(true);
        Ok(request.header(header::AUTHORIZATION, value))
    }

    async fn finish(&self, request: RequestBuilder) -> Result<Bytes, CliError> {
        let response = request.send().await.map_err(|source| self.broken(source))?;
        if response.status().is_success() {
            return response.bytes().await.map_err(|source| self.broken(source));
        }
        Err(CliError::Refused(Box::new(problem(response).await)))
    }

    fn broken(&self, source: reqwest::Error) -> CliError {
        let reason = if source.is_connect() {
            "is the server running there?"
        } else if source.is_timeout() {
            "it took too long"
        } else {
            "the connection was lost"
        };
        CliError::Connection { url: self.url().to_owned(), reason, source }
    }

    /// Asks for something, as bytes.
    pub async fn get(&self, path: &str, params: &Params<'_>) -> Result<Bytes, CliError> {
        self.finish(self.request(Method::GET, path, params)?).await
    }

    /// Changes a part of something.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<String, CliError> {
        let request = self.request(Method::PATCH, path, &[])?;
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        let bytes = self.finish(request).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }

    /// Removes or stops something.
    pub async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.finish(self.request(Method::DELETE, path, &[])?).await.map(|_| ())
    }

    /// Asks for something, as text.
    pub async fn get_text(&self, path: &str, params: &Params<'_>) -> Result<String, CliError> {
        let bytes = self.get(path, params).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }

    /// Sends a body; the answer as text.
    pub async fn post(&self, path: &str, params: &Params<'_>, kind: &str, body: Bytes) -> Result<String, CliError> {
        let request = self.request(Method::POST, path, params)?.header(header::CONTENT_TYPE, kind).body(body);
        let bytes = self.finish(request).await?;
        String::from_utf8(bytes.into()).map_err(|_| CliError::Failed(format!("{path}: the answer is not text")))
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

async fn problem(response: Response) -> Problem {
    let status = response.status().as_u16();
    let header = response.headers().get(header::RETRY_AFTER);
    let retry_after = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    problem.status = status;
    problem.retry_after = retry_after;
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (url, good) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("https://127.0.0.1", false),
            ("127.0.0.1:8080", false),
            ("http://user:secret@localhost", false),
        ] {
            assert_eq!(Client::new(url, None).is_ok(), good, "{url}");
        }
        let client = Client::new("http://127.0.0.1:8080/logs", None).unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:8080/logs");
        let request = client.request(Method::GET, "api/v1/events", &[("q", Some("a b&c".into())), ("to", None)]);
        let request = request.unwrap().build().unwrap();
        assert_eq!(request.url().as_str(), "http://127.0.0.1:8080/logs/api/v1/events?q=a+b%26c");
    }

    #[test]
    fn problems_read_well() {
        let text =
            r#"{"status":400,"code":"query_syntax","title":"The query can't be understood","detail":"no.","column":3}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.to_string(), "The query can't be understood (HTTP 400), column 3: no.");
    }
}
