//! Single values: quotes, escapes, wildcards.

use super::{Mistake, canonical::Value};

/// Reads a value in quotes that begins at `begin`; gives it and where it ends. A `*` right behind the quotes leaves the
/// end open.
pub(super) fn quoted(text: &str, begin: usize, quote: char) -> Result<(Value, usize), Mistake> {
    let mut value = String::new();
    let mut chars = text[begin + 1..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let end = begin + 1 + at + 1;
            let open = text[end..].starts_with('*');
            let pieces = if open { vec![value, String::new()] } else { vec![value] };
            return Ok((Value { at: begin, pieces, quoted: true }, end + usize::from(open)));
        }
        // A backslash before anything else is meant as one: "C:\Users".
        let escaped = chars.peek().map(|(_, next)| *next).filter(|next| c == '\\' && (*next == quote || *next == '\\'));
        if escaped.is_some() {
            chars.next();
        }
        value.push(escaped.unwrap_or(c));
    }
    Err(Mistake::new(begin, format!("this {quote} is never closed")))
}

/// Reads a value without quotes that begins at `begin`; gives it and where it ends.
pub(super) fn bare(text: &str, begin: usize, stops: &str) -> Result<(Value, usize), Mistake> {
    let mut pieces = vec![];
    let mut piece = String::new();
    let mut end = text.len();
    let mut chars = text[begin..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c.is_whitespace() || "()\"".contains(c) || stops.contains(c) => {
                end = begin + at;
                break;
            }
            '*' => pieces.push(std::mem::take(&mut piece)),
            '\\' => match chars.peek() {
                Some((_, next)) if !next.is_alphanumeric() => {
                    piece.push(*next);
                    chars.next();
                }
                _ => piece.push('\\'),
            },
            _ => piece.push(c),
        }
    }
    pieces.push(piece);
    // `a**b` asks for no more than `a*b`.
    let last = pieces.len() - 1;
    let mut number = 0;
    pieces.retain(|piece| {
        number += 1;
        number == 1 || number == last + 1 || !piece.is_empty()
    });
    let written = &text[begin..end];
    check_marks(written, begin)?;
    if written.is_empty() {
        return Err(Mistake::new(begin, "a value is missing here"));
    }
    Ok((Value { at: begin, pieces, quoted: false }, end))
}

/// Refuses what Lucene gives a meaning that can't be honoured here.
fn check_marks(written: &str, begin: usize) -> Result<(), Mistake> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if let Some((before, factor)) = written.rsplit_once('^')
        && !before.ends_with('\\')
        && !factor.is_empty()
        && number(factor)
    {
        let message =
            format!("hits are not ranked, so `^{factor}` has no meaning; quote the value if it is part of it");
        return Err(Mistake::new(begin + before.len(), message));
    }
    if let Some((before, distance)) = written.rsplit_once('~')
        && !before.is_empty()
        && !before.ends_with(['\\', '/'])
        && number(distance)
    {
        let message = format!("inexact matches (`~{distance}`) are not supported; quote the value if it is part of it");
        return Err(Mistake::new(begin + before.len(), message));
    }
    if written.len() > 1 && written.starts_with('/') && written.ends_with('/') {
        let message = "regular expressions (`/…/`) are not supported: use `*`, or quote the value if it is a path";
        return Err(Mistake::new(begin, message));
    }
    Ok(())
}
