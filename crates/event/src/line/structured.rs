//! Structured data of RFC 5424, section 6.3.

use std::borrow::Cow;

/// Where the structured data at the start of a text ends; none if there is none. Forgiving: a
/// space after `=` or before `]` is common in the wild.
pub(super) fn end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while bytes.get(at) == Some(&b'[') {
        // An element's name tells it from a message that starts with a bracket.
        if !bytes.get(at + 1).is_some_and(|b| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"')) {
            break;
        }
        let (mut quoted, mut close) = (false, None);
        let mut inner = at + 1;
        while let Some(byte) = bytes.get(inner) {
            match byte {
                b'\\' if quoted => inner += 1,
                b'"' => quoted = !quoted,
                b']' if !quoted => {
                    close = Some(inner);
                    break;
                }
                _ => {}
            }
            inner += 1;
        }
        at = close? + 1;
    }
    (at > 0).then_some(at)
}

/// The parameters as `log.syslog.structured_data.ID.NAME` and value, escapes resolved; no more than up to the first one
/// by which the names have more than `room` bytes, since a long id is in the names of all its parameters.
pub(super) fn params(data: &str, mut room: usize) -> Vec<(String, Cow<'_, str>)> {
    let mut found = Vec::new();
    let mut rest = data;
    let mut id = "";
    loop {
        rest = rest.trim_start_matches([' ', ']']);
        if let Some(element) = rest.strip_prefix('[') {
            let stop = element.find([' ', ']']).unwrap_or(element.len());
            (id, rest) = element.split_at(stop);
            continue;
        }
        let Some((name, value)) = rest.split_once('=') else { return found };
        let Some(value) = value.trim_start().strip_prefix('"') else { return found };
        let stop = closing_quote(value);
        let (raw, after) = value.split_at(stop);
        let name = format!("log.syslog.structured_data.{id}.{}", name.trim());
        let left = room.checked_sub(name.len());
        found.push((name, unescape(raw)));
        room = match left {
            Some(left) => left,
            None => return found,
        };
        rest = after.strip_prefix('"').unwrap_or("");
    }
}

fn closing_quote(value: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    value.len()
}

/// Only `\"`, `\\` and `\]` are escapes (RFC 5424, section 6.3.3).
fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next @ ('"' | '\\' | ']')) if c == '\\' => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let data = r#"[a@1 x="1" y="q\"] \\ \n"][b z="é"] rest"#;
        let stop = end(data).unwrap();
        assert_eq!(&data[stop..], " rest");
        let found: Vec<_> = params(&data[..stop], usize::MAX).into_iter().map(|(n, v)| (n, v.into_owned())).collect();
        let name = |n: &str| format!("log.syslog.structured_data.{n}");
        assert_eq!(
            found,
            [(name("a@1.x"), "1".into()), (name("a@1.y"), "q\"] \\ \\n".into()), (name("b.z"), "é".into())]
        );
        assert_eq!(end("[a x=\"1\""), None);
        assert_eq!(end("text"), None);
        assert!(params("[only]", usize::MAX).is_empty());
    }
}
