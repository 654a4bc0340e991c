//! Several equal messages that a syslog daemon has written as one.

use crate::MAX_COUNT;

/// `message repeated 5 times: [ … ]` as 5 and the message inside.
pub(super) fn strip(message: &str) -> Option<(i64, &str)> {
    let (count, inner) = message.strip_prefix("message repeated ")?.split_once(" times: [")?;
    let count: i64 = count.parse().ok().filter(|n| (1..=MAX_COUNT).contains(n))?;
    let inner = inner.trim_end().strip_suffix(']')?;
    Some((count, inner.strip_prefix(' ').unwrap_or(inner)))
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn forms() {
        assert_eq!(strip("message repeated 5 times: [ a [b] c]"), Some((5, "a [b] c")));
        assert_eq!(strip("message repeated 0 times: [ a]"), None);
        assert_eq!(strip("message repeated 99999999999999999999 times: [ a]"), None);
        assert_eq!(strip("message repeated 9223372036854775807 times: [ a]"), None);
        assert_eq!(strip("message repeated 5 times: [ a"), None);
        assert_eq!(strip("last message repeated 5 times"), None);
    }
}
