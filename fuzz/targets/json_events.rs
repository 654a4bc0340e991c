//! Bodies: inflating stays within its limit, and cutting gives each event once, in order, as it was sent.
//!
//! The server's own source is included here, since its crate brings DataFusion with it, which would take half an hour
//! to build for fuzzing. The shim below stands for the two names that it takes from there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

#[path = "../../crates/server/src/body.rs"]
#[allow(dead_code)]
mod body;

mod error {
    #[derive(Debug)]
    #[allow(dead_code)]
    pub enum ServerError {
        Body(String),
        BodyTooLarge { limit: usize, inflated: bool },
        Internal(String),
    }
}

use body::{Encoding, Format, Kind, inflate, split};

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd][usize::from(first % 3)];
    let format = [Format::Json, Format::Ndjson, Format::Text][usize::from(first / 3 % 3)];
    let Ok(body) = inflate(body, encoding, LIMIT) else { return };
    assert!(encoding == Encoding::Identity || body.len() <= LIMIT, "beyond the limit");
    let mut before = 0;
    let mut from = 0;
    let done = split(&body, format, |number, kind, event| {
        assert!(number > before, "numbers go up");
        before = number;
        assert_eq!(kind == Kind::Line, format == Format::Text);
        assert!(!event.is_empty());
        // Each event is a part of the body, behind the one before.
        let at = event.as_ptr() as usize - body.as_ptr() as usize;
        assert!(at >= from && at + event.len() <= body.len());
        from = at + event.len();
        Ok(())
    });
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let array = format == Format::Json && first == Some(&b'[');
    assert!(done.is_ok() || array, "only arrays can't be cut");
    if array {
        assert_eq!(done.is_ok(), serde_json::from_slice::<Vec<&RawValue>>(&body).is_ok());
    }
});
