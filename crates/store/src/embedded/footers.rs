//! The parsed footers of the segments that were read last.
//!
//! A footer describes every page of every column: some hundred KB of a segment. Kept for all segments they would grow with
//! the log; what a query must know of those that it passes over is in [`super::segment::Segment::groups`].

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::error::StoreError;

/// How many are kept.
const KEPT: usize = 32;

/// Footers by the names of their files, which are never used twice; the one that was used last comes last.
#[derive(Debug, Default)]
pub struct Footers {
    kept: Mutex<VecDeque<(String, ArrowReaderMetadata)>>,
}

impl Footers {
    /// The footer of a file, which is parsed if it is not at hand.
    pub fn get(
        &self,
        file: &str,
        parse: impl FnOnce() -> Result<ArrowReaderMetadata, StoreError>,
    ) -> Result<ArrowReaderMetadata, StoreError> {
        if let Some(found) = self.take(file) {
            return Ok(self.put(file, found));
        }
        // Without the lock: readers of other files need not wait for this.
        Ok(self.put(file, parse()?))
    }

    fn take(&self, file: &str) -> Option<ArrowReaderMetadata> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(name, _)| name == file)?;
        kept.remove(place).map(|(_, footer)| footer)
    }

    fn put(&self, file: &str, footer: ArrowReaderMetadata) -> ArrowReaderMetadata {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(name, _)| name != file);
        while kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((file.to_owned(), footer.clone()));
        footer
    }
}
