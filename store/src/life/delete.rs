//! Deleting rows: a bitmap of a dataset, in one commit.

use super::deletion::{DeleteOptions, DeleteReport};
use super::purge::purge;
use super::stop_if;
use crate::error::ChangeError;
use crate::manifest::DatasetPart;
use crate::store::{Store, WriterLock, change_of, publish};
use crate::tombstones::{bury, new_files};
use gstore_core::{RowSet, many};

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
        let published = publish(self, &lock, &base, change).inspect_err(|e| {
            if !e.is_unclear() {
                self.env().remove_unreferenced(files);
            }
        })?;
        report.snapshot = Some(published.number());
        Ok(report)
    }
}
