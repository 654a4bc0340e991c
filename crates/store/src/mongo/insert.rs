//! Commands that insert documents, written straight into the bytes that are sent: a commit's documents are then copied
//! only as few large pieces, not one by one for every layer of the driver.

use mongodb::bson::RawDocumentBuf;

use super::document::bytes::{Open, Writer};
use crate::error::StoreError;

/// A command is closed when it holds as many bytes. Larger ones save nothing, and what is sent no longer fits into the
/// processor's cache.
const COMMAND_BYTES: usize = 1 << 20;
/// What a command may hold besides: one more document.
const SPARE_BYTES: usize = 64 << 10;

/// The commands that put documents into one collection, while they are written.
#[derive(Debug)]
pub struct Inserts {
    collection: &'static str,
    done: Vec<Vec<u8>>,
    command: Option<Command>,
}

#[derive(Debug)]
struct Command {
    writer: Writer,
    body: Open,
    documents: Open,
    count: usize,
}

impl Command {
    fn begin(collection: &str) -> Self {
        let mut writer = Writer::with_capacity(COMMAND_BYTES + SPARE_BYTES);
        let body = writer.begin();
        writer.string("insert", collection);
        // Unordered, as nothing depends on the order within a transaction.
        writer.boolean("ordered", false);
        let documents = writer.array("documents");
        Self { writer, body, documents, count: 0 }
    }

    fn end(mut self) -> Vec<u8> {
        self.writer.end(self.documents);
        self.writer.end(self.body);
        self.writer.into_bytes()
    }
}

impl Inserts {
    /// Into this collection.
    pub fn new(collection: &'static str) -> Self {
        Self { collection, done: Vec::new(), command: None }
    }

    /// These documents.
    ///
    /// # Errors
    /// See [`Inserts::finish`].
    pub fn of(
        collection: &'static str,
        documents: impl IntoIterator<Item = RawDocumentBuf>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let mut inserts = Self::new(collection);
        for document in documents {
            let command = inserts.command();
            command.writer.raw_item(command.count, document.as_bytes());
            command.count += 1;
        }
        inserts.finish()
    }

    /// One more document, whose fields are written by `fields`.
    pub fn push(&mut self, fields: impl FnOnce(&mut Writer)) {
        let command = self.command();
        let document = command.writer.item(command.count);
        fields(&mut command.writer);
        command.writer.end(document);
        command.count += 1;
    }

    fn command(&mut self) -> &mut Command {
        let full = |command: &mut Command| command.writer.len() >= COMMAND_BYTES;
        self.done.extend(self.command.take_if(full).map(Command::end));
        self.command.get_or_insert_with(|| Command::begin(self.collection))
    }

    /// The commands; none if there were no documents.
    ///
    /// # Errors
    /// One would be no BSON, which the limits of entries exclude.
    pub fn finish(mut self) -> Result<Vec<RawDocumentBuf>, StoreError> {
        self.done.extend(self.command.map(Command::end));
        let command =
            |bytes| RawDocumentBuf::from_bytes(bytes).map_err(|error| StoreError::Internal(error.to_string()));
        self.done.into_iter().map(command).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mongodb::bson::{Document, rawdoc};

    use super::*;

    #[test]
    fn all_documents_are_in_order_in_commands_that_stay_small() {
        let text = "x".repeat(10_000);
        let commands =
            Inserts::of("tiles", (0..250_i64).map(|number| rawdoc! { "_id": number, "text": text.as_str() })).unwrap();
        assert_eq!(commands.len(), 3);
        let mut numbers = Vec::new();
        for command in &commands {
            assert!(command.as_bytes().len() < COMMAND_BYTES + SPARE_BYTES);
            let command = Document::try_from(command).unwrap();
            assert_eq!(command.get_str("insert").unwrap(), "tiles");
            assert!(!command.get_bool("ordered").unwrap());
            let documents = command.get_array("documents").unwrap();
            numbers.extend(documents.iter().map(|document| document.as_document().unwrap().get_i64("_id").unwrap()));
        }
        assert_eq!(numbers, (0..250).collect::<Vec<_>>());
    }

    #[test]
    fn no_document_is_no_command() {
        assert!(Inserts::of("tiles", []).unwrap().is_empty());
    }
}
