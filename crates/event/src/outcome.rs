//! Words for success and failure.

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";

/// The ECS outcome that a word stands for, in any case, or none if it is no such word.
///
/// ```
/// assert_eq!(sceau_event::outcome("FAILED"), Some("failure"));
/// assert_eq!(sceau_event::outcome("ok"), Some("success"));
/// assert_eq!(sceau_event::outcome("pending"), None);
/// ```
#[must_use]
pub fn outcome(value: &str) -> Option<&'static str> {
    let mut lower = [0_u8; 16];
    let lower = lower.get_mut(..value.len())?;
    lower.copy_from_slice(value.as_bytes());
    lower.make_ascii_lowercase();
    match &*lower {
        b"failed" | b"failure" | b"fail" | b"fails" | b"error" | b"err" | b"denied" | b"deny" | b"rejected"
        | b"reject" | b"refused" | b"refuse" | b"ko" | b"nok" | b"unauthorized" | b"unauthorised" | b"forbidden"
        | b"false" | b"invalid" | b"blocked" | b"block" | b"unsuccessful" | b"disallowed" => Some(FAILURE),
        b"success" | b"successful" | b"succeeded" | b"succeed" | b"successfully" | b"ok" | b"okay" | b"accepted"
        | b"accept" | b"allowed" | b"allow" | b"granted" | b"grant" | b"permitted" | b"permit" | b"authorized"
        | b"authorised" | b"true" | b"passed" | b"pass" => Some(SUCCESS),
        _ => None,
    }
}

/// The outcome that an HTTP status code (RFC 9110, section 15) stands for.
pub(crate) fn of_status(code: i64) -> Option<&'static str> {
    match code {
        100..400 => Some(SUCCESS),
        400..600 => Some(FAILURE),
        _ => None,
    }
}
