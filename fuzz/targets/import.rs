//! Files to be imported: every byte counts once, and an import that goes on from any event's end sees the same rest.
//!
//! The command line's own source is included here: a binary can't be used as a library.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{self, Cursor, Read};

#[path = "../../crates/cli/src/import/lines.rs"]
#[allow(dead_code)]
mod lines;

use lines::{Events, MAX_EVENT, Next, Shape, Tail};

/// Gives a few bytes at a time, as a pipe does.
struct Drops<R>(R, usize);

impl<R: Read> Read for Drops<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.len().min(self.1);
        self.0.read(&mut buffer[..end])
    }
}

fn read(data: &[u8], from: usize, tail: Tail, shape: Shape, step: usize) -> Vec<(Vec<u8>, u64, String)> {
    let input = Box::new(Drops(Cursor::new(data[from..].to_vec()), step));
    let mut events = Events::new(input, shape, from as u64, tail);
    let mut found = Vec::new();
    while events.next(true).expect("memory can be read") == Next::Event {
        assert!(events.event().len() <= MAX_EVENT);
        found.push((events.event().to_vec(), events.offset(), events.tail()));
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else { return };
    let shape = if first % 2 == 0 { Shape::Lines } else { Shape::Values };
    let whole = read(data, 0, Tail::default(), shape, usize::MAX);
    assert_eq!(whole, read(data, 0, Tail::default(), shape, usize::from(first / 2) + 1), "pieces change nothing");
    assert!(whole.is_sorted_by(|a, b| a.1 < b.1), "it moves on");
    if shape == Shape::Lines {
        let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        assert!(whole.iter().map(|(event, ..)| event.as_slice()).eq(lines));
    }
    let Some(at) = whole.len().checked_sub(1).map(|last| last * usize::from(first) / 255) else { return };
    let from = whole[at].1 as usize;
    let mut tail = Tail::default();
    tail.push(&data[from.saturating_sub(lines::TAIL)..from]);
    assert_eq!(tail.hash(), whole[at].2);
    assert_eq!(read(data, from, tail, shape, usize::MAX), whole[at + 1..], "going on gives the rest");
});
