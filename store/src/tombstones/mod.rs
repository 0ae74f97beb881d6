//! Tombstones: the deleted rows of a dataset, as immutable bitmaps.
//!
//! Invariants
//! - the bitmaps of a dataset are disjoint, and every row in one is a row of a sample file; so live = stored - deleted, also in numbers
//! - a row that was deleted never comes back, and its number is never given out again
//! - of a purged row nothing is left but its number

mod change;
mod file;

pub(crate) use change::{bury, new_files, set_dead};
pub(crate) use file::{parse as parse_bitmap, read as read_bitmap};

use crate::error::StorageError;
use crate::ident::RowSet;
use crate::manifest::DatasetPart;
use crate::store::Env;
use std::sync::Arc;

/// Which rows of a dataset are there, and which no longer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveRows {
    /// Stored and not deleted.
    pub live: Arc<RowSet>,
    /// Deleted; their samples are still in the files.
    pub deleted: RowSet,
    /// Deleted, and gone from the files.
    pub purged: RowSet,
}

impl LiveRows {
    /// Reads the bitmaps of a dataset.
    pub(crate) fn read(env: &Env, part: &DatasetPart) -> Result<LiveRows, StorageError> {
        let (mut deleted, mut purged) = (RowSet::new(), RowSet::new());
        for entry in &part.tombstones {
            let rows = file::read(env, part, entry)?;
            let set = if entry.purged { &mut purged } else { &mut deleted };
            *set = set.union(&rows);
        }
        let live = part.stored_rows().difference(&deleted).difference(&purged);
        Ok(LiveRows { live: Arc::new(live), deleted, purged })
    }
}

#[cfg(test)]
mod tests;
