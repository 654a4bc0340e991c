//! What the log itself says of entries that retention deleted.

use serde::Deserialize;

#[derive(Deserialize)]
struct Envelope {
    data: Deletion,
}

#[derive(Deserialize)]
struct Deletion {
    action: String,
    first: u64,
    last: u64,
    tree_size: u64,
}

/// Entries below this were deleted as an entry of `sceau.audit` says, which was sealed before they went.
pub(super) fn deleted_before(index: u64, entry: &[u8]) -> Option<u64> {
    let Envelope { data } = serde_json::from_slice(entry).ok()?;
    let Deletion { action, first, last, tree_size } = data;
    // Only what a checkpoint covered may go, and only after the entry that says so.
    let sound = first <= last && last < tree_size && tree_size <= index;
    (action == "retention" && sound).then(|| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_sound_entry_explains() {
        let told = |index: u64, data: Value| deleted_before(index, json!({ "data": data }).to_string().as_bytes());
        let data = json!({"action": "retention", "first": 0, "last": 511, "tree_size": 700});
        assert_eq!(told(700, data.clone()), Some(512));
        assert_eq!(told(699, data.clone()), None);
        for (member, value) in [("action", json!("login")), ("first", json!(512)), ("last", json!(700))] {
            let mut data = data.clone();
            data[member] = value;
            assert_eq!(told(700, data), None, "{member}");
        }
        assert_eq!(deleted_before(700, b"no JSON"), None);
    }
}
