//! From the text that people write to the canonical text that the grammar reads.

use std::net::IpAddr;

use super::{
    MAX_CONDITIONS, MAX_DEPTH, Mistake,
    canonical::{Canonical, Name, Value},
    scan,
};
use crate::query::Network;

/// What came last within a pair of parentheses.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Condition,
    Operator(usize, &'static str),
}

/// An open pair of parentheses, or the whole text.
struct Level {
    at: usize,
    last: Last,
    plus: Option<usize>,
    or: bool,
}

impl Level {
    fn open(at: usize) -> Self {
        Self { at, last: Last::Nothing, plus: None, or: false }
    }
}

/// Reads the whole text.
pub(super) fn read(text: &str) -> Result<Canonical, Mistake> {
    let mut lexer = Lexer { text, at: 0, out: Canonical::default(), levels: vec![], conditions: 0 };
    let mut level = Level::open(0);
    loop {
        lexer.skip_space();
        if lexer.rest().is_empty() {
            break;
        }
        if lexer.rest().starts_with(')') {
            level = lexer.close(level)?;
        } else if let Some(operator) = ["AND", "OR"].into_iter().find(|word| lexer.at_keyword(word)) {
            lexer.operator(&mut level, operator)?;
        } else if let Some(inner) = lexer.operand(&mut level)? {
            lexer.levels.push(std::mem::replace(&mut level, inner));
        }
    }
    if !lexer.levels.is_empty() {
        return Err(Mistake::new(level.at, "this `(` is never closed"));
    }
    if let Last::Operator(at, operator) = level.last {
        return Err(Mistake::new(at, format!("a condition is missing behind {operator}")));
    }
    Ok(lexer.out)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    out: Canonical,
    /// The levels around the present one.
    levels: Vec<Level>,
    conditions: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Does the rest begin with this word, standing alone?
    fn at_keyword(&self, word: &str) -> bool {
        let behind = self.rest().strip_prefix(word);
        behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || "()".contains(c)))
    }

    fn close(&mut self, level: Level) -> Result<Level, Mistake> {
        let Some(mut outer) = self.levels.pop() else {
            return Err(Mistake::new(self.at, "this `)` closes nothing; quote it if it is part of a text"));
        };
        match level.last {
            Last::Nothing => return Err(Mistake::new(level.at, "there is no condition between these parentheses")),
            Last::Operator(at, operator) => {
                return Err(Mistake::new(at, format!("a condition is missing behind {operator}")));
            }
            Last::Condition => {}
        }
        self.out.write(self.at, ")");
        self.at += 1;
        self.ends_here()?;
        outer.last = Last::Condition;
        Ok(outer)
    }

    fn operator(&mut self, level: &mut Level, operator: &'static str) -> Result<(), Mistake> {
        match level.last {
            Last::Condition => {}
            Last::Nothing => {
                let message = format!("a condition is missing before {operator}; quote the word to search for it");
                return Err(Mistake::new(self.at, message));
            }
            Last::Operator(_, before) => {
                return Err(Mistake::new(self.at, format!("{operator} follows {before} without a condition between")));
            }
        }
        level.or |= operator == "OR";
        level.last = Last::Operator(self.at, operator);
        self.out.write(self.at, &format!(" {operator} "));
        self.at += operator.len();
        check_plus(level)
    }

    /// Reads a condition with what is before it; gives a level if it opens parentheses.
    fn operand(&mut self, level: &mut Level) -> Result<Option<Level>, Mistake> {
        // Written out, since the grammar takes two groups of ANDs side by side for alternatives.
        if matches!(level.last, Last::Condition) {
            self.out.write(self.at, " AND ");
        }
        level.last = Last::Condition;
        let begin = self.at;
        if self.negations(level)? {
            self.out.write(begin, "NOT ");
        }
        if self.rest().starts_with('(') {
            return self.open("(").map(Some);
        }
        self.term()
    }

    /// Reads `NOT`, `-` and `+`; true if what follows is to be negated.
    fn negations(&mut self, level: &mut Level) -> Result<bool, Mistake> {
        let mut negated = false;
        while self.at_keyword("NOT") {
            let begin = self.at;
            self.at += "NOT".len();
            self.skip_space();
            if self.rest().is_empty() || self.rest().starts_with(')') || self.at_operator() {
                return Err(Mistake::new(begin, "a condition is missing behind NOT; quote the word to search for it"));
            }
            negated = !negated;
        }
        let begin = self.at;
        let Some(sign) = self.rest().chars().next().filter(|c| "+-".contains(*c)) else {
            return Ok(negated);
        };
        self.at += 1;
        let alone = self.rest().is_empty() || self.rest().starts_with(|c: char| c.is_whitespace() || "+-)".contains(c));
        if alone || self.at_operator() || self.at_keyword("NOT") {
            let message = format!("`{sign}` needs a condition right behind it; quote it if it is part of a text");
            return Err(Mistake::new(begin, message));
        }
        if sign == '-' {
            return Ok(!negated);
        }
        level.plus = level.plus.or(Some(begin));
        check_plus(level)?;
        Ok(negated)
    }

    fn at_operator(&self) -> bool {
        self.at_keyword("AND") || self.at_keyword("OR")
    }

    fn open(&mut self, canonical: &str) -> Result<Level, Mistake> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Mistake::new(self.at, format!("parentheses are nested deeper than {MAX_DEPTH}")));
        }
        let level = Level::open(self.at);
        self.out.write(self.at, canonical);
        self.at += 1;
        Ok(level)
    }

    fn count(&mut self) -> Result<(), Mistake> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(Mistake::new(self.at, format!("a query has at most {MAX_CONDITIONS} conditions")));
        }
        Ok(())
    }

    fn term(&mut self) -> Result<Option<Level>, Mistake> {
        for (wrong, right) in [("&&", "AND"), ("||", "OR"), ("!", "NOT")] {
            if self.rest().starts_with(wrong) {
                let message = format!("`{wrong}` is not an operator here, write {right}; quote it if it is a text");
                return Err(Mistake::new(self.at, message));
            }
        }
        if self.rest().starts_with("*:*") && self.word_text() == "*:*" {
            self.out.write(self.at, "*");
            self.at += "*:*".len();
            return self.ends_here().map(|()| None);
        }
        let Some((name, length)) = self.field_name() else {
            return self.value().map(|()| None);
        };
        let number = self.out.names.len();
        self.out.write(self.at, &format!("f{number}:"));
        self.out.names.push(Name { at: self.at, text: name });
        self.at += length;
        self.skip_space();
        if self.rest().is_empty() || self.rest().starts_with(')') || self.at_operator() || self.at_keyword("NOT") {
            let name = &self.out.names[number];
            let message = format!("a value is missing behind `{}:`; quote the text if it is no field", name.text);
            return Err(Mistake::new(name.at, message));
        }
        if self.rest().starts_with('(') {
            return self.open("(").map(Some);
        }
        if let Some(set) = self.rest().strip_prefix("IN").map(str::trim_start).filter(|rest| rest.starts_with('[')) {
            let begin = self.at;
            self.at = self.text.len() - set.len();
            return self.set(begin).map(|()| None);
        }
        self.value().map(|()| None)
    }

    /// The unescaped name of a field and how long it is with its colon, if the rest begins with one.
    fn field_name(&self) -> Option<(String, usize)> {
        let mut name = String::new();
        let mut chars = self.rest().char_indices();
        let length = loop {
            match chars.next()? {
                (at, ':') => break at + 1,
                (_, '\\') => name.push(chars.next().map(|(_, c)| c)?),
                (0, c) if !(c.is_alphabetic() || "_@".contains(c)) => return None,
                (_, c) if c.is_alphanumeric() || "_@.-/$#%".contains(c) => name.push(c),
                _ => return None,
            }
        };
        let behind = &self.rest()[length..];
        let url = behind.starts_with("//");
        let drive = name.len() == 1 && behind.starts_with('\\');
        let word = self.word_text();
        let address = word.parse::<IpAddr>().is_ok() || Network::parse(word).is_some();
        (length > 1 && !url && !drive && !address).then_some((name, length))
    }

    /// The rest up to a space or parenthesis, as written.
    fn word_text(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c: char| c.is_whitespace() || "()".contains(c)).unwrap_or(rest.len())]
    }

    fn value(&mut self) -> Result<(), Mistake> {
        self.count()?;
        if self.rest().starts_with(['[', '{']) {
            return self.range();
        }
        if let Some(sign) = [">=", "<=", ">", "<"].into_iter().find(|sign| self.rest().starts_with(sign)) {
            self.out.write(self.at, sign);
            self.at += sign.len();
            self.skip_space();
            let bound = self.single("")?;
            if bound.is_star() {
                return Err(Mistake::new(bound.at, format!("`{sign}` needs a value to compare with")));
            }
            self.out.value(bound);
            return self.ends_here();
        }
        let value = self.single("")?;
        // `*` has to stand in the canonical text: the grammar makes it "all", or "is there" behind a field's name.
        if value.is_star() {
            self.out.write(value.at, "*");
        } else {
            self.out.value(value);
        }
        self.ends_here()
    }

    fn range(&mut self) -> Result<(), Mistake> {
        let begin = self.at;
        let open = &self.rest()[..1];
        self.out.write(begin, open);
        self.at += 1;
        self.bound(begin)?;
        self.skip_space();
        if !self.at_keyword("TO") {
            return Err(Mistake::new(self.at, "a range is written [from TO to]: TO is missing"));
        }
        self.out.write(self.at, " TO ");
        self.at += "TO".len();
        self.count()?;
        self.bound(begin)?;
        self.skip_space();
        let Some(close) = self.rest().get(..1).filter(|c| *c == "]" || *c == "}") else {
            return Err(Mistake::new(begin, "this range is never closed with `]` or `}`"));
        };
        self.out.write(self.at, close);
        self.at += 1;
        self.ends_here()
    }

    fn bound(&mut self, begin: usize) -> Result<(), Mistake> {
        self.skip_space();
        if self.rest().is_empty() || self.rest().starts_with([']', '}']) {
            return Err(Mistake::new(begin, "a range is written [from TO to], `*` standing for an open end"));
        }
        let value = self.single("]}")?;
        if value.is_star() {
            self.out.write(value.at, "*");
        } else {
            self.out.value(value);
        }
        Ok(())
    }

    fn set(&mut self, begin: usize) -> Result<(), Mistake> {
        self.out.write(begin, "IN [");
        self.at += 1;
        let first = self.out.values.len();
        loop {
            self.skip_space();
            if self.rest().starts_with(']') {
                break;
            }
            if self.rest().is_empty() {
                return Err(Mistake::new(begin, "this set is never closed with `]`"));
            }
            self.count()?;
            if self.out.values.len() > first {
                self.out.text.push(' ');
            }
            let value = self.single("]")?;
            self.out.value(value);
        }
        if self.out.values.len() == first {
            return Err(Mistake::new(begin, "this set is empty"));
        }
        self.out.write(self.at, "]");
        self.at += 1;
        self.ends_here()
    }

    /// A condition must end here.
    fn ends_here(&self) -> Result<(), Mistake> {
        match self.rest().chars().next() {
            Some('^') => Err(Mistake::new(self.at, "hits are not ranked, so `^` has no meaning here")),
            Some('~') => Err(Mistake::new(self.at, "inexact matches (`~`) are not supported")),
            Some(c) if !c.is_whitespace() && c != ')' => Err(Mistake::new(
                self.at,
                format!("a space is missing before `{c}`; quote the whole value if it has none"),
            )),
            _ => Ok(()),
        }
    }

    /// A quoted or bare value; a bare one also ends before a character of `stops`.
    fn single(&mut self, stops: &str) -> Result<Value, Mistake> {
        let value = match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => scan::quoted(self.text, self.at, quote),
            _ => scan::bare(self.text, self.at, stops),
        };
        let (value, end) = value?;
        self.at = end;
        Ok(value)
    }
}

fn check_plus(level: &Level) -> Result<(), Mistake> {
    match level.plus {
        Some(at) if level.or => {
            Err(Mistake::new(at, "`+` beside OR has no clear meaning; use AND and parentheses instead"))
        }
        _ => Ok(()),
    }
}
