//! Deleting rows: a bitmap of a dataset, in one commit.

use super::purge::purge;
use super::stop_if;
use crate::error::{ChangeError, Changed, CommitError};
use crate::manifest::DatasetPart;
use crate::store::{Snapshot, Store, WriterLock, change_of, publish};
use crate::tombstones::{bury, new_files};
use gstore_core::{Cancel, RowSet, many};
use serde::Serialize;
use std::sync::Arc;

/// How rows are deleted.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The command, for the history. A purge does not record it: ids and predicates may be
    /// what must be forgotten.
    pub command: String,
    /// Takes the rows, and all rows of the dataset that were deleted before, out of every file
    /// and out of the history.
    pub purge: bool,
    /// The snapshot in which a condition was found to hold for the rows. They are deleted only if it is still
    /// current: unlike ids, a condition may depend on anything that the store has. `None` if the rows follow
    /// from the dataset alone.
    pub asked: Option<Arc<Snapshot>>,
    /// Set to true from outside, it ends the call with [`ChangeError::Stopped`] and nothing deleted, up to
    /// the commit point. From there on it has no effect.
    pub cancel: Option<Arc<Cancel>>,
}

impl DeleteOptions {
    /// The dataset in which rows were found, if the same rows would be found in `now`.
    pub(super) fn check<'a>(
        &self,
        now: &'a Snapshot,
        seen: &DatasetPart,
    ) -> Result<&'a Arc<DatasetPart>, Changed> {
        let dataset = now.same_rows(seen)?;
        if let Some(asked) = &self.asked {
            now.is_still(asked)?;
        }
        Ok(dataset)
    }
}

/// Outcome for the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeleteReport {
    /// The snapshot without the rows; `None` if nothing had to be published.
    pub snapshot: Option<u64>,
    /// Rows that were live and no longer are.
    pub deleted: u64,
    /// Rows that were not live: deleted before, or never there.
    pub ignored: u64,
    /// Rows of which nothing but the number is left since now; those deleted earlier among them.
    pub purged: u64,
    /// Purged rows whose ids are not remembered, because the file that had them is damaged: an append that
    /// brings these ids again adds them.
    pub unremembered: u64,
    /// Interrupted jobs that a purge removed: those of the dataset, and others with rows that were purged earlier. The commands
    /// that started them compute what is missing again.
    pub jobs_removed: Vec<String>,
    /// Files that a purge removed.
    pub files_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
}

impl Store {
    /// Deletes rows of a dataset: from the next snapshot on no query, export or scan shows them. Their ids
    /// are free for new rows. `dataset` is the part in which the caller found the rows. If the dataset was
    /// dropped since, or rows of it came or went, nothing is deleted and the error is
    /// [`ChangeError::Changed`]: find the rows again.
    ///
    /// Works while jobs run; what they compute for deleted rows is not shown. Rows that are not live are
    /// counted and otherwise ignored; if none is live, nothing is published. Waits for the writer lock. With
    /// [`DeleteOptions::purge`] nothing of the rows is left in the folder either.
    ///
    /// Time and memory grow with the bitmaps of the dataset: 16 bytes for each run of consecutive
    /// deleted rows; no data file is read. A purge reads and writes every file that has a deleted row,
    /// one block or batch at a time.
    pub fn delete(
        &self,
        dataset: &DatasetPart,
        rows: &RowSet,
        options: DeleteOptions,
    ) -> Result<DeleteReport, ChangeError> {
        if options.purge {
            return purge(self, dataset, rows, &options);
        }
        let lock = WriterLock::take(self)?;
        stop_if(options.cancel.as_deref())?;
        let base = self.snapshot()?;
        let old = options.check(&base, dataset)?;
        let mut part = DatasetPart::clone(old);
        let deleted = bury(self.env(), &mut part, rows)?.len();
        let mut report = DeleteReport { deleted, ignored: rows.len() - deleted, ..DeleteReport::default() };
        if deleted == 0 {
            return Ok(report);
        }
        let files = new_files(old, &part);
        let mut change = change_of(&base, &options.command);
        change.changes.push(format!("dataset {}: {} deleted", part.name, many(deleted, "row")));
        change.datasets.push(part);
        match publish(self, &lock, &base, change) {
            Ok(snapshot) => {
                report.snapshot = Some(snapshot.number());
                Ok(report)
            }
            Err(e) => {
                if !matches!(e, CommitError::Unclear { .. }) {
                    // CURRENT does not name the bitmap, so nothing can refer to it.
                    self.env().remove_unreferenced(files);
                }
                Err(e.into())
            }
        }
    }
}
