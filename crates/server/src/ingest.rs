//! From received bytes to entries: one function, whoever received them.

use std::sync::Arc;

use bytes::Bytes;
use sceau_event::{Deriver, EventError, Framer, Meta, Micros, SourceId};
use sceau_store::{Batch, BatchBuilder};
use sha2::{Digest as _, Sha256};

use crate::{
    body::{Encoding, Format, Kind, inflate, split},
    config::Limits,
    error::{LineError, Refusals, ServerError},
    imports::ImportMove,
    sequencer::Appended,
};

/// The most events of one request.
pub const MAX_EVENTS: usize = 65_536;
/// The most bytes of entries of one request, envelopes and the text in the records included: as much as a body of 64 MiB
/// comes to if its text is all in the records once.
pub const MAX_ENTRY_BYTES: usize = 144 << 20;
/// How much text of an entry is guessed to follow from a body, per event, for the first allocation.
const ENVELOPE: usize = 120;

/// What a request says about its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestRequest {
    /// What the body holds.
    pub format: Format,
    /// How it is packed.
    pub encoding: Encoding,
    /// The source that its entries get.
    pub source: String,
    /// The parser for its lines; found out line by line if absent.
    pub parser: Option<String>,
    /// The zone of times that don't say theirs.
    pub zone: Option<String>,
    /// The address that the body came from.
    pub peer: Option<String>,
    /// Keeps nothing if one event is refused.
    pub atomic: bool,
    /// Makes a repeated request harmless within a day.
    pub idempotency: Option<String>,
    /// The step of an import that this is.
    pub import: Option<ImportMove>,
    /// Who asks: the id of a token, or `local`.
    pub actor: String,
    /// Waits for room in the queue instead of being refused.
    pub wait: bool,
}

impl Default for IngestRequest {
    fn default() -> Self {
        Self {
            format: Format::Json,
            encoding: Encoding::Identity,
            source: "http".to_owned(),
            parser: None,
            zone: None,
            peer: None,
            atomic: false,
            idempotency: None,
            import: None,
            actor: "local".to_owned(),
            wait: false,
        }
    }
}

impl IngestRequest {
    /// A hash of everything that decides what the request does, for its idempotency key.
    pub(crate) fn content(&self, body: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        let import = self.import.as_ref().map(|step| format!("{step:?}"));
        for part in [
            Some(format!("{:?} {:?} {}", self.format, self.encoding, self.atomic)).as_deref(),
            Some(self.source.as_str()),
            self.parser.as_deref(),
            self.zone.as_deref(),
            import.as_deref(),
        ] {
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        hash.update(body);
        hash.finalize().into()
    }

    /// Makes sure that the request can be served at all, before its body is looked at.
    ///
    /// # Errors
    /// [`ServerError::Parameter`], [`ServerError::ReservedSource`].
    pub(crate) fn check(&self, deriver: &Deriver) -> Result<(SourceId, Meta), ServerError> {
        let source = SourceId::parse(&self.source).map_err(|error| ServerError::parameter("source", error))?;
        if source.is_internal() {
            return Err(ServerError::ReservedSource(self.source.clone()));
        }
        if let Some(parser) = self.parser.as_ref().filter(|parser| !deriver.has_parser(parser)) {
            let known = deriver.parser_names().join(", ");
            return Err(ServerError::parameter("parser", format!("{parser:?} is unknown; known: {known}")));
        }
        let meta =
            Meta { parser: self.parser.clone(), zone: self.zone.clone(), peer: self.peer.clone(), ..Meta::default() };
        meta.check().map_err(|error| ServerError::parameter("zone", error))?;
        if let Some(key) = &self.idempotency {
            let fits = (1..=128).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !fits {
                return Err(ServerError::parameter("Idempotency-Key", "must be 1 to 128 printable ASCII characters"));
            }
        }
        self.import.as_ref().map_or(Ok(()), ImportMove::check)?;
        Ok((source, meta))
    }
}

/// A request's events as entries.
#[derive(Debug)]
pub struct Ingested {
    /// Those that can be kept.
    pub batch: Batch,
    /// Those that can't.
    pub refusals: Refusals,
}

/// A body that is one small event. Such bodies are made into entries by the sequencer, all of a group into one batch: a
/// batch of its own costs more than the event.
#[derive(Debug)]
pub(crate) struct Single {
    framer: Framer,
    received: Micros,
    kind: Kind,
    body: Bytes,
}

impl Single {
    /// The greatest body that is taken so.
    const MAX: usize = 4_096;

    /// The body as a single event, if that is what it is.
    ///
    /// # Errors
    /// The request can't be served.
    pub fn of(
        deriver: &Deriver,
        received: Micros,
        body: &Bytes,
        request: &IngestRequest,
    ) -> Result<Option<Self>, ServerError> {
        let lone = request.encoding == Encoding::Identity && request.import.is_none() && body.len() <= Self::MAX;
        let line = without_mark(body, request);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(first) = line.iter().find(|byte| !byte.is_ascii_whitespace()).filter(|_| lone) else {
            return Ok(None);
        };
        if memchr::memchr(b'\n', line).is_some() || (request.format == Format::Json && *first == b'[') {
            return Ok(None);
        }
        let (source, meta) = request.check(deriver)?;
        let kind = if request.format == Format::Text { Kind::Line } else { Kind::Object };
        let framer = Framer::new(received, &source, &meta);
        Ok(Some(Self { framer, received, kind, body: body.slice_ref(line) }))
    }

    pub fn received(&self) -> Micros {
        self.received
    }

    /// How much it is, with its envelope.
    pub fn bytes(&self) -> usize {
        self.body.len() + ENVELOPE
    }

    pub fn push(&self, builder: &mut BatchBuilder) -> Result<(), Refusals> {
        let pushed = push(builder, &self.framer, self.kind, &self.body);
        #[cfg(test)]
        assert!(self.body != crate::testing::PANICS, "as the test wants it");
        pushed.map_err(|error| {
            let mut refusals = Refusals { only_size: true, ..Refusals::default() };
            refusals.add(1, &error);
            refusals
        })
    }
}

/// The body without a byte order mark (RFC 8259, section 8.1, lets it be ignored). The body of an import begins anywhere
/// in its file, whose mark `sceau import` leaves out by itself.
fn without_mark<'b>(body: &'b [u8], request: &IngestRequest) -> &'b [u8] {
    body.strip_prefix(b"\xef\xbb\xbf").filter(|_| request.import.is_none()).unwrap_or(body)
}

fn push(builder: &mut BatchBuilder, framer: &Framer, kind: Kind, event: &[u8]) -> Result<(), EventError> {
    match kind {
        Kind::Object => builder.push_json(framer, event),
        Kind::Line => builder.push_line(framer, event),
    }
}

/// Makes entries of a body that was received at `received`. Events that can't be kept are counted and told one by one.
///
/// # Errors
/// The body as a whole can't be used.
pub fn ingest(
    deriver: &Arc<Deriver>,
    received: Micros,
    body: &[u8],
    request: &IngestRequest,
    limits: &Limits,
) -> Result<Ingested, ServerError> {
    let (source, meta) = request.check(deriver)?;
    let framer = Framer::new(received, &source, &meta);
    let inflated = inflate(body, request.encoding, limits.inflated)?;
    let body = without_mark(&inflated, request);
    let events = match request.format {
        Format::Json if body.len() < 512 => 1,
        _ => memchr::memchr_iter(b'\n', body).count().clamp(1, MAX_EVENTS),
    };
    let mut builder = BatchBuilder::with_capacity(deriver.clone(), events, body.len() + events * ENVELOPE);
    let mut refusals = Refusals { only_size: true, ..Refusals::default() };
    split(body, request.format, |number, kind, event| {
        if let Err(error) = push(&mut builder, &framer, kind, event) {
            refusals.add(number, &error);
        }
        if builder.len() > MAX_EVENTS || refusals.rejected > MAX_EVENTS as u64 {
            return Err(ServerError::TooManyEvents(MAX_EVENTS));
        }
        if builder.weight() > MAX_ENTRY_BYTES {
            return Err(ServerError::BodyTooLarge { limit: MAX_ENTRY_BYTES, inflated: true });
        }
        Ok(())
    })?;
    let batch = builder.finish().map_err(|error| ServerError::Internal(error.to_string()))?;
    Ok(Ingested { batch, refusals })
}

impl Refusals {
    fn add(&mut self, line: u64, error: &EventError) {
        self.rejected += 1;
        self.only_size &= matches!(error, EventError::TooLarge { .. });
        if self.errors.len() < Self::MAX {
            self.errors.push(LineError { line, code: error.code().to_owned(), message: error.to_string() });
        }
    }
}

/// What came of a request, as clients see it.
pub type IngestAnswer = Appended;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: &[u8], request: &IngestRequest) -> Result<Ingested, ServerError> {
        let deriver = Arc::new(Deriver::builtin());
        ingest(&deriver, Micros(1_795_334_400_000_000), body, request, &Limits::default())
    }

    #[test]
    fn good_events_are_kept_beside_bad_ones() {
        let request = IngestRequest { format: Format::Ndjson, ..IngestRequest::default() };
        let made = run(b"{\"a\":1}\n[2]\n\n{\"a\":1,\"a\":2}\n{\"b\":9007199254740993}\n", &request).unwrap();
        assert_eq!(made.batch.len(), 2);
        assert_eq!(made.refusals.rejected, 2);
        let told: Vec<_> = made.refusals.errors.iter().map(|error| (error.line, error.code.as_str())).collect();
        assert_eq!(told, [(2, "not_an_object"), (4, "duplicate_key")]);
        assert!(!made.refusals.only_size);
        let entry = std::str::from_utf8(made.batch.entries().value(1)).unwrap();
        assert!(entry.contains("{\"b\":9007199254740993}"), "{entry}");
        assert!(entry.contains("\"source\":\"http\""), "{entry}");
    }

    #[test]
    fn errors_are_counted_beyond_those_told() {
        let request = IngestRequest { format: Format::Ndjson, ..IngestRequest::default() };
        let made = run(&b"x\n".repeat(1_500), &request).unwrap();
        assert_eq!((made.refusals.rejected, made.refusals.errors.len()), (1_500, 1_000));
        let big = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
        let made = run(big.as_bytes(), &IngestRequest::default()).unwrap();
        assert!(made.refusals.only_size && made.refusals.rejected == 1);
        assert_eq!(made.refusals.errors[0].code, "too_large");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_event() {
        for (format, body) in [
            (Format::Json, "\u{feff}{\"a\":1}"),
            (Format::Json, "\u{feff}[{\"a\":1}]"),
            (Format::Ndjson, "\u{feff}{\"a\":1}\n"),
            (Format::Text, "\u{feff}<34>Nov 22 08:00:00 gate sshd[8710]: hello\n"),
        ] {
            let request = IngestRequest { format, ..IngestRequest::default() };
            let made = run(body.as_bytes(), &request).unwrap();
            assert_eq!((made.batch.len(), made.refusals.rejected), (1, 0), "{body}");
            let entry = std::str::from_utf8(made.batch.entries().value(0)).unwrap();
            assert!(!entry.contains('\u{feff}') && !entry.contains("feff"), "{entry}");
            let single = Single::of(&Deriver::builtin(), Micros(0), &Bytes::from(body), &request).unwrap();
            assert!(single.is_none_or(|single| !single.body.starts_with(b"\xef")), "{body}");
        }
        let to = crate::ImportPosition { offset: 9, lines: 1, tail: "0a".into() };
        let import = Some(ImportMove { id: "i".into(), from: 3, to });
        let request = IngestRequest { format: Format::Text, import, ..IngestRequest::default() };
        let made = run("\u{feff}a\n".as_bytes(), &request).unwrap();
        assert!(std::str::from_utf8(made.batch.entries().value(0)).unwrap().contains('\u{feff}'));
    }

    #[test]
    fn requests_have_limits() {
        let request = IngestRequest { format: Format::Text, ..IngestRequest::default() };
        let many = run(&b"a\n".repeat(MAX_EVENTS + 1), &request).unwrap_err();
        assert_eq!((many.status(), many.code()), (413, "too_many_events"));
        for (request, code) in [
            (IngestRequest { source: "sceau.audit".into(), ..request.clone() }, "reserved_source"),
            (IngestRequest { source: "No".into(), ..request.clone() }, "bad_parameter"),
            (IngestRequest { parser: Some("nonesuch".into()), ..request.clone() }, "bad_parameter"),
            (IngestRequest { zone: Some("Mars/Base".into()), ..request.clone() }, "bad_parameter"),
            (IngestRequest { idempotency: Some("é".into()), ..request.clone() }, "bad_parameter"),
            (IngestRequest { idempotency: Some(String::new()), ..request.clone() }, "bad_parameter"),
        ] {
            assert_eq!(run(b"a\n", &request).unwrap_err().code(), code, "{request:?}");
        }
    }

    #[test]
    fn single_events_are_told_from_others() {
        let deriver = Deriver::builtin();
        let single = |text: &str, format| {
            let request = IngestRequest { format, ..IngestRequest::default() };
            Single::of(&deriver, Micros(0), &Bytes::copy_from_slice(text.as_bytes()), &request).unwrap()
        };
        for (text, format, wanted) in [
            ("{\"a\":1}", Format::Json, Some("{\"a\":1}")),
            (" {\"a\":1}\r\n", Format::Ndjson, Some(" {\"a\":1}")),
            ("a line\n", Format::Text, Some("a line")),
            ("[1]", Format::Text, Some("[1]")),
            ("[{}]", Format::Json, None),
            ("{\n}", Format::Json, None),
            ("{}\n{}", Format::Json, None),
            ("a\n\n", Format::Text, None),
            ("\n", Format::Text, None),
            ("", Format::Json, None),
        ] {
            let found = single(text, format).map(|single| single.body);
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{text}");
        }
        assert!(single(&"x".repeat(5_000), Format::Text).is_none());
    }

    #[test]
    fn the_content_of_a_request_is_all_of_it() {
        let request = IngestRequest::default();
        let mut seen = std::collections::HashSet::new();
        assert!(seen.insert(request.content(b"a")));
        assert!(!seen.insert(request.content(b"a")));
        assert!(seen.insert(request.content(b"b")));
        assert!(seen.insert(IngestRequest { source: "x".into(), ..request.clone() }.content(b"a")));
        assert!(seen.insert(IngestRequest { parser: Some("x".into()), ..request.clone() }.content(b"a")));
        assert!(seen.insert(IngestRequest { zone: Some("x".into()), ..request.clone() }.content(b"a")));
        assert!(seen.insert(IngestRequest { atomic: true, ..request }.content(b"a")));
    }
}
