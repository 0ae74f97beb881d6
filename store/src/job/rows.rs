//! Rows of a snapshot, as jobs see them.

use crate::error::{ReadError, StorageError};
use crate::manifest::DatasetPart;
use crate::store::Snapshot;
use gstore_core::RowSet;

/// The rows that a feature has in files of a snapshot, deleted ones among them; none if it is not there.
pub(crate) fn published_rows(snapshot: &Snapshot, key: &str) -> Result<RowSet, ReadError> {
    match snapshot.feature_by_key(key) {
        None => Ok(RowSet::new()),
        Some(part) if !part.has_gaps() => Ok(part.row_ranges()),
        Some(part) => snapshot.open_feature(part)?.stored_rows(),
    }
}

/// Rows of a dataset of which nothing may come back: their samples were taken out of the files.
pub(crate) fn purged_rows(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<RowSet, StorageError> {
    let known = snapshot.rows_of(dataset)?;
    let in_files = known.live.union(&known.deleted);
    Ok(RowSet::from_range(0..dataset.next_row).difference(&in_files))
}
