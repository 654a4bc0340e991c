//! Parsers as data: what they are once loaded. `docs/parsers.md` tells how they are written.

mod builtin;
mod file;
mod intern;
mod rule;

pub(crate) use file::Sample;
pub(crate) use rule::Matched;

use crate::error::ParserError;
use crate::field::Target;
use regex::RegexSet;
use rule::Rule;
use std::sync::{Arc, LazyLock};

/// All parsers, in the order in which they are tried.
#[derive(Debug, Clone)]
pub(crate) struct Parsers {
    all: Vec<Arc<Parser>>,
    version: String,
}

/// One parser.
#[derive(Debug)]
pub(crate) struct Parser {
    pub file: String,
    pub name: &'static str,
    pub dataset: &'static str,
    /// In lower case; `*` stands for any.
    programs: Vec<String>,
    /// It understands whole lines that have no syslog header.
    pub line: bool,
    rules: Vec<Rule>,
    /// Tells in one pass which rules match.
    set: RegexSet,
    pub samples: Vec<Sample>,
}

/// The number in [`crate::Deriver::version`]: to be raised with every change that makes records
/// come out differently.
const VERSION: &str = "4";

/// How many rules are tried before the set is asked.
const COMMON: usize = 2;

static BUILTIN: LazyLock<Vec<Arc<Parser>>> = LazyLock::new(|| {
    let load = |(file, yaml): &(&str, &str)| file::load(file, yaml).ok().map(Arc::new);
    // A test loads each of them, so none is left out here.
    builtin::FILES.iter().filter_map(load).collect()
});

impl Parsers {
    pub fn builtin() -> Self {
        Self { all: BUILTIN.clone(), version: VERSION.to_owned() }
    }

    pub fn with_user(user: &[(String, String)]) -> Result<Self, ParserError> {
        if user.is_empty() {
            return Ok(Self::builtin());
        }
        let mut all: Vec<Arc<Parser>> = Vec::with_capacity(user.len() + BUILTIN.len());
        let mut hash = Fnv::new();
        for (file, yaml) in user {
            let parser = file::load(file, yaml)?;
            if let Some(other) = all.iter().find(|other| other.name == parser.name) {
                let reason = format!("the name {:?} is taken by {}", parser.name, other.file);
                return Err(ParserError { file: file.clone(), rule: None, reason });
            }
            hash.write(yaml.as_bytes());
            all.push(Arc::new(parser));
        }
        let replaced = |parser: &Arc<Parser>| all.iter().any(|own| own.name == parser.name);
        let kept: Vec<_> = BUILTIN.iter().filter(|parser| !replaced(parser)).cloned().collect();
        all.extend(kept);
        Ok(Self { all, version: format!("{VERSION}+{:08x}", hash.short()) })
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn iter(&self) -> impl Iterator<Item = &Parser> {
        self.all.iter().map(AsRef::as_ref)
    }

    pub fn named(&self, name: &str) -> Option<(usize, &Parser)> {
        self.iter().enumerate().find(|(_, parser)| parser.name == name)
    }

    /// Those for whole lines.
    pub fn of_lines(&self) -> impl Iterator<Item = (usize, &Parser)> {
        self.iter().enumerate().filter(|(_, parser)| parser.line)
    }

    /// Those that name the program of a syslog tag: as it is, without its path, or up to a `/`
    /// or `(`, as in `postfix/smtpd` and `sshd(pam_unix)`.
    pub fn of_program<'p>(&'p self, tag: &'p str) -> impl Iterator<Item = (usize, &'p Parser)> {
        let whole = tag.strip_prefix('/').map_or(tag, |path| path.rsplit('/').next().unwrap_or(path));
        let whole = whole.split('(').next().unwrap_or(whole);
        let start = whole.split('/').next().unwrap_or(whole);
        let is = |program: &str| program.eq_ignore_ascii_case(whole) || program.eq_ignore_ascii_case(start);
        self.iter().enumerate().filter(move |(_, parser)| parser.programs.iter().any(|program| is(program)))
    }

    /// Those for the messages of any program.
    pub fn of_any_program(&self) -> impl Iterator<Item = (usize, &Parser)> {
        self.iter().enumerate().filter(|(_, parser)| parser.programs.iter().any(|program| program == "*"))
    }
}

impl Parser {
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The first rule that matches, with what it captured.
    pub fn find<'t>(&self, text: &'t str) -> Option<Matched<'t>> {
        // A file starts with the rules of its most common lines: asking them costs less than the
        // set does.
        let (common, _) = self.rules.split_at(self.rules.len().min(COMMON));
        if let Some(found) = common.iter().enumerate().find_map(|(at, rule)| rule.captures(text, at)) {
            return Some(found);
        }
        let first = self.set.matches(text).iter().next()?;
        self.rules.get(first)?.captures(text, first)
    }

    /// Gives each name, place and value of a match: values that the rule sets, then parts of the
    /// text (`Ok`). A part that is empty or a dash, which logs write for nothing, is left out.
    pub fn each_value<'t>(
        &self,
        found: &Matched<'t>,
        mut each: impl FnMut(&'static str, Option<Target>, Result<&'t str, &'static str>),
    ) {
        let Some(rule) = self.rules.get(found.rule) else { return };
        for (name, target, value) in rule.set() {
            each(name, *target, Err(value));
        }
        for (at, name, target) in rule.groups() {
            if let Some(part) = found.captures.get(*at).filter(|part| !matches!(part.as_str(), "" | "-")) {
                each(name, *target, Ok(part.as_str()));
            }
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine, which is all that a version has to be.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Hashes the bytes and their number, so that texts can't run into each other.
    fn write(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in bytes.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn short(&self) -> u32 {
        u32::try_from((self.0 ^ (self.0 >> 32)) & 0xffff_ffff).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_loads() {
        for (file, yaml) in builtin::FILES {
            file::load(file, yaml).unwrap();
        }
        assert_eq!(BUILTIN.len(), builtin::FILES.len());
    }
}
