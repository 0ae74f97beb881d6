//! Rows of a dataset by a condition, for leaves of plans: a session finds them, and sessions are made above.

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryPool;
use futures::future::BoxFuture;
use gstore_store::{DatasetName, RowSet};

use super::error::SqlError;

/// Finds rows, without a thread that waits for them. Dropping the future ends it.
pub(crate) trait FindRows: Send + Sync {
    /// The live rows of a dataset for which a condition over its columns is true.
    fn find(
        &self,
        dataset: DatasetName,
        condition: String,
        work: &FindWork,
    ) -> BoxFuture<'static, Result<RowSet, SqlError>>;
}

/// What finding rows may take.
#[derive(Clone)]
pub(crate) struct FindWork {
    /// The memory of operators.
    pub(crate) memory: Arc<dyn MemoryPool>,
    pub(crate) threads: usize,
}

/// Who finds rows, in the configuration of a session.
pub(crate) struct RowFinder(pub(crate) Arc<dyn FindRows>);
