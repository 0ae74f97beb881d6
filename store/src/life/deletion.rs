//! Options and outcome of a deletion of rows.

use crate::error::ConcurrentChange;
use crate::manifest::DatasetPart;
use crate::store::Snapshot;
use gstore_core::Cancel;
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
    /// Set to true from outside, it ends the call with [`Stopped`](crate::ChangeError::Stopped) and nothing
    /// deleted, up to the commit point. From there on it has no effect.
    pub cancel: Option<Arc<Cancel>>,
}

impl DeleteOptions {
    /// The dataset in which rows were found, if the same rows would be found in `now`.
    pub(super) fn check<'a>(
        &self,
        now: &'a Snapshot,
        seen: &DatasetPart,
    ) -> Result<&'a Arc<DatasetPart>, ConcurrentChange> {
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
    /// Interrupted jobs that a purge removed: those of the dataset, and others with rows that were purged
    /// earlier. The commands that started them compute what is missing again.
    pub jobs_removed: Vec<String>,
    /// Files that a purge removed.
    pub files_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
}
