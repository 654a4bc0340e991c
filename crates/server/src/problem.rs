//! Errors as clients see them: problem details (RFC 9457) with a stable `code`. Nothing else turns an error into an
//! answer, so that internal text can't leak.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{Refusals, ServerError};
use sceau_store::StoreError;

/// A problem detail object (RFC 9457, section 3).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    /// The same in words, the same for each code.
    pub title: &'static str,
    /// What is wrong with this request, and what would be right.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Further members.
    #[serde(flatten)]
    pub members: Map<String, Value>,
    /// Seconds for `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u32>,
    /// Whether the operator must learn of it.
    #[serde(skip)]
    pub internal: bool,
}

impl Problem {
    fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), members: Map::new(), retry_after: None, internal: false }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn retry(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn hidden(status: u16, code: &'static str, title: &'static str, detail: &str) -> Self {
        Self { internal: true, ..Self::new(status, code, title, detail) }
    }

    fn internal() -> Self {
        Self::hidden(500, "internal", "Internal error", "The server's own log says more.")
    }

    fn refusals(self, refusals: &Refusals) -> Self {
        self.with("rejected", refusals.rejected).with("errors", json!(refusals.errors))
    }
}

impl From<&ServerError> for Problem {
    fn from(error: &ServerError) -> Self {
        use ServerError as E;
        match error {
            E::Store(error) => store(error),
            E::Config(_)
            | E::Faults(_)
            | E::KeyDir { .. }
            | E::Io { .. }
            | E::Ledger(_)
            | E::Rollback { .. }
            | E::Internal(_) => Self::internal(),
            E::Poisoned(cause, _) => Self::hidden(
                503,
                "store_failed",
                "The log stopped accepting",
                &format!(
                    "{} Nothing more is accepted until the server is restarted; reading goes on. The server's own log \
                     says more.",
                    cause.sentence()
                ),
            )
            .with("cause", cause.word()),
            E::Closing
            | E::Standby
            | E::NoDetection
            | E::Overloaded
            | E::Full
            | E::DiskFull { .. }
            | E::TooOld
            | E::Busy
            | E::TooManyStreams(_)
            | E::RateLimited { .. }
            | E::TooManyKeys(_) => load(error),
            E::PartlyKept { kept, entries, first_index } => Self::hidden(
                503,
                "partly_kept",
                "Only a part of the request was kept",
                &(sentence(error) + " If the whole request is sent again, these will be there a second time."),
            )
            .with("kept", *kept)
            .with("entries", *entries)
            .with("first_index", *first_index),
            E::Unauthorized => {
                Self::new(401, "unauthorized", "No valid token", "Send `Authorization: Bearer <token>`.")
            }
            E::BadCredentials
            | E::SecondFactorRequired
            | E::Delayed(_)
            | E::LoginBusy
            | E::WeakPassword(_)
            | E::Forbidden(_)
            | E::Csrf
            | E::LastAdministrator(_)
            | E::LinkInvalid
            | E::Exists(_)
            | E::TooMany(_) => accounts(error),
            E::NotFound(_) => Self::new(404, "not_found", "Not found", sentence(error)),
            E::Method => Self::new(405, "method_not_allowed", "Method not allowed", sentence(error)),
            E::NotPublished(_) => {
                Self::new(409, "not_published", "Not published yet", sentence(error) + " Try again in a second.")
                    .retry(1)
            }
            E::VerifyRunning(id) => {
                let detail = format!(
                    "One runs at a time: GET /api/v1/integrity/verify/{id} says how far this one is and, at its end, its \
                     verdict. Ask again then."
                );
                Self::new(409, "verify_running", "A verification is running", detail).with("id", id.clone()).retry(5)
            }
            E::Cancelled => Self::new(409, "cancelled", "Cancelled", "It was stopped before its end. Ask again."),
            E::StateForged(_) => Self {
                internal: true,
                ..Self::new(
                    409,
                    "state_forged",
                    "The stored state was altered",
                    sentence(error)
                        + " It is not used: verify the log with `sceau verify`. An import can begin anew \
                     under another name; another idempotency key can be used.",
                )
            },
            E::StateConflict(_) => Self::new(409, "conflict", "Changed by somebody else", sentence(error)),
            _ => request(error),
        }
    }
}

/// What is about users, tokens and sessions.
fn accounts(error: &ServerError) -> Problem {
    use ServerError as E;
    let text = sentence(error);
    match error {
        E::BadCredentials => Problem::new(401, "bad_credentials", "Wrong user, password or code", text),
        E::SecondFactorRequired => {
            Problem::new(401, "second_factor_required", "A code is needed too", text + " Send it as `code`.")
        }
        E::Delayed(seconds) => Problem::new(429, "delayed", "Too many failed log-ins", text).retry(*seconds),
        E::LoginBusy => Problem::new(503, "login_busy", "Too many log-ins at once", text).retry(2),
        E::WeakPassword(_) => Problem::new(400, "weak_password", "The password is not good enough", text),
        E::Forbidden(_) => Problem::new(403, "forbidden", "Not allowed", text),
        E::Csrf => Problem::new(
            403,
            "csrf",
            "Not from our own page",
            "A request that changes something and is authenticated by a cookie needs the header `Sceau-CSRF: 1`, and an \
             `Origin` that is this server's.",
        ),
        E::LastAdministrator(_) => {
            Problem::new(409, "last_administrator", "The last administrator", text + " Make another one first.")
        }
        E::LinkInvalid => {
            Problem::new(410, "link_invalid", "The link is not valid", text + " Ask an administrator for another.")
        }
        E::Exists(_) => Problem::new(409, "exists", "There already", text),
        E::TooMany(_) => Problem::new(409, "too_many", "As many as there can be", text),
        _ => Problem::internal(),
    }
}

/// What is wrong with the request itself.
fn request(error: &ServerError) -> Problem {
    use ServerError as E;
    let text = sentence(error);
    match error {
        E::Parameter { name, .. } => {
            Problem::new(400, "bad_parameter", "Bad parameter", text).with("parameter", name.clone())
        }
        E::UnknownParameter { name, .. } => {
            Problem::new(400, "unknown_parameter", "Unknown parameter", text).with("parameter", name.clone())
        }
        E::QuerySyntax { column, detail } => {
            Problem::new(400, "query_syntax", "The query can't be understood", detail.clone()).with("column", *column)
        }
        E::ReservedSource(_) => Problem::new(403, "reserved_source", "Reserved source", text + " Choose another name."),
        E::BodyTooLarge { .. } => {
            Problem::new(413, "body_too_large", "Body too large", text + " Send the events in several requests.")
        }
        E::TooManyEvents(_) => {
            Problem::new(413, "too_many_events", "Too many events", text + " Send them in several requests.")
        }
        E::BodyTimeout => Problem::new(408, "body_timeout", "The body came too slowly", text),
        E::Body(_) => Problem::new(400, "bad_body", "The body can't be read", text),
        E::Unsupported(_) => Problem::new(415, "unsupported_type", "Content type or encoding not understood", text),
        E::AllRejected(refusals) => {
            let (status, code) = if refusals.only_size { (413, "too_large") } else { (400, "all_rejected") };
            Problem::new(status, code, "No event could be kept", text).refusals(refusals)
        }
        E::AtomicRefused(refusals) => {
            let status = if refusals.only_size { 413 } else { 400 };
            Problem::new(status, "atomic_refused", "The request was refused as a whole", text).refusals(refusals)
        }
        E::IdempotencyMismatch => Problem::new(
            422,
            "idempotency_mismatch",
            "The idempotency key was used for another request",
            "Within a day, a key stands for one request with the same bytes and parameters.",
        ),
        E::ImportPosition(stored) => {
            let stored = stored.clone().unwrap_or_default();
            Problem::new(409, "import_position", "The import goes on elsewhere", text)
                .with("offset", stored.offset)
                .with("lines", stored.lines)
                .with("tail", stored.tail)
        }
        _ => Problem::internal(),
    }
}

/// What passes by itself.
fn load(error: &ServerError) -> Problem {
    use ServerError as E;
    match error {
        E::Closing => Problem::new(503, "closing", "The server is stopping", "Send it again when the server is back.").retry(5),
        E::Standby => Problem::new(
            503,
            "standby",
            "This server is a standby",
            "Another server has the log: send it there. This one answers questions, and takes the log over by itself when \
             that one is gone.",
        )
        .retry(5),
        E::NoDetection => Problem::new(
            503,
            "no_detection",
            "Detection does not run",
            "It is switched off with --no-detection, or could not begin: the server's own log says why.",
        ),
        E::DiskFull { dir, .. } => Problem::new(
            503,
            "disk_full",
            "The disk is nearly full",
            format!("The {dir} directory's file system has no room left. Nothing of the request was kept; it can be sent again."),
        )
        .retry(30),
        E::Full => Problem::new(503, "store_full", "The store can't keep up", sentence(error)).retry(5),
        E::TooOld => {
            Problem::new(503, "too_late", "Not sealed in time", sentence(error) + " Send them again.").retry(1)
        }
        E::TooManyKeys(_) => Problem::new(
            429,
            "too_many_keys",
            "Too many idempotency keys",
            sentence(error) + " Each is forgotten after a day. Nothing of the request was kept; send it without one, or later.",
        )
        .retry(600),
        E::TooManyStreams(_) => {
            Problem::new(429, "too_many_streams", "Too many streams", sentence(error) + " Close one, or ask again later.").retry(10)
        }
        E::RateLimited { wait } => Problem::new(
            429,
            "rate_limited",
            "Requests come too fast",
            "An address and a token may each send so many requests a second, and a number more after a rest. Nothing of this one was kept.",
        )
        .retry(u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)),
        E::Busy => Problem::new(429, "too_many_queries", "Too many queries at once", "Ask again when others have ended.").retry(1),
        _ => Problem::new(503, "overloaded", "The queue is full", "Nothing of the request was kept.").retry(1),
    }
}

fn store(error: &StoreError) -> Problem {
    let text = sentence(error);
    match error {
        StoreError::Absent(_) => Problem::new(404, "not_found", "Not found", text),
        StoreError::Expired { first, .. } => {
            Problem::new(410, "entry_expired", "Deleted by retention", text).with("first_index", *first)
        }
        StoreError::Timeout(_) => Problem::new(503, "query_timeout", "The query took too long", text),
        StoreError::Memory => Problem::new(503, "query_memory", "The query needs too much memory", text),
        StoreError::Query(_) => Problem::new(400, "bad_query", "The query can't be answered", text),
        StoreError::Unusable { .. } | StoreError::Damaged(_) | StoreError::Entry { .. } => {
            Problem::hidden(500, "store_damaged", "The store is damaged", "Verify the log: `sceau verify`.")
        }
        StoreError::Unavailable(_) => Problem::new(
            503,
            "store_unavailable",
            "The database can't be reached",
            "Nothing of the request was kept; it can be sent again. The server goes on by itself once the database is back.",
        )
        .retry(2),
        _ => Problem::internal(),
    }
}

/// A whole sentence out of an error's text.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let mut sentence: String =
        characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

impl ServerError {
    /// The stable word for this kind of error.
    pub fn code(&self) -> &'static str {
        Problem::from(self).code
    }

    /// The HTTP status code that it is answered with.
    pub fn status(&self) -> u16 {
        Problem::from(self).status
    }

    /// What a client is told.
    pub fn public_detail(&self) -> String {
        Problem::from(self).detail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_text_stays_inside() {
        let secret = "/var/lib/sceau/keys/log.key";
        for error in [
            ServerError::Internal(secret.into()),
            ServerError::Config(secret.into()),
            ServerError::Poisoned(crate::sequencer::Cause::Commit, secret.into()),
            ServerError::KeyDir { path: secret.into(), reason: secret.into() },
            ServerError::Io { context: secret.into(), source: std::io::Error::other(secret) },
            ServerError::Store(StoreError::Internal(secret.into())),
            ServerError::Store(StoreError::Damaged(secret.into())),
            ServerError::Store(StoreError::Locked { path: secret.into() }),
        ] {
            let problem = Problem::from(&error);
            assert!(problem.internal && problem.status >= 500, "{error}");
            assert!(!serde_json::to_string(&problem).unwrap().contains("keys"), "{error}");
        }
    }

    #[test]
    fn members_are_flat() {
        let error = ServerError::QuerySyntax { column: 7, detail: "a field is missing".into() };
        let value = serde_json::to_value(Problem::from(&error)).unwrap();
        assert_eq!(value["column"], 7);
        assert_eq!(value["code"], "query_syntax");
        assert_eq!(value["status"], 400);
    }
}
