//! What an entry seals besides its event.

use crate::error::MetaError;
use crate::json::write_string;
use crate::zone::Zone;

/// What a record depends on besides the event, so that it is sealed with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The parser to use (see [`crate::Deriver::parser_names`]); otherwise it is found out.
    pub parser: Option<String>,
    /// The zone of times that don't tell theirs: an IANA name or an offset. UTC if absent.
    pub zone: Option<String>,
    /// The address that the event came from, or the name that its certificate proved.
    pub peer: Option<String>,
    /// Bytes that the event had before it was cut to fit into an entry.
    pub cut: Option<u64>,
}

impl Meta {
    const MAX_TEXT: usize = 255;

    /// Checks what came from a client or a setting; do this once, before [`crate::Framer::new`].
    ///
    /// # Errors
    /// The zone is unknown, or a text is longer than 255 bytes.
    pub fn check(&self) -> Result<(), MetaError> {
        for (key, text) in [("parser", &self.parser), ("zone", &self.zone), ("peer", &self.peer)] {
            if let Some(size) = text.as_ref().map(String::len).filter(|n| *n > Self::MAX_TEXT) {
                return Err(MetaError::TooLong { key, size });
            }
        }
        self.zone.as_deref().map_or(Ok(()), |zone| Zone::parse(zone).map(|_| ()))
    }

    /// As the JSON object in the envelope: absent members left out, always in the same order.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        let texts = [("parser", &self.parser), ("zone", &self.zone), ("peer", &self.peer)];
        for (key, text) in texts {
            if let Some(text) = text {
                Self::write_key(out, start, key);
                write_string(text, out);
            }
        }
        if let Some(cut) = self.cut {
            Self::write_key(out, start, "cut");
            out.extend_from_slice(cut.to_string().as_bytes());
        }
        out.push(b'}');
    }

    fn write_key(out: &mut Vec<u8>, start: usize, key: &str) {
        if out.len() > start {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
    }
}
