//! Floods of the largest messages: every one is held several times over on its way, so memory is what they cost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use common::{Place, http::Client};

/// The most memory that the server may ever have had, in KiB.
const MEMORY: u64 = 500 << 10;
/// Bytes of a message: with its envelope just below the most that an entry may have.
const MESSAGE: usize = 65_000;
/// Bytes of messages in all.
const FLOOD: usize = 256 << 20;
const CONNECTIONS: usize = 5;

/// A message that is like no other: its number, then text that packs about as badly as that of real logs.
fn message(number: usize) -> String {
    let mut text = format!("{number:08} ");
    let mut state = number as u64 + 1;
    while text.len() < MESSAGE {
        // A xorshift generator: the same numbers on every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:x} and ");
    }
    text.truncate(MESSAGE);
    text
}

/// Sends requests of `count` messages until the flood is over; where each of them was kept, and how often it was refused.
fn flood(url: &str, count: usize, next: &AtomicUsize) -> (Vec<(usize, u64)>, usize) {
    let (mut kept, mut refused) = (Vec::new(), 0);
    let mut client = Client::connect(url).unwrap();
    loop {
        let first = next.fetch_add(count, Ordering::Relaxed);
        if first * MESSAGE >= FLOOD {
            return (kept, refused);
        }
        let events = (first..first + count).map(|number| format!("{{\"message\":\"{}\"}}\n", message(number)));
        let body = events.collect::<String>().into_bytes();
        loop {
            let headers = [("Content-Type", "application/x-ndjson")];
            let Ok(answer) = client.send("POST", "/api/v1/events", &headers, &body) else {
                client = Client::connect(url).unwrap();
                continue;
            };
            let close = answer.header("connection") == Some("close");
            if close {
                client = Client::connect(url).unwrap();
            }
            match answer.status {
                200 => {
                    let said = answer.json();
                    assert_eq!(said["accepted"], count, "{said}");
                    let index = said["first_index"].as_u64().unwrap();
                    kept.extend((first..).zip(index..).take(count));
                    break;
                }
                503 => refused += 1,
                other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
            }
            // As senders do, though sooner than they are told to.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Floods a server with requests of so many messages; every one that it acknowledged must be there, unchanged.
fn survives(count: usize) {
    let place = Place::new();
    place.init();
    let server = place.serve();
    let next = AtomicUsize::new(0);
    let done: Vec<_> = thread::scope(|scope| {
        let floods: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| flood(&server.url, count, &next))).collect();
        floods.into_iter().map(|flood| flood.join().unwrap()).collect()
    });
    let refused: usize = done.iter().map(|(_, refused)| refused).sum();
    let mut kept: Vec<_> = done.into_iter().flat_map(|(kept, _)| kept).collect();
    kept.sort_by_key(|&(_, index)| index);
    assert!(kept.is_sorted_by(|(_, a), (_, b)| a < b), "two messages were acknowledged at one index");
    let peak = server.peak_memory();
    eprintln!("{} messages kept, {refused} requests refused; peak {} MiB", kept.len(), peak >> 10);
    assert!(peak < MEMORY, "{} MiB", peak >> 10);

    let mut client = Client::connect(&server.url).unwrap();
    let mut place_of = kept.iter().peekable();
    while let Some(&&(_, mut next)) = place_of.peek() {
        let page = client.get(&format!("/api/v1/entries?from={next}&limit=1000")).unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        let page = String::from_utf8(page.body).unwrap();
        assert!(!page.is_empty(), "entry {next} was acknowledged and is not there");
        for entry in page.lines() {
            if let Some((number, _)) = place_of.next_if(|&&(_, index)| index == next) {
                let data = format!("\"data\":{{\"message\":\"{}\"}}}}", message(*number));
                assert!(entry.ends_with(&data), "entry {next} is not message {number}");
            }
            next += 1;
        }
    }
    assert_eq!(kept.len(), FLOOD.div_ceil(MESSAGE).next_multiple_of(count));
    let peak = server.peak_memory();
    assert!(peak < MEMORY, "{} MiB after reading everything", peak >> 10);
    server.stop();
}

#[test]
fn messages_one_by_one() {
    survives(1);
}

#[test]
fn messages_by_the_dozen() {
    survives(64);
}
