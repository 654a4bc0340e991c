//! Entries on their way from the log to the detector.

use std::sync::Arc;

use sceau_detect::{Detector, Finding};
use sceau_event::{Micros, Record};
use sceau_store::{Batch, RecordRows, StoreError};

use super::Follower;
use crate::{entries, error::ServerError};

/// Entries that are looked at before their findings are sealed.
const STEP: usize = 4_096;
/// Fewer are looked at where they are: handing them to another thread costs more.
const INLINE: usize = 256;

/// Entries with their records, from memory or from the store.
pub(super) enum Rows {
    Columns { batch: Arc<Batch>, offset: usize },
    Entries(Vec<Vec<u8>>),
}

impl Follower {
    /// The entries from `next` on, at most [`STEP`], and none beyond what is sealed if some of it is; and the first one's
    /// index.
    pub(super) async fn rows(&self, size: u64) -> Result<(u64, Rows), ServerError> {
        if let Some((first, batch)) = self.log.recent().holding(self.next)
            && self.next >= self.place.sealed
        {
            let offset = usize::try_from(self.next - first).unwrap_or(usize::MAX);
            return Ok((self.next, Rows::Columns { batch, offset }));
        }
        let end = if self.next < self.place.sealed { self.place.sealed.min(size) } else { size };
        let rows = entries::kept(&**self.log.reader().store(), self.next, end, STEP).await?;
        Ok((rows.first.0, Rows::Entries(rows.entries)))
    }

    /// Shows entries to the detector; gives the findings and how many entries they come from.
    pub(super) async fn look(&mut self, rows: Rows) -> Result<(Vec<Finding>, usize), ServerError> {
        let Some(mut detector) = self.detector.take() else {
            return Err(ServerError::Internal("the detector is elsewhere".to_owned()));
        };
        let (deriver, first) = (self.log.reader().deriver().clone(), self.next);
        let count = match &rows {
            Rows::Columns { batch, offset } => batch.len().saturating_sub(*offset).min(STEP),
            Rows::Entries(entries) => entries.len(),
        };
        let work = move || {
            let mut findings = Vec::new();
            let done = match rows {
                Rows::Columns { batch, offset } => columns(&mut detector, &batch, offset, first, &mut findings),
                Rows::Entries(entries) => {
                    let mut replay = deriver.replay();
                    entries.iter().zip(first..).try_for_each(|(entry, index)| {
                        let damaged =
                            |error: sceau_event::EntryError| StoreError::Entry { index, detail: error.to_string() };
                        detector.push(index, &replay.derive(entry).map_err(damaged)?, &mut findings);
                        Ok(())
                    })
                }
            };
            (detector, done.map(|()| findings))
        };
        let (detector, findings) = if count <= INLINE {
            work()
        } else {
            let worked = tokio::task::spawn_blocking(work).await;
            worked.map_err(|error| ServerError::Internal(format!("detection: {error}")))?
        };
        self.detector = Some(detector);
        Ok((findings?, count))
    }
}

fn columns(
    detector: &mut Detector,
    batch: &Batch,
    offset: usize,
    first: u64,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let rows = RecordRows::new(batch.records())?;
    let mut record = Record::new(Micros(0), "".into());
    for (row, index) in (offset..rows.len().min(offset.saturating_add(STEP))).zip(first..) {
        if rows.read(row, &mut record) {
            detector.push(index, &record, findings);
        }
    }
    Ok(())
}
