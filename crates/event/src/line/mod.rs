//! Records of lines of text: a syslog header if there is one, then the parsers.

mod repeated;
mod structured;
mod syslog;
mod text;

pub(crate) use text::Text;

use crate::builder::Builder;
use crate::envelope::Context;
use crate::field::{Keyword, Number};
use crate::json::{Kind, scan};
use crate::normalise::place_object;
use crate::parser::{Matched, Parser, Parsers};
use crate::record::Record;
use std::borrow::Cow;
use syslog::Header;

/// The record of a line, and the parser's and rule's positions if one matched.
pub(crate) fn derive_line<'e>(
    text: &Text<'_, 'e>,
    context: &Context,
    parsers: &Parsers,
) -> (Record<'e>, Option<(usize, usize)>) {
    let mut builder = Builder::new(context, text.line.len());
    let name = context.parser.as_deref().unwrap_or("auto");
    let matched = parse(text, name, &mut builder, parsers);
    builder.set(Keyword::Message, text.keep(text.line));
    (builder.finish(context), matched)
}

/// Adds to a JSON event's record what a parser finds in its message.
pub(crate) fn parse_message<'e>(text: &Text<'_, 'e>, parser: &str, builder: &mut Builder<'e, '_>, parsers: &Parsers) {
    parse(text, parser, builder, parsers);
}

fn parse<'e>(
    text: &Text<'_, 'e>,
    name: &str,
    builder: &mut Builder<'e, '_>,
    parsers: &Parsers,
) -> Option<(usize, usize)> {
    if name == "plain" {
        return None;
    }
    let named = parsers.named(name);
    if named.is_none() && !matches!(name, "auto" | "syslog") {
        builder.tag("parser_unknown");
    }
    // A parser of whole lines is asked first: its lines may look like a header.
    if let Some((index, parser)) = named.filter(|(_, parser)| parser.line)
        && let Some(found) = parser.find(text.line)
    {
        return Some((index, apply(text, parser, &found, builder)));
    }
    if let Some(header) = syslog::parse(text.line, builder.zone(), builder.record.received) {
        let matched = with_header(text, &header, named, builder, parsers);
        builder.set(Keyword::EventDataset, Cow::Borrowed("syslog"));
        return matched;
    }
    let candidates: &mut dyn Iterator<Item = (usize, &Parser)> = match named {
        Some(one) => &mut std::iter::once(one),
        None if name == "syslog" => &mut std::iter::empty(),
        None => &mut parsers.of_lines(),
    };
    for (index, parser) in candidates {
        if let Some(found) = parser.find(text.line) {
            return Some((index, apply(text, parser, &found, builder)));
        }
    }
    builder.tag("unparsed");
    None
}

fn with_header<'e>(
    text: &Text<'_, 'e>,
    header: &Header<'_>,
    named: Option<(usize, &Parser)>,
    builder: &mut Builder<'e, '_>,
    parsers: &Parsers,
) -> Option<(usize, usize)> {
    place_header(text, header, builder);
    let mut body = header.message;
    if let Some((count, inner)) = repeated::strip(body) {
        builder.set_number(Number::EventCount, count);
        body = inner;
    }
    if place_json_body(text, body, builder) {
        return None;
    }
    builder.set(Keyword::Message, text.keep(header.message));
    let program = header.program.unwrap_or("");
    let own: Vec<(usize, &Parser)> = match named {
        Some(one) => vec![one],
        None => parsers.of_program(program).collect(),
    };
    for (index, parser) in own.iter().copied().chain(parsers.of_any_program()) {
        if let Some(found) = parser.find(body) {
            return Some((index, apply(text, parser, &found, builder)));
        }
    }
    // The program is known, if not this message of it.
    if let Some((_, parser)) = own.first() {
        builder.set(Keyword::EventDataset, Cow::Borrowed(parser.dataset));
    }
    None
}

fn place_header<'e>(text: &Text<'_, 'e>, header: &Header<'_>, builder: &mut Builder<'e, '_>) {
    match header.time {
        Some(Ok(time)) => builder.set_time(time),
        Some(Err(raw)) => builder.bad_time(Cow::Borrowed("event.time_raw"), text.keep(raw)),
        None => {}
    }
    if let Some(host) = header.host {
        builder.set(Keyword::HostName, text.keep(host));
    }
    if let Some(program) = header.program {
        builder.set(Keyword::ProcessName, text.keep(program));
    }
    if let Some(pid) = header.pid {
        match pid.parse() {
            Ok(pid) => builder.set_number(Number::ProcessPid, pid),
            Err(_) => builder.other(Cow::Borrowed("log.syslog.procid"), text.keep(pid)),
        }
    }
    if let Some(priority) = header.priority {
        builder.set(Keyword::LogLevel, Cow::Borrowed(syslog::severity(priority)));
        builder.other(Cow::Borrowed("log.syslog.facility.name"), Cow::Borrowed(syslog::facility(priority)));
    }
    if let Some(id) = header.message_id {
        builder.other(Cow::Borrowed("log.syslog.msgid"), text.keep(id));
    }
    for (name, value) in structured::params(header.structured, builder.room()) {
        let value = match value {
            Cow::Borrowed(value) => text.keep(value),
            Cow::Owned(value) => Cow::Owned(value),
        };
        builder.other(Cow::Owned(name), value);
    }
}

/// Places the fields of a message that is a JSON object, perhaps after the `@cee:` of CEE.
fn place_json_body<'e>(text: &Text<'_, 'e>, body: &str, builder: &mut Builder<'e, '_>) -> bool {
    let body = body.trim_start();
    let object = body.strip_prefix("@cee:").unwrap_or(body).trim();
    if !object.starts_with('{') {
        return false;
    }
    let Ok(found) = scan(object.as_bytes()) else { return false };
    // Token positions are those without line breaks, which a line can hold if it was framed.
    if found.breaks > 0 || found.tokens.first().is_none_or(|token| token.kind != Kind::ObjectStart) {
        return false;
    }
    place_object(object, &found.tokens, &[], builder, |part| Cow::Owned(part.into_owned()));
    builder.set(Keyword::Message, text.keep(body));
    true
}

/// Places what a rule found; gives the rule's position.
fn apply<'e>(text: &Text<'_, 'e>, parser: &Parser, found: &Matched<'_>, builder: &mut Builder<'e, '_>) -> usize {
    parser.each_value(found, |name, target, value| {
        builder.place(target, Cow::Borrowed(name), value.map_or_else(Cow::Borrowed, |part| text.keep(part)));
    });
    builder.set(Keyword::EventDataset, Cow::Borrowed(parser.dataset));
    found.rule
}
