//! Writing for people: log text can hold anything, so nothing of it reaches a terminal unescaped.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::error::CliError;

/// Standard output, buffered.
pub fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// A file, or standard output for none or `-`.
pub fn create(path: Option<&Path>) -> Result<Box<dyn Write>, CliError> {
    match path {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::create(path).map_err(CliError::file("creating", path))?;
            Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
        }
        _ => Ok(Box::new(stdout())),
    }
}

/// Text in which nothing can move the cursor, change colours or turn the direction of reading.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        match character {
            '\t' => safe.push(' '),
            _ if character.is_control() || hidden => {
                // Writing into a String can't fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
            }
            _ => safe.push(character),
        }
    }
    safe
}

/// What findings or alerts have in common: `NAME=VALUE`, with blanks between.
pub fn pairs<'a>(group: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pair = |(name, value): (&String, &String)| format!("{}={}", printable(name), printable(value));
    group.into_iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Says that one rule makes half of all alerts, and what to do about it.
pub fn tell_noisy(out: &mut impl Write, rule: Option<&str>) -> io::Result<()> {
    let Some(rule) = rule.map(printable) else { return Ok(()) };
    writeln!(out, "half of all alerts come from rule {rule}: make an exception, or raise its threshold")
}

/// A number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes rows with aligned columns; those in `right` are flush right.
pub fn table(out: &mut impl Write, rows: &[Vec<String>], right: &[usize]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let pad = " ".repeat(widths[column] - cell.chars().count());
            if right.contains(&column) {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal() {
        assert_eq!(printable("a\tb \u{1b}[2J\r\n\u{202e}é"), "a b \\u{1b}[2J\\u{d}\\u{a}\\u{202e}é");
        assert_eq!(printable("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
    }

    #[test]
    fn numbers_and_tables() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "10".into()], vec!["bcd".into(), "7".into()]];
        table(&mut out, &rows, &[1]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a    10\nbcd   7\n");
    }
}
