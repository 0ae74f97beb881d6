//! Rows of a dataset by a condition, for leaves of plans: a session finds them, and sessions are made above.

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryPool;
use gstore_core::Cancel;
use gstore_store::{DatasetName, RowSet};

use super::error::SqlError;

/// Finds rows. It waits for them, so a thread that may wait calls it.
pub(crate) trait FindRows: Send + Sync {
    /// The live rows of a dataset for which a condition over its columns is true.
    fn find(&self, dataset: &DatasetName, condition: &str, work: &FindWork<'_>) -> Result<RowSet, SqlError>;
}

/// What finding rows may take.
pub(crate) struct FindWork<'a> {
    /// The memory of operators; that of the session without it.
    pub(crate) memory: Option<&'a Arc<dyn MemoryPool>>,
    pub(crate) threads: usize,
    pub(crate) cancel: &'a Cancel,
}

/// Who finds rows, in the configuration of a session.
pub(crate) struct RowFinder(pub(crate) Arc<dyn FindRows>);
