//! Batches of events, read on a thread of their own while the one before is on its way.

use std::{io, thread, time::Duration};

use bytes::Bytes;
use sceau_server::ImportPosition;
use tokio::sync::mpsc;

use super::{
    lines::{Events, Next},
    watch::Watch,
};

/// The most lines of a batch.
pub const MAX_LINES: u64 = 5_000;
/// A batch is full with so many bytes; one event more may be in it.
const MAX_BYTES: usize = 4 << 20;
/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Events to be sent in one request: lines, as the input has them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lines, each with its line feed.
    pub body: Bytes,
    /// The number of the body's first line in its input, from 1.
    pub first: u64,
    /// Lines that were read for it.
    pub lines: u64,
    /// Those of them that are not blank.
    pub filled: u64,
    /// Where the input was before.
    pub from: u64,
    /// Where it is after.
    pub to: ImportPosition,
}

impl Batch {
    /// A batch without events, to ask whether any would be taken.
    pub fn empty() -> Self {
        Self { body: Bytes::new(), first: 1, lines: 0, filled: 0, from: 0, to: ImportPosition::default() }
    }

    /// The text of a line by its number in the body, from 1.
    pub fn line(&self, number: u64) -> &[u8] {
        let at = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        self.body.split(|byte| *byte == b'\n').nth(at).unwrap_or_default()
    }
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The input is at its end.
    Complete,
    /// The same, but its last object is not finished yet, so it was held back.
    Unfinished,
    /// The file was rotated, or written anew while it was read.
    Replaced,
}

/// What the reading thread has to say.
#[derive(Debug)]
pub enum Piece {
    /// Events.
    Batch(Batch),
    /// It was the last.
    End(io::Result<End>),
}

/// An input being read.
pub struct Reading {
    /// The input.
    pub events: Events,
    /// Lines before the input's place.
    pub lines: u64,
    /// The most lines of a batch.
    pub max_lines: u64,
    /// Notices that the file was rotated.
    pub watch: Option<Watch>,
    /// Goes on at the end until that.
    pub follow: bool,
    /// Sends what there is rather than wait for a slow input.
    pub eager: bool,
}

/// The batch that is being filled.
struct Open {
    body: Vec<u8>,
    first: u64,
    filled: u64,
    from: u64,
    lines_before: u64,
}

impl Open {
    fn new(from: u64, lines: u64) -> Self {
        Self { body: Vec::new(), first: lines + 1, filled: 0, from, lines_before: lines }
    }
}

impl Reading {
    /// Reads on a thread of its own, until the receiver is dropped.
    pub fn start(self) -> io::Result<mpsc::Receiver<Piece>> {
        let (sender, receiver) = mpsc::channel(1);
        thread::Builder::new().name("import".into()).spawn(move || {
            let end = self.run(&sender);
            // Nobody listens any more: then nobody needs to know.
            let _ = sender.blocking_send(Piece::End(end));
        })?;
        Ok(receiver)
    }

    fn run(mut self, sender: &mpsc::Sender<Piece>) -> io::Result<End> {
        let mut open = Open::new(self.events.offset(), self.lines);
        let mut replaced = false;
        loop {
            let last = !self.follow || replaced;
            if self.events.next(last)? == Next::Event {
                self.add(&mut open);
                let idle = || sender.capacity() == sender.max_capacity();
                let waiting = self.eager && !self.events.buffered() && idle();
                if open.body.len() < MAX_BYTES && self.lines + 1 - open.first < self.max_lines && !waiting {
                    continue;
                }
            }
            if !self.send(&mut open, sender) || (last && self.events.at_end()) {
                let rewritten = self.watch.as_ref().is_some_and(Watch::rewritten);
                return Ok(match (replaced || rewritten, self.events.held_back()) {
                    (true, _) => End::Replaced,
                    (false, true) => End::Unfinished,
                    (false, false) => End::Complete,
                });
            }
            if let Some(watch) = self.watch.as_ref().filter(|_| self.follow && !replaced && self.events.at_end()) {
                // What was written before the rename is still there to be read.
                replaced = watch.replaced();
                if !replaced {
                    thread::sleep(POLL);
                }
            }
        }
    }

    fn add(&mut self, open: &mut Open) {
        let event = self.events.event();
        let event = if self.lines == 0 { event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event) } else { event };
        let blank = event.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        open.filled += u64::from(!blank);
        open.body.extend_from_slice(event);
        open.body.push(b'\n');
        self.lines += 1;
    }

    /// Sends the open batch; false if nobody wants it any more.
    fn send(&self, open: &mut Open, sender: &mpsc::Sender<Piece>) -> bool {
        if open.filled == 0 {
            // The server has nothing to say about blank lines, so the next batch moves the position past them.
            open.body.clear();
            open.first = self.lines + 1;
            return !sender.is_closed();
        }
        let next = Open::new(self.events.offset(), self.lines);
        let open = std::mem::replace(open, next);
        let to = ImportPosition { offset: self.events.offset(), lines: self.lines, tail: self.events.tail() };
        let batch = Batch {
            body: open.body.into(),
            first: open.first,
            lines: self.lines - open.lines_before,
            filled: open.filled,
            from: open.from,
            to,
        };
        sender.blocking_send(Piece::Batch(batch)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::import::lines::{Shape, Tail};

    fn batches(text: &str, max_lines: u64) -> Vec<Batch> {
        let input = Box::new(Cursor::new(text.to_owned()));
        let events = Events::new(input, Shape::Lines, 0, Tail::default());
        let mut pieces =
            Reading { events, lines: 0, max_lines, watch: None, follow: false, eager: false }.start().unwrap();
        let mut found = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::Batch(batch) => found.push(batch),
                Piece::End(end) => assert_eq!(end.unwrap(), End::Complete),
            }
        }
        found
    }

    #[test]
    fn batches_are_a_chain() {
        let text = "\u{feff}one\n\n\n\n\ntwo\n \t\nthree\nlast";
        for max_lines in 1..10 {
            let found = batches(text, max_lines);
            let mut at = 0;
            let mut seen = Vec::new();
            for batch in &found {
                assert_eq!(batch.from, at);
                at = batch.to.offset;
                for (number, line) in (1..).zip(batch.body.split(|byte| *byte == b'\n')) {
                    assert_eq!(batch.line(number), line);
                    if !line.trim_ascii().is_empty() {
                        seen.push((batch.first + number - 1, String::from_utf8(line.to_vec()).unwrap()));
                    }
                }
            }
            let expected = [(1, "one"), (6, "two"), (8, "three"), (9, "last")].map(|(n, text)| (n, text.to_owned()));
            assert_eq!(seen, expected, "{max_lines}");
            assert_eq!(at, text.len() as u64);
            assert_eq!(found.iter().map(|batch| batch.lines).sum::<u64>(), 9);
            assert_eq!(found.iter().map(|batch| batch.filled).sum::<u64>(), 4);
        }
        assert!(batches("\n \n", 5).is_empty());
    }
}
