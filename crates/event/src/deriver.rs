//! From an event to its entry and record, and from an entry to its record.

use crate::builder::Builder;
use crate::envelope::{
    BEFORE_BASE64, BEFORE_DATA, Context, Data, Framer, Opened, Opener, line_size, open, write_line, write_object,
};
use crate::error::{EntryError, EventError, ParserError};
use crate::field::{Keyword, Target};
use crate::json::{Scan, Shape, Token, check_utf8, scan, scan_into, unescape_mapped};
use crate::line::{Text, derive_line, parse_message};
use crate::normalise::{place_object, target};
use crate::parser::{Parsers, Sample};
use crate::record::Record;
use crate::{MAX_ENTRY, Meta, Micros};
use base64::Engine as _;
use std::borrow::Cow;

/// Turns events into entries and entries into records, with a set of parsers.
///
/// It holds no state between calls, so one can serve all threads.
#[derive(Debug, Clone)]
pub struct Deriver {
    parsers: Parsers,
}

impl Deriver {
    /// With the parsers that come with Sceau (`parsers/*.yml`).
    #[must_use]
    pub fn builtin() -> Self {
        Self { parsers: Parsers::builtin() }
    }

    /// With parsers of one's own besides (`docs/parsers.md` tells their form), each given as file
    /// name and YAML text. They are tried first, and replace a built-in one of the same name.
    ///
    /// # Errors
    /// A file is wrong; the error names it, the rule and the reason.
    pub fn with_parsers(user: &[(String, String)]) -> Result<Self, ParserError> {
        Parsers::with_user(user).map(|parsers| Self { parsers })
    }

    /// Changes whenever records may come out differently: `4` for the built-in parsers,
    /// `4+<8 hexadecimal digits>` with others besides.
    #[must_use]
    pub fn version(&self) -> &str {
        self.parsers.version()
    }

    /// Is there a parser of this name, for [`Meta::parser`]?
    #[must_use]
    pub fn has_parser(&self, name: &str) -> bool {
        self.parser_names().contains(&name)
    }

    /// The names that [`Meta::parser`] can have. `auto` is what happens without a name, `syslog`
    /// is a header and what follows it, `plain` is no parsing.
    #[must_use]
    pub fn parser_names(&self) -> Vec<&str> {
        let mut names = vec!["auto", "plain", "syslog"];
        names.extend(self.parsers.iter().map(|parser| parser.name));
        names
    }

    /// Tries each parser's samples; gives what differs and which rules no sample uses. Nothing if
    /// all is well.
    #[must_use]
    pub fn check_samples(&self) -> Vec<ParserError> {
        let mut faults = Vec::new();
        for (index, parser) in self.parsers.iter().enumerate() {
            let fault = |rule, reason| ParserError { file: parser.file.clone(), rule, reason };
            let mut used = vec![false; parser.rules()];
            for sample in &parser.samples {
                match self.try_sample(sample) {
                    Ok(Some((found, rule))) if found == index => used[rule] = true,
                    Ok(_) => faults.push(fault(None, format!("no rule of it matches {:?}", sample.line))),
                    Err(reason) => faults.push(fault(None, reason)),
                }
            }
            let unused = used.iter().enumerate().filter(|(_, used)| !**used);
            faults.extend(unused.map(|(rule, _)| fault(Some(rule + 1), "no sample uses it: add one".into())));
        }
        faults
    }

    /// The parser and rule that a sample's line uses, if its record is as the sample expects.
    fn try_sample(&self, sample: &Sample) -> Result<Option<(usize, usize)>, String> {
        let received: Micros = "2026-11-22T08:00:00Z".parse().unwrap_or_default();
        let context = Context::new(received, &Meta::default());
        let (record, rule) = derive_line(&Text::plain(&sample.line), &context, &self.parsers);
        for (name, wanted) in &sample.expect {
            let field = crate::field(name);
            let found = record.get(&field);
            if found.as_deref() != wanted.as_deref() {
                return Err(format!("{:?}: {name} is {found:?}, expected {wanted:?}", sample.line));
            }
        }
        Ok(rule)
    }

    /// Checks one JSON object, appends its entry to `out` and gives its record, borrowed from
    /// there. The event's bytes are read once. White space around the object is left out.
    ///
    /// # Errors
    /// The event can't be sealed; `out` is as before.
    pub fn push_json<'o>(&self, framer: &Framer, event: &[u8], out: &'o mut Vec<u8>) -> Result<Record<'o>, EventError> {
        self.push_next_json(framer, event, &mut Memory::default(), out)
    }

    /// [`Self::push_json`] for events that follow each other, of which neighbours have much in common.
    ///
    /// # Errors
    /// As [`Self::push_json`]; the next event can be given all the same.
    pub fn push_next_json<'o>(
        &self,
        framer: &Framer,
        event: &[u8],
        memory: &mut Memory,
        out: &'o mut Vec<u8>,
    ) -> Result<Record<'o>, EventError> {
        let text = check_utf8(event)?;
        let object = text.trim_start_matches(JSON_SPACE);
        let lead = text.len() - object.len();
        let object = object.trim_end_matches(JSON_SPACE);
        // Before the scan, which needs up to twelve times the memory that a text has.
        if object.len() > framer.room() {
            let breaks = memchr::memchr2_iter(b'\n', b'\r', object.as_bytes()).count();
            let least = MAX_ENTRY - framer.room() + object.len() - breaks;
            if least > MAX_ENTRY {
                return Err(EventError::too_large(least));
            }
        }
        match object.as_bytes().first() {
            None => return Err(EventError::Empty),
            Some(b'{') => {}
            // What is not JSON at all deserves to be told so.
            Some(_) => return Err(scan(object.as_bytes()).err().map_or(EventError::NotAnObject, |e| e.shifted(lead))),
        }
        scan_into(object.as_bytes(), &mut memory.found).map_err(|e| e.shifted(lead))?;
        let start = out.len();
        write_object(framer, object, memory.found.breaks, out)?;
        let entry = &out[start..];
        let data = &entry[framer.prefix.len() + BEFORE_DATA.len()..entry.len() - 1];
        let (tokens, known) = memory.targets();
        let mut record = self.object(check_utf8(data)?, tokens, known, &framer.context);
        record.source = source_of(framer, entry);
        Ok(record)
    }

    /// Appends the entry of one line of text to `out` and gives its record, borrowed from there.
    /// Line breaks at its end aren't part of it; bytes that are not UTF-8 are kept in Base64.
    ///
    /// # Errors
    /// The line is empty or too long ([`Framer::fit_line`] tells where to cut); `out` is as before.
    pub fn push_line<'o>(&self, framer: &Framer, line: &[u8], out: &'o mut Vec<u8>) -> Result<Record<'o>, EventError> {
        let end = line.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).ok_or(EventError::Empty)?;
        let start = out.len();
        // Before writing: a line of control characters grows sixfold.
        let size = line_size(framer, &line[..=end]);
        if size > MAX_ENTRY {
            return Err(EventError::too_large(size));
        }
        write_line(framer, &line[..=end], out);
        let entry = &out[start..];
        let after = &entry[framer.prefix.len()..entry.len() - 2];
        let record = match after.strip_prefix(BEFORE_BASE64) {
            Some(encoded) => self.base64(check_utf8(encoded)?, &framer.context)?,
            None => self.line(check_utf8(&after[BEFORE_DATA.len() + 1..])?, &framer.context),
        };
        Ok(Record { source: source_of(framer, entry), ..record })
    }

    /// The record of an entry: a function of its bytes and of [`Self::version`], the same that
    /// was given when the entry was made.
    ///
    /// # Errors
    /// The bytes are not an entry of format 1.
    pub fn derive<'e>(&self, entry: &'e [u8]) -> Result<Record<'e>, EntryError> {
        let Opened { context, source, data } = open(entry)?;
        let record = self.data(data, &context, &mut Memory::default())?;
        Ok(Record { source: Cow::Borrowed(source), ..record })
    }

    /// Derives the records of many entries, of which neighbours have much in common.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        Replay { deriver: self, opener: Opener::default(), memory: Memory::learning() }
    }

    #[inline]
    fn data<'e>(&self, data: Data<'e>, context: &Context, memory: &mut Memory) -> Result<Record<'e>, EntryError> {
        Ok(match data {
            Data::Object(text) => {
                if !text.starts_with('{') {
                    return Err(EventError::NotAnObject.into());
                }
                let found = &mut memory.found;
                scan_into(text.as_bytes(), found)?;
                if found.breaks > 0 {
                    return Err(EntryError::Envelope { offset: 0, why: "no line break in it" });
                }
                let (tokens, known) = memory.targets();
                self.object(text, tokens, known, context)
            }
            Data::Line(raw) => {
                scan_into(["\"", raw, "\""].concat().as_bytes(), &mut memory.found)?;
                self.line(raw, context)
            }
            Data::Base64(encoded) => self.base64(encoded, context)?,
        })
    }

    #[inline]
    fn object<'e>(&self, text: &'e str, tokens: &[Token], known: &[Option<Target>], context: &Context) -> Record<'e> {
        let mut builder = Builder::new(context, text.len());
        place_object(text, tokens, known, &mut builder, |text| text);
        if let Some(parser) = &context.parser {
            match builder.record.keywords[Keyword::Message as usize].clone() {
                Some(Cow::Borrowed(message)) => {
                    parse_message(&Text::plain(message), parser, &mut builder, &self.parsers);
                }
                Some(Cow::Owned(message)) => {
                    parse_message(&Text::detached(&message), parser, &mut builder, &self.parsers);
                }
                None => {}
            }
        }
        builder.finish(context)
    }

    fn line<'e>(&self, escaped: &'e str, context: &Context) -> Record<'e> {
        match unescape_mapped(escaped) {
            (Cow::Borrowed(line), _) => derive_line(&Text::plain(line), context, &self.parsers).0,
            (Cow::Owned(line), escapes) => {
                derive_line(&Text::escaped(&line, escaped, escapes), context, &self.parsers).0
            }
        }
    }

    fn base64(&self, encoded: &str, context: &Context) -> Result<Record<'static>, EventError> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| EventError::Json { offset: 0, why: "Base64 in data_base64" })?;
        let line = String::from_utf8_lossy(&bytes);
        Ok(derive_line(&Text::detached(&line), context, &self.parsers).0)
    }
}

/// [`Deriver::derive`] for entries that follow each other: what they have in common is read once, and memory is used
/// again. Each record is still a function of its entry alone.
pub struct Replay<'d> {
    deriver: &'d Deriver,
    opener: Opener,
    memory: Memory,
}

impl Replay<'_> {
    /// The record of the next entry.
    ///
    /// # Errors
    /// As [`Deriver::derive`]; the next entry can be given all the same.
    pub fn derive<'e>(&mut self, entry: &'e [u8]) -> Result<Record<'e>, EntryError> {
        let (context, source, data) = self.opener.open(entry)?;
        let mut record = self.deriver.data(data, context, &mut self.memory);
        if let Ok(record) = &mut record {
            record.source = Cow::Borrowed(source);
        }
        record
    }
}

/// What is used again from one event or entry to the next: memory, and the keys of the last. No result depends on it.
#[derive(Default)]
pub struct Memory {
    found: Scan,
    /// Where the values of the shape's keys belong, and the version of the shape.
    targets: (u64, Vec<Option<Target>>),
}

impl Memory {
    /// One that learns the keys of each event for the next.
    #[must_use]
    pub fn learning() -> Self {
        let mut memory = Self::default();
        memory.found.shape = Shape::learning();
        memory
    }

    /// The tokens of the last scan, and the targets of the first of its outermost keys.
    fn targets(&mut self) -> (&[Token], &[Option<Target>]) {
        let shape = &self.found.shape;
        let (version, targets) = &mut self.targets;
        if *version != shape.version {
            *version = shape.version;
            targets.clear();
            targets.extend(shape.keys().map(target));
        }
        (&self.found.tokens, targets.get(..shape.known).unwrap_or_default())
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn source_of<'e>(framer: &Framer, entry: &'e [u8]) -> Cow<'e, str> {
    String::from_utf8_lossy(&entry[framer.source.clone()])
}
