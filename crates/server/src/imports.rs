//! Positions of resumable imports: kept in the same commit as the entries that they are about, so that an import that
//! was interrupted goes on without losing or doubling a line.

use sceau_store::{Expect, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{error::ServerError, guard::StateChange};

/// The collection of the state that holds import positions.
pub const COLLECTION: &str = "imports";
/// The longest name of an import.
pub const MAX_ID: usize = 128;

/// How far an import has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportPosition {
    /// Bytes of the input that are dealt with.
    pub offset: u64,
    /// Lines of the input that are dealt with.
    pub lines: u64,
    /// What the importer wants to recognise the input by, in hexadecimal.
    pub tail: String,
}

/// One step of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportMove {
    /// The import's name, chosen by the importer.
    pub id: String,
    /// The offset that the import must be at.
    pub from: u64,
    /// Where it is after the step.
    pub to: ImportPosition,
}

impl ImportMove {
    /// Makes sure that the step can be stored.
    ///
    /// # Errors
    /// [`ServerError::Parameter`].
    pub fn check(&self) -> Result<(), ServerError> {
        check_id("import", &self.id)?;
        if self.to.offset < self.from {
            return Err(ServerError::parameter("import_to", "must not be less than import_from"));
        }
        let tail = &self.to.tail;
        if tail.len() > 256 || !tail.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ServerError::parameter("import_tail", "must be at most 256 hexadecimal digits"));
        }
        Ok(())
    }

    /// The write that stores the new position. The compare-and-set on the head makes it safe without one of its own.
    pub(crate) fn write(&self) -> StateChange {
        let to = &self.to;
        StateChange {
            collection: COLLECTION.to_owned(),
            key: self.id.clone(),
            value: Some(json!({"offset": to.offset, "lines": to.lines, "tail": to.tail})),
            expect: Expect::Any,
            expires: None,
        }
    }
}

/// An import's name: 1 to 128 printable ASCII characters without space, `/`, `?`, `#` and `%`, so that it fits into a
/// path.
pub(crate) fn check_id(parameter: &str, id: &str) -> Result<(), ServerError> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#%\\".contains(&byte);
    if (1..=MAX_ID).contains(&id.len()) && id.bytes().all(fits) {
        return Ok(());
    }
    Err(ServerError::parameter(parameter, "must be 1 to 128 visible ASCII characters other than / ? # % \\"))
}

/// Reads a stored position.
pub(crate) fn parse(value: serde_json::Value) -> Result<ImportPosition, ServerError> {
    serde_json::from_value(value)
        .map_err(|error| ServerError::Store(StoreError::Damaged(format!("an import position: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_steps_are_checked() {
        for (id, good) in [("a", true), ("file:3a", true), ("", false), ("a/b", false), ("é", false), ("a b", false)] {
            assert_eq!(check_id("import", id).is_ok(), good, "{id}");
        }
        let to = ImportPosition { offset: 5, lines: 1, tail: "00ff".into() };
        let step = ImportMove { id: "a".into(), from: 0, to };
        assert!(step.check().is_ok());
        assert!(ImportMove { from: 6, ..step.clone() }.check().is_err());
        let tail = ImportPosition { tail: "zz".into(), ..step.to.clone() };
        assert!(ImportMove { to: tail, ..step.clone() }.check().is_err());
        assert_eq!(parse(step.write().value.unwrap()).unwrap(), step.to);
    }
}
