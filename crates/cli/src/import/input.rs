//! Opening what is to be imported: what it is packed with, what it holds, and where an earlier import stopped.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use super::{
    lines::{BOM, Events, Shape, TAIL, Tail, hex, is_json},
    watch::{Identity, Plain, Watch},
};

/// How much of an input is looked at to find out what it holds.
const PROBE: usize = 64 << 10;
/// How much of the first line tells a file from another of the same name.
const FIRST: usize = 1024;

/// What an input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A JSON object a line.
    Ndjson,
    /// Lines of text.
    Text,
    /// A JSON array, or objects that span lines.
    Json,
}

impl Kind {
    /// How its events lie.
    pub fn shape(self) -> Shape {
        match self {
            Self::Ndjson | Self::Text => Shape::Lines,
            Self::Json => Shape::Values,
        }
    }

    /// Finds out what begins like this. `whole`: nothing comes behind it.
    fn of(head: &[u8], whole: bool) -> Self {
        let head = head.strip_prefix(BOM).unwrap_or(head).trim_ascii_start();
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let cut = line.len() == head.len() && !whole;
        match head.first() {
            Some(b'{') if cut || is_json(line) => Self::Ndjson,
            Some(b'{') if line.trim_ascii() == b"{" => Self::Json,
            // Apache's error log begins with a bracket too: `[Sun Dec 04 …`.
            Some(b'[') if matches!(head[1..].trim_ascii_start().first(), Some(b'{' | b']')) => Self::Json,
            _ => Self::Text,
        }
    }
}

/// Counts the bytes read through it.
struct Counting<R> {
    input: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A reader of an input's inflated bytes.
pub type Inflated = Box<dyn Read + Send>;

/// A file that can be read from any place.
pub struct Source {
    file: File,
    /// As it was given, which may be a link that is later put elsewhere.
    given: PathBuf,
    path: PathBuf,
    identity: Identity,
    rewritten: Arc<AtomicBool>,
    /// Its size on the disk.
    pub size: u64,
    /// Bytes read of it, on the disk.
    pub count: Arc<AtomicU64>,
    packed: bool,
    head: Vec<u8>,
}

impl Source {
    /// Looks at the beginning of an open file.
    pub fn new(path: &Path, file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        let identity = Identity::of(&found);
        let mut source = Self {
            file,
            given: path.to_owned(),
            path: path.canonicalize()?,
            identity,
            rewritten: Arc::default(),
            size: found.len(),
            count: Arc::default(),
            packed: false,
            head: Vec::new(),
        };
        let (mut input, packed) = inflate(source.rewound()?)?;
        source.head = read_up_to(&mut input, PROBE, false)?;
        source.packed = packed;
        Ok(source)
    }

    fn rewound(&self) -> io::Result<Inflated> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        self.count.store(0, Ordering::Relaxed);
        Ok(Box::new(Counting { input: file, count: self.count.clone() }))
    }

    /// Whether it is compressed.
    pub fn packed(&self) -> bool {
        self.packed
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        // A plain file may grow: its first line can be the beginning of an object.
        Kind::of(&self.head, self.packed && self.head.len() < PROBE)
    }

    /// Whether its first line, which tells it from other files, is there as a whole.
    pub fn has_first_line(&self) -> bool {
        self.head.len() >= FIRST || self.head.contains(&b'\n')
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// The import's names for positions in this file: by its first line, and the one that it had, or has, without. A
    /// first line without a line feed may be half of one, so it is no mark.
    pub fn ids(&self, source: &str) -> Vec<String> {
        let start = &self.head[..self.head.len().min(FIRST)];
        let first = memchr::memchr(b'\n', start).map(|end| &start[..end]).filter(|first| !first.is_empty());
        let id = |first: &[u8]| {
            let mut hash = Sha256::new();
            for part in [self.path.as_os_str().as_encoded_bytes(), source.as_bytes(), first] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hex(&hash.finalize()[..16])
        };
        first.into_iter().chain([&[][..]]).map(id).collect()
    }

    /// Notices a rotation.
    pub fn watch(&self) -> Watch {
        Watch::new(self.given.clone(), self.identity, self.rewritten.clone())
    }

    /// Reads from `offset` on, in inflated bytes; `None` if the bytes before it are not those that hash to `tail`.
    pub fn read_from(&self, offset: u64, tail: Option<&str>, shape: Shape) -> io::Result<Option<Events>> {
        let mut before = Tail::default();
        let input = if self.packed {
            let mut input = inflate(self.rewound()?)?.0;
            if !skip(&mut input, offset, &mut before)? {
                return Ok(None);
            }
            input
        } else {
            if self.file.metadata()?.len() < offset {
                return Ok(None);
            }
            let start = offset.saturating_sub(TAIL as u64);
            self.count.store(start, Ordering::Relaxed);
            let (file, count) = (self.file.try_clone()?, self.count.clone());
            let mut input: Inflated = Box::new(Plain::new(file, start, count, self.rewritten.clone()));
            if !skip(&mut input, offset - start, &mut before)? {
                return Ok(None);
            }
            input
        };
        if tail.is_some_and(|tail| tail != before.hash()) {
            return Ok(None);
        }
        Ok(Some(Events::new(input, shape, offset, before)))
    }
}

/// An input that can be read only once, as a pipe.
pub fn stream(input: Inflated) -> io::Result<(Inflated, Kind)> {
    let (mut input, _) = inflate(input)?;
    // A pipe may be slow: its first line is enough.
    let head = read_up_to(&mut input, PROBE, true)?;
    let whole = head.len() < PROBE && !head.contains(&b'\n');
    let kind = Kind::of(&head, whole);
    Ok((Box::new(Cursor::new(head).chain(input)), kind))
}

/// Unpacks what is packed, by its first bytes.
fn inflate(mut input: Inflated) -> io::Result<(Inflated, bool)> {
    let magic = read_up_to(&mut input, 6, false)?;
    let whole = Cursor::new(magic.clone()).chain(input);
    let unsupported = |name: &str| {
        let text = format!("it is packed with {name}; unpack it first, or use gzip or zstd");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    };
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => Ok((Box::new(flate2::read::MultiGzDecoder::new(whole)), true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok((Box::new(zstd::stream::read::Decoder::new(whole)?), true)),
        [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => unsupported("xz"),
        [b'P', b'K', 3, 4, ..] => unsupported("zip"),
        _ => Ok((Box::new(whole), false)),
    }
}

/// Reads until `length` bytes are there, the input ends, or, if `line`, a line that is not blank has ended.
fn read_up_to(input: &mut Inflated, length: usize, line: bool) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if line && bytes[..filled].trim_ascii_start().contains(&b'\n') {
            break;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads past `length` bytes; false if the input is shorter.
fn skip(input: &mut Inflated, mut length: u64, tail: &mut Tail) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    while length > 0 {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        match input.read(&mut buffer[..wanted]) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                tail.push(&buffer[..read]);
                length -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A source's name made of a file's: `/var/log/auth.log.1.gz` is `auth.log.1`.
pub fn source_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let fits = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let mut name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).take(58).collect();
    if name.is_empty() || name.starts_with("sceau.") {
        name.insert_str(0, "file-");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for (head, kind) in [
            ("{\"a\":1}\n{\"b\":2}\n", Kind::Ndjson),
            ("\n  {\"a\":1}\nbroken\n", Kind::Ndjson),
            ("\u{feff}{\"a\":1}\n", Kind::Ndjson),
            ("{\"a\":1}", Kind::Ndjson),
            ("{not json}\n", Kind::Text),
            ("{\n  \"a\": 1\n}\n", Kind::Json),
            ("[{\"a\":1}]", Kind::Json),
            ("[\n  {\"a\":1}\n]", Kind::Json),
            ("[]", Kind::Json),
            ("[Sun Dec 04 04:47:44 2005] [notice] ok\n", Kind::Text),
            ("Nov 22 08:00:00 h sshd[1]: x\n", Kind::Text),
            ("", Kind::Text),
        ] {
            assert_eq!(Kind::of(head.as_bytes(), true), kind, "{head}");
        }
        assert_eq!(Kind::of(b"{\"a\":\"long", false), Kind::Ndjson);
    }

    #[test]
    fn names_of_sources() {
        for (path, name) in [
            ("/var/log/auth.log.1.gz", "auth.log.1"),
            ("Access Log.ZST", "access-log"),
            ("sceau.log", "file-sceau.log"),
            ("é", "-"),
            ("/", "file-"),
        ] {
            assert_eq!(source_name(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn places_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
        let mut packed = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
        packed.extend(zstd::stream::encode_all(&b"another frame\n"[..], 1).unwrap());
        for (name, bytes) in [("plain", text.clone().into_bytes()), ("packed.zst", packed)] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let source = Source::new(&path, File::open(&path).unwrap()).unwrap();
            let mut events = source.read_from(0, Some(&Tail::default().hash()), Shape::Lines).unwrap().unwrap();
            for _ in 0..1_500 {
                events.next(true).unwrap();
            }
            let (offset, tail) = (events.offset(), events.tail());
            let mut events = source.read_from(offset, Some(&tail), Shape::Lines).unwrap().unwrap();
            events.next(true).unwrap();
            assert_eq!(events.event(), b"line 1500");
            assert!(source.read_from(offset + 1, Some(&tail), Shape::Lines).unwrap().is_none());
            assert!(source.read_from(1 << 20, None, Shape::Lines).unwrap().is_none());
            assert_eq!(source.ids("a")[0].len(), 32);
            assert_ne!(source.ids("a"), source.ids("b"));
        }
    }

    #[test]
    fn a_first_line_without_an_end_is_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let ids = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Source::new(&path, File::open(&path).unwrap()).unwrap().ids("s")
        };
        let nameless = ids("on");
        assert_eq!(nameless.len(), 1);
        assert_eq!(ids("one"), nameless);
        let named = ids("one\n");
        assert_eq!((named.len(), &named[1..]), (2, &nameless[..]));
        assert_eq!(ids("one\ntwo"), named);
        assert_eq!(ids(&("x".repeat(FIRST) + "\n")), nameless);
        assert_eq!(ids(&("x".repeat(FIRST - 1) + "\n")).len(), 2);
    }
}
