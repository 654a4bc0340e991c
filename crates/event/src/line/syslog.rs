//! Headers of syslog messages: RFC 5424, RFC 3164 and what daemons write into files.
//!
//! Written by hand rather than with a syslog crate because a record has to be a function of its
//! entry: no clock, no zone of the machine, no trimming (see `docs/adr`).

use super::structured;
use crate::time::{Micros, parse_prefix};
use crate::zone::Zone;

/// What a header tells.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Header<'l> {
    pub priority: Option<u8>,
    /// The time, or its text if it can't be.
    pub time: Option<Result<Micros, &'l str>>,
    pub host: Option<&'l str>,
    pub program: Option<&'l str>,
    pub pid: Option<&'l str>,
    pub message_id: Option<&'l str>,
    /// Structured data as it is written.
    pub structured: &'l str,
    pub message: &'l str,
}

/// The header of a line, if it has one.
pub(super) fn parse<'l>(line: &'l str, zone: &Zone, received: Micros) -> Option<Header<'l>> {
    match priority(line) {
        Some((priority, rest)) => {
            let header = rfc5424(rest, zone, received).unwrap_or_else(|| legacy(rest, zone, received));
            Some(Header { priority: Some(priority), ..header })
        }
        // Without a priority only a time at the start tells a header from other lines.
        None => dated(line, zone, received, true),
    }
}

/// `<N>` with N up to 191, and the rest.
fn priority(line: &str) -> Option<(u8, &str)> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|p| *p <= 191).map(|p| (p, rest))
}

/// RFC 5424, section 6, after the priority.
fn rfc5424<'l>(rest: &'l str, zone: &Zone, received: Micros) -> Option<Header<'l>> {
    let (version, rest) = rest.split_once(' ')?;
    if version != "1" {
        return None;
    }
    let (time, rest) = field(rest)?;
    let (host, rest) = field(rest)?;
    let (program, rest) = field(rest)?;
    let (pid, rest) = field(rest)?;
    let (message_id, rest) = field(rest)?;
    let (structured, message) = match rest.strip_prefix('-') {
        Some(message) if message.is_empty() || message.starts_with(' ') => ("", message),
        _ => match structured::end(rest) {
            Some(end) => rest.split_at(end),
            // Some senders leave structured data out altogether.
            None => ("", rest),
        },
    };
    let message = message.strip_prefix(' ').unwrap_or(message);
    let time = time.map(|raw| match parse_prefix(raw, zone, received) {
        Some((Some(time), "")) => Ok(time),
        _ => Err(raw),
    });
    Some(Header {
        priority: None,
        time,
        host,
        program,
        pid,
        message_id,
        structured,
        message: message.strip_prefix('\u{feff}').unwrap_or(message),
    })
}

/// A field of RFC 5424, `-` being none, and what follows its space.
fn field(rest: &str) -> Option<(Option<&str>, &str)> {
    let (value, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if value.is_empty() { None } else { Some(((value != "-").then_some(value), rest)) }
}

/// RFC 3164, section 4, after the priority; a header there always is.
fn legacy<'l>(rest: &'l str, zone: &Zone, received: Micros) -> Header<'l> {
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match dated(rest, zone, received, false) {
        Some(header) => header,
        None => {
            let mut header = Header::default();
            // No host where there is no time; a tag only if it is surely one.
            if !tag(rest, true, &mut header) {
                header.message = rest;
            }
            header
        }
    }
}

/// A header that starts with its time. With `bare`, no priority was before it: ISO times start
/// lines of many other logs too, so a tag has to be there without doubt.
fn dated<'l>(text: &'l str, zone: &Zone, received: Micros, bare: bool) -> Option<Header<'l>> {
    let bytes = text.as_bytes();
    let iso = bytes.len() > 19 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[0].is_ascii_digit();
    let month = bytes.first()?.is_ascii_alphabetic() && bytes.get(3) == Some(&b' ');
    if !iso && !month {
        return None;
    }
    let (time, rest) = parse_prefix(text, zone, received)?;
    let raw = text.get(..text.len() - rest.len())?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let mut header = Header { time: Some(time.ok_or(raw)), ..Header::default() };
    let rest = rest.trim_start_matches(' ');
    // The daemon's own note about the line before it has neither host nor tag.
    if rest.starts_with("last message repeated ") || rest.starts_with("message repeated ") {
        header.message = rest;
        return Some(header);
    }
    let strict = iso && bare;
    let after_host = host(rest, &mut header);
    if !tag(after_host, strict, &mut header) {
        header.message = after_host;
    }
    (!strict || header.program.is_some()).then_some(header)
}

/// Reads the host's name, unless the next word is a tag; gives what follows.
fn host<'l>(rest: &'l str, header: &mut Header<'l>) -> &'l str {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let named = !word.is_empty()
        && !word.ends_with(':')
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/' | b'@' | b'%'));
    if !named {
        return rest;
    }
    header.host = (word != "-").then_some(word);
    after.trim_start_matches(' ')
}

/// Reads `program[pid]:` and the message behind it. `strict`: a word without a colon is no tag.
fn tag<'l>(rest: &'l str, strict: bool, header: &mut Header<'l>) -> bool {
    let stop = rest.find(|c: char| matches!(c, ':' | '[') || !is_tag_char(c)).unwrap_or(rest.len());
    let (program, after) = rest.split_at(stop);
    if program.is_empty() || program.len() > 128 || after.starts_with(|c: char| !matches!(c, ':' | '[' | ' ' | '\t')) {
        return false;
    }
    let (pid, after) = match after.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((pid, after)) if pid.len() <= 32 && !pid.contains(' ') => (Some(pid), after),
        _ => (None, after),
    };
    let (colon, message) = match after.strip_prefix(':') {
        Some(message) => (true, message),
        None => (false, after),
    };
    let apart = message.is_empty() || message.starts_with([' ', '\t']);
    if !apart && (strict || !colon) || strict && !colon {
        return false;
    }
    header.program = Some(program);
    header.pid = pid.filter(|pid| !pid.is_empty());
    header.message = message.strip_prefix(' ').unwrap_or(message);
    true
}

fn is_tag_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '{' | '}' | '"' | '\'' | '=' | ',' | ';' | '<' | '>' | '|' | ']' | '@')
}

/// The name of a priority's severity (RFC 5424, table 2, in words common in logs).
pub(super) fn severity(priority: u8) -> &'static str {
    ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"][usize::from(priority & 7)]
}

/// The name of a priority's facility (RFC 5424, table 1, in the words of `syslog.conf`).
pub(super) fn facility(priority: u8) -> &'static str {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
        "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];
    NAMES.get(usize::from(priority >> 3)).copied().unwrap_or("unknown")
}
