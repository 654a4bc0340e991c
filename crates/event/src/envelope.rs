//! The entry's envelope: writing it around an event, and finding the event in it again.

use crate::error::{EntryError, EventError};
use crate::json::{Kind, check_utf8, scan, string_size, write_string};
use crate::meta::Meta;
use crate::source::{SourceId, is_name};
use crate::time::Micros;
use crate::zone::Zone;

/// The envelope of a request's entries, prepared once: everything before `data`.
#[derive(Debug, Clone)]
pub struct Framer {
    pub(crate) prefix: Vec<u8>,
    pub(crate) context: Context,
    /// Where the source's name is in `prefix`.
    pub(crate) source: std::ops::Range<usize>,
}

/// What a record depends on besides the event.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub received: Micros,
    pub zone: Zone,
    pub zone_known: bool,
    pub parser: Option<String>,
    pub cut: bool,
}

impl Context {
    pub fn new(received: Micros, meta: &Meta) -> Self {
        let zone = meta.zone.as_deref().map(Zone::parse);
        Self {
            received,
            zone_known: !matches!(zone, Some(Err(_))),
            zone: zone.and_then(Result::ok).unwrap_or(Zone::UTC),
            parser: meta.parser.clone(),
            cut: meta.cut.is_some(),
        }
    }
}

impl Framer {
    /// Prepares the envelope. `received` must lie in the years 0 to 9999; `meta` should have
    /// passed [`Meta::check`]: an unknown zone is taken as UTC and each record says so
    /// (`tags: zone_unknown`).
    #[must_use]
    pub fn new(received: Micros, source: &SourceId, meta: &Meta) -> Self {
        let mut prefix = Vec::with_capacity(128);
        prefix.extend_from_slice(BEFORE_RECEIVED);
        prefix.extend_from_slice(&received.text());
        prefix.extend_from_slice(BEFORE_SOURCE);
        let start = prefix.len();
        prefix.extend_from_slice(source.as_str().as_bytes());
        let end = prefix.len();
        prefix.extend_from_slice(BEFORE_META);
        meta.write(&mut prefix);
        Self { prefix, context: Context::new(received, meta), source: start..end }
    }

    /// How many bytes of an event an entry of this envelope has room for. Each `"` and `\` of a
    /// line takes two of them, each other control character up to six.
    #[must_use]
    pub fn room(&self) -> usize {
        crate::MAX_ENTRY.saturating_sub(self.prefix.len() + BEFORE_DATA.len() + 1)
    }

    /// The length of the longest start of a line that fits into an entry of this envelope, never
    /// inside a character. Cut a longer line there, and note its length in [`Meta::cut`].
    #[must_use]
    pub fn fit_line(&self, line: &[u8]) -> usize {
        // The digits of `cut` are written into the envelope only after this question.
        let room = self.room().saturating_sub(2 + 32);
        let mut used = 0;
        let mut end = 0;
        for (at, byte) in line.iter().enumerate() {
            // Bytes that are not UTF-8 are kept in Base64, four for three.
            used += match byte {
                b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
                0..0x20 => 6,
                _ => 1,
            };
            if used > room {
                break;
            }
            end = at + 1;
        }
        if std::str::from_utf8(line).is_err() {
            return end.min((room - "_base64".len()) / 4 * 3);
        }
        while end < line.len() && end > 0 && line[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        end
    }
}

const BEFORE_RECEIVED: &[u8] = b"{\"v\":1,\"received\":\"";
const BEFORE_SOURCE: &[u8] = b"\",\"source\":\"";
const BEFORE_META: &[u8] = b"\",\"meta\":";
pub(crate) const BEFORE_DATA: &[u8] = b",\"data\":";
pub(crate) const BEFORE_BASE64: &[u8] = b",\"data_base64\":\"";

/// An entry taken apart.
pub(crate) struct Opened<'e> {
    pub context: Context,
    pub source: &'e str,
    pub data: Data<'e>,
}

pub(crate) enum Data<'e> {
    /// A JSON object, as text.
    Object(&'e str),
    /// The content of a JSON string, escapes as they are.
    Line(&'e str),
    /// Base64 of a line that is not UTF-8.
    Base64(&'e str),
}

/// Takes an entry apart; anything that [`Framer`] would not have written is an error.
pub(crate) fn open(entry: &[u8]) -> Result<Opened<'_>, EntryError> {
    let text = entry_text(entry)?;
    let (head, at) = Head::read(text)?;
    let source = text.get(head.source).unwrap_or("");
    Ok(Opened { context: head.context, source, data: Reader { text, at }.data()? })
}

fn entry_text(entry: &[u8]) -> Result<&str, EntryError> {
    if entry.len() > crate::MAX_ENTRY {
        return Err(EventError::too_large(entry.len()).into());
    }
    Ok(check_utf8(entry)?)
}

/// What stands before an event in its entry.
struct Head {
    context: Context,
    /// Where the source's name is in the entry.
    source: std::ops::Range<usize>,
}

impl Head {
    /// Reads the envelope up to the end of `meta`, and tells where that is. Nothing behind that place is looked at.
    fn read(text: &str) -> Result<(Self, usize), EntryError> {
        let mut reader = Reader { text, at: 0 };
        let newer = |error| newer(text).map_or(error, |found| EntryError::Newer { found: found.to_owned() });
        reader.expect(BEFORE_RECEIVED, "{\"v\":1,\"received\":\"").map_err(newer)?;
        let at = reader.at;
        let received = received_time(reader.until_quote()?);
        let received = received.ok_or(Reader::fail(at, "a time as 2026-11-22T08:00:00.000000Z"))?;
        reader.expect(BEFORE_SOURCE, "\",\"source\":\"")?;
        let at = reader.at;
        let source = reader.until_quote()?;
        if !is_name(source) {
            return Err(Reader::fail(at, "a source's name"));
        }
        let source = at..reader.at;
        reader.expect(BEFORE_META, "\",\"meta\":")?;
        let meta = reader.meta()?;
        Ok((Self { context: Context::new(received, &meta), source }, reader.at))
    }
}

/// Takes entries apart one after the other. Those of one request begin with the same bytes: these are read once.
#[derive(Default)]
pub(crate) struct Opener {
    /// The last entry's bytes up to the end of `meta`, and what they say.
    last: Option<(Vec<u8>, Head)>,
}

impl Opener {
    /// As [`open`]; the context stays here.
    pub fn open<'s, 'e>(&'s mut self, entry: &'e [u8]) -> Result<(&'s Context, &'e str, Data<'e>), EntryError> {
        let text = entry_text(entry)?;
        let (prefix, head) = match self.last.take().and_then(|last| again(last, text)) {
            Some(known) => known,
            None => {
                let (head, end) = Head::read(text)?;
                (entry.get(..end).unwrap_or(entry).to_vec(), head)
            }
        };
        let (prefix, head) = self.last.insert((prefix, head));
        let data = Reader { text, at: prefix.len() }.data()?;
        Ok((&head.context, text.get(head.source.clone()).unwrap_or(""), data))
    }
}

/// What the last entry's envelope says of one that begins with the same bytes, or the same but for the receive time. How
/// an envelope is read depends on nothing behind it.
fn again((mut prefix, mut head): (Vec<u8>, Head), text: &str) -> Option<(Vec<u8>, Head)> {
    let place = BEFORE_RECEIVED.len()..BEFORE_RECEIVED.len() + RECEIVED_LENGTH;
    let entry = text.as_bytes();
    let (before, received, behind) = (prefix.get(..place.start)?, prefix.get(place.clone())?, prefix.get(place.end..)?);
    if !entry.starts_with(before) || !entry.get(place.end..)?.starts_with(behind) {
        return None;
    }
    let told = text.get(place.clone())?;
    if told.as_bytes() != received {
        head.context.received = received_time(told)?;
        prefix.get_mut(place)?.copy_from_slice(told.as_bytes());
    }
    Some((prefix, head))
}

/// The bytes of a receive time.
const RECEIVED_LENGTH: usize = 27;

/// A receive time as [`Framer`] writes it.
fn received_time(text: &str) -> Option<Micros> {
    text.parse::<Micros>().ok().filter(|time| time.text() == text.as_bytes())
}

/// The format of an entry that a newer version wrote.
fn newer(text: &str) -> Option<&str> {
    let (version, _) = text.strip_prefix("{\"v\":")?.split_once(',')?;
    let is_number = (1..=9).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !version.starts_with('0') && version != "1").then_some(version)
}

struct Reader<'e> {
    text: &'e str,
    at: usize,
}

impl<'e> Reader<'e> {
    fn fail(offset: usize, why: &'static str) -> EntryError {
        EntryError::Envelope { offset, why }
    }

    fn rest(&self) -> &'e str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn expect(&mut self, wanted: &[u8], why: &'static str) -> Result<(), EntryError> {
        if !self.rest().as_bytes().starts_with(wanted) {
            return Err(Self::fail(self.at, why));
        }
        self.at += wanted.len();
        Ok(())
    }

    fn until_quote(&mut self) -> Result<&'e str, EntryError> {
        let rest = self.rest();
        let end = memchr::memchr(b'"', rest.as_bytes()).ok_or(Self::fail(self.at, "a closing quote"))?;
        self.at += end;
        Ok(&rest[..end])
    }

    /// Reads `meta` and checks that writing it again gives the same bytes.
    fn meta(&mut self) -> Result<Meta, EntryError> {
        if self.rest().starts_with("{}") {
            self.at += 2;
            return Ok(Meta::default());
        }
        let wrong = Self::fail(self.at, "meta with parser, zone, peer, cut, in this order");
        let rest = self.rest();
        // `meta` holds only strings and a number: it ends at the first brace outside a string.
        let mut end = None;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                b'}' if !quoted => {
                    end = Some(at + 1);
                    break;
                }
                _ => {}
            }
        }
        let raw = end.and_then(|end| rest.get(..end)).ok_or_else(|| wrong.clone())?;
        let meta = read_meta(raw).ok_or_else(|| wrong.clone())?;
        let mut again = Vec::with_capacity(raw.len());
        meta.write(&mut again);
        if again != raw.as_bytes() {
            return Err(wrong);
        }
        self.at += raw.len();
        Ok(meta)
    }

    fn data(&mut self) -> Result<Data<'e>, EntryError> {
        if self.rest().as_bytes().starts_with(BEFORE_BASE64) {
            self.at += BEFORE_BASE64.len();
            return self.closed_by("\"}").map(Data::Base64);
        }
        self.expect(BEFORE_DATA, ",\"data\": or ,\"data_base64\":")?;
        if self.rest().starts_with('"') {
            self.at += 1;
            return self.closed_by("\"}").map(Data::Line);
        }
        self.closed_by("}").map(Data::Object)
    }

    fn closed_by(&self, end: &str) -> Result<&'e str, EntryError> {
        self.rest().strip_suffix(end).ok_or(Self::fail(self.text.len(), "the envelope's closing brace"))
    }
}

fn read_meta(raw: &str) -> Option<Meta> {
    let tokens = scan(raw.as_bytes()).ok()?.tokens;
    let mut meta = Meta::default();
    for pair in tokens.get(1..tokens.len() - 1)?.chunks(2) {
        let [key, value] = pair else { return None };
        let text = (value.kind == Kind::String).then(|| value.value(raw).into_owned());
        match key.of(raw) {
            "parser" => meta.parser = Some(text?),
            "zone" => meta.zone = Some(text?),
            "peer" => meta.peer = Some(text?),
            "cut" => meta.cut = Some(value.of(raw).parse().ok()?),
            _ => return None,
        }
    }
    Some(meta)
}

/// Appends the envelope around a JSON object whose line breaks are `breaks` many.
pub(crate) fn write_object(framer: &Framer, object: &str, breaks: u32, out: &mut Vec<u8>) -> Result<(), EventError> {
    let size = framer.prefix.len() + BEFORE_DATA.len() + object.len() - breaks as usize + 1;
    if size > crate::MAX_ENTRY {
        return Err(EventError::too_large(size));
    }
    out.reserve(size);
    out.extend_from_slice(&framer.prefix);
    out.extend_from_slice(BEFORE_DATA);
    if breaks == 0 {
        out.extend_from_slice(object.as_bytes());
    } else {
        // Strings can't hold a raw line break, so each one is between tokens.
        out.extend(object.bytes().filter(|b| !matches!(b, b'\n' | b'\r')));
    }
    out.push(b'}');
    Ok(())
}

/// The bytes of the entry that [`write_line`] writes.
pub(crate) fn line_size(framer: &Framer, line: &[u8]) -> usize {
    let data = match std::str::from_utf8(line) {
        Ok(text) => BEFORE_DATA.len() + string_size(text),
        Err(_) => BEFORE_BASE64.len() + line.len().div_ceil(3) * 4 + 1,
    };
    framer.prefix.len() + data + 1
}

/// Appends the envelope around a line; the caller has to check the size.
pub(crate) fn write_line(framer: &Framer, line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&framer.prefix);
    match std::str::from_utf8(line) {
        Ok(text) => {
            out.extend_from_slice(BEFORE_DATA);
            write_string(text, out);
        }
        Err(_) => {
            use base64::Engine as _;
            out.extend_from_slice(BEFORE_BASE64);
            out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(line).as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
}
