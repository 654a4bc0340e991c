//! Names: the columns of a record and the aliases that people and programs use for them.

/// A text column of [`crate::Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // Each is named by `name`.
pub enum Keyword {
    SourceIp,
    UserName,
    EventAction,
    EventOutcome,
    EventCategory,
    EventDataset,
    HostName,
    ServiceName,
    ProcessName,
    LogLevel,
    HttpMethod,
    Url,
    UserAgent,
    Message,
}

impl Keyword {
    /// How many there are.
    pub const COUNT: usize = 14;

    /// All of them, in the order of [`crate::Record::keywords`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::SourceIp,
        Self::UserName,
        Self::EventAction,
        Self::EventOutcome,
        Self::EventCategory,
        Self::EventDataset,
        Self::HostName,
        Self::ServiceName,
        Self::ProcessName,
        Self::LogLevel,
        Self::HttpMethod,
        Self::Url,
        Self::UserAgent,
        Self::Message,
    ];

    /// The ECS name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceIp => "source.ip",
            Self::UserName => "user.name",
            Self::EventAction => "event.action",
            Self::EventOutcome => "event.outcome",
            Self::EventCategory => "event.category",
            Self::EventDataset => "event.dataset",
            Self::HostName => "host.name",
            Self::ServiceName => "service.name",
            Self::ProcessName => "process.name",
            Self::LogLevel => "log.level",
            Self::HttpMethod => "http.request.method",
            Self::Url => "url.original",
            Self::UserAgent => "user_agent.original",
            Self::Message => "message",
        }
    }
}

/// A column of whole numbers of [`crate::Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // Each is named by `name`.
pub enum Number {
    SourcePort,
    ProcessPid,
    StatusCode,
    BodyBytes,
    /// How many times the event happened, if one line stands for several; absent means once.
    EventCount,
}

impl Number {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, in the order of [`crate::Record::numbers`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::SourcePort, Self::ProcessPid, Self::StatusCode, Self::BodyBytes, Self::EventCount];

    /// The ECS name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourcePort => "source.port",
            Self::ProcessPid => "process.pid",
            Self::StatusCode => "http.response.status_code",
            Self::BodyBytes => "http.response.body.bytes",
            Self::EventCount => "event.count",
        }
    }
}

/// What a name in a query means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// The event's own time.
    Time,
    /// When the server received it.
    Received,
    /// Who sent it ([`crate::SourceId`]).
    Source,
    /// A text column.
    Keyword(Keyword),
    /// A number column.
    Number(Number),
    /// A pair of [`crate::Record::fields`], by its flattened name.
    Other(String),
}

/// The field that a name means: an ECS name or one of the aliases that events may use for it.
///
/// ```
/// use sceau_event::{Field, Keyword, field};
/// assert_eq!(field("ip"), Field::Keyword(Keyword::SourceIp));
/// assert_eq!(field("source.ip"), Field::Keyword(Keyword::SourceIp));
/// assert_eq!(field("labels.team"), Field::Other("labels.team".to_owned()));
/// ```
#[must_use]
pub fn field(name: &str) -> Field {
    match name {
        "received" | "event.ingested" => return Field::Received,
        "source" | "sceau.source" => return Field::Source,
        _ => {}
    }
    match ecs(name).or_else(|| alias(name)) {
        Some(Target::Time) => Field::Time,
        Some(Target::Ip) => Field::Keyword(Keyword::SourceIp),
        Some(Target::Outcome | Target::Status) => Field::Keyword(Keyword::EventOutcome),
        Some(Target::Keyword(keyword)) => Field::Keyword(keyword),
        Some(Target::Number(number)) => Field::Number(number),
        None => Field::Other(name.to_owned()),
    }
}

/// Where a value of an event belongs and how it has to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Time,
    Ip,
    Outcome,
    /// A word for the outcome or an HTTP status code.
    Status,
    Keyword(Keyword),
    Number(Number),
}

/// The column of an ECS name, or of another one that is as unmistakable. By length first: most names of most events are no columns, and one
/// comparison shows it.
#[inline]
pub(crate) fn ecs(name: &str) -> Option<Target> {
    use Target as T;
    Some(match (name.len(), name) {
        (7, "message") => T::Keyword(Keyword::Message),
        (9, "source.ip") => T::Ip,
        (9, "user.name") => T::Keyword(Keyword::UserName),
        (9, "host.name") => T::Keyword(Keyword::HostName),
        (9, "log.level") => T::Keyword(Keyword::LogLevel),
        (10, "@timestamp") => T::Time,
        (11, "source.port") => T::Number(Number::SourcePort),
        (11, "process.pid") => T::Number(Number::ProcessPid),
        (11, "event.count") => T::Number(Number::EventCount),
        (12, "event.action") => T::Keyword(Keyword::EventAction),
        (12, "service.name") => T::Keyword(Keyword::ServiceName),
        (12, "process.name") => T::Keyword(Keyword::ProcessName),
        (12, "url.original") => T::Keyword(Keyword::Url),
        (13, "event.outcome") => T::Outcome,
        (13, "event.dataset") => T::Keyword(Keyword::EventDataset),
        (14, "event.category") => T::Keyword(Keyword::EventCategory),
        // Caddy's access log: the client as far as it trusts the proxies before it.
        (17, "request.client_ip") => T::Ip,
        (19, "http.request.method") => T::Keyword(Keyword::HttpMethod),
        (19, "user_agent.original") => T::Keyword(Keyword::UserAgent),
        (24, "http.response.body.bytes") => T::Number(Number::BodyBytes),
        (25, "http.response.status_code") => T::Number(Number::StatusCode),
        _ => return None,
    })
}

/// The column of a common name that is not ECS; for top-level names only.
#[inline]
pub(crate) fn alias(name: &str) -> Option<Target> {
    match name.len() {
        2..=4 => alias_short(name),
        5..=7 => alias_medium(name),
        8..=15 => alias_long(name),
        _ => None,
    }
}

#[inline]
fn alias_short(name: &str) -> Option<Target> {
    use Target as T;
    Some(match (name.len(), name) {
        (2, "ip") => T::Ip,
        (2, "ts") => T::Time,
        (3, "app") => T::Keyword(Keyword::ServiceName),
        (3, "lvl") => T::Keyword(Keyword::LogLevel),
        (3, "msg") => T::Keyword(Keyword::Message),
        (3, "pid") => T::Number(Number::ProcessPid),
        (3, "src") => T::Ip,
        (3, "uri" | "url") => T::Keyword(Keyword::Url),
        (4, "date" | "time") => T::Time,
        (4, "host") => T::Keyword(Keyword::HostName),
        (4, "path") => T::Keyword(Keyword::Url),
        (4, "port") => T::Number(Number::SourcePort),
        (4, "user") => T::Keyword(Keyword::UserName),
        (4, "verb") => T::Keyword(Keyword::HttpMethod),
        _ => return None,
    })
}

#[inline]
fn alias_medium(name: &str) -> Option<Target> {
    use Target as T;
    Some(match (name.len(), name) {
        (5, "agent") => T::Keyword(Keyword::UserAgent),
        (5, "bytes") => T::Number(Number::BodyBytes),
        (5, "level") => T::Keyword(Keyword::LogLevel),
        (5, "sport") => T::Number(Number::SourcePort),
        (5, "srcip") => T::Ip,
        (6, "action") => T::Keyword(Keyword::EventAction),
        (6, "method") => T::Keyword(Keyword::HttpMethod),
        (6, "result") => T::Outcome,
        (6, "src_ip") => T::Ip,
        (6, "status") => T::Status,
        (7, "appname") => T::Keyword(Keyword::ServiceName),
        (7, "dataset") => T::Keyword(Keyword::EventDataset),
        (7, "outcome" | "success") => T::Outcome,
        (7, "process" | "program") => T::Keyword(Keyword::ProcessName),
        (7, "service") => T::Keyword(Keyword::ServiceName),
        _ => return None,
    })
}

#[inline]
fn alias_long(name: &str) -> Option<Target> {
    use Target as T;
    Some(match (name.len(), name) {
        (8, "category") => T::Keyword(Keyword::EventCategory),
        (8, "clientIp" | "clientip" | "sourceIp") => T::Ip,
        (8, "datetime") => T::Time,
        (8, "hostname") => T::Keyword(Keyword::HostName),
        (8, "loglevel" | "severity") => T::Keyword(Keyword::LogLevel),
        (8, "src_port") => T::Number(Number::SourcePort),
        (8, "userName" | "username") => T::Keyword(Keyword::UserName),
        (9, "client_ip" | "remote_ip" | "source_ip" | "ipAddress") => T::Ip,
        (9, "eventTime" | "timestamp") => T::Time,
        (9, "host_name") => T::Keyword(Keyword::HostName),
        (9, "log_level") => T::Keyword(Keyword::LogLevel),
        (9, "userAgent" | "useragent") => T::Keyword(Keyword::UserAgent),
        (9, "user_name") => T::Keyword(Keyword::UserName),
        (10, "bytes_sent") => T::Number(Number::BodyBytes),
        (10, "event_time") => T::Time,
        (10, "ip_address" | "remoteAddr") => T::Ip,
        (10, "process_id") => T::Number(Number::ProcessPid),
        (10, "statusCode") => T::Number(Number::StatusCode),
        (10, "user_agent") => T::Keyword(Keyword::UserAgent),
        (11, "application") => T::Keyword(Keyword::ServiceName),
        (11, "client_port" | "remote_port" | "source_port") => T::Number(Number::SourcePort),
        (11, "http_method") => T::Keyword(Keyword::HttpMethod),
        (11, "http_status" | "status_code") => T::Number(Number::StatusCode),
        (11, "programname") => T::Keyword(Keyword::ProcessName),
        (11, "remote_addr") => T::Ip,
        (11, "request_uri") => T::Keyword(Keyword::Url),
        (12, "event_action") => T::Keyword(Keyword::EventAction),
        (12, "process_name") => T::Keyword(Keyword::ProcessName),
        (12, "service_name") => T::Keyword(Keyword::ServiceName),
        (13, "event_outcome") => T::Outcome,
        (14, "event_category") => T::Keyword(Keyword::EventCategory),
        (14, "remote_address") => T::Ip,
        (14, "request_method") => T::Keyword(Keyword::HttpMethod),
        (15, "body_bytes_sent") => T::Number(Number::BodyBytes),
        (15, "http_user_agent") => T::Keyword(Keyword::UserAgent),
        (15, "sourceIPAddress") => T::Ip,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_name() {
        for (at, keyword) in Keyword::ALL.into_iter().enumerate() {
            assert_eq!(keyword as usize, at);
            assert_eq!(field(keyword.name()), Field::Keyword(keyword));
        }
        for (at, number) in Number::ALL.into_iter().enumerate() {
            assert_eq!(number as usize, at);
            assert_eq!(field(number.name()), Field::Number(number));
        }
        assert_eq!(field("@timestamp"), Field::Time);
    }

    /// The lengths in the tables are written by hand; one that is wrong would hide its name.
    #[test]
    fn every_alias_is_reachable() {
        let source = include_str!("field.rs");
        let mut seen = 0;
        for line in source.lines().map(str::trim).filter(|l| l.starts_with('(') && l.contains("=> T::")) {
            for name in line.split('"').skip(1).step_by(2) {
                assert!(ecs(name).or_else(|| alias(name)).is_some(), "{name}");
                seen += 1;
            }
        }
        assert!(seen > 80, "{seen}");
    }
}
