#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn what_begins_so_lies_below_the_next_text() {
    for (prefix, end) in [
        ("sceau.", Some("sceau/")),
        ("a\u{7f}", Some("a\u{80}")),
        ("\u{d7ff}", Some("\u{e000}")),
        ("b\u{10ffff}\u{10ffff}", Some("c")),
        ("\u{10ffff}", None),
        ("", None),
    ] {
        assert_eq!(behind(prefix).as_deref(), end, "{prefix:?}");
    }
}
