//! Options of a session: threads, memory, disk, and files that it reads.

use std::path::PathBuf;
use std::sync::Arc;

use gstore_query::influence::Encoder;

use super::own::OwnTable;

/// What a session may use.
#[derive(Debug, Clone)]
pub struct SqlOptions {
    /// Threads that one query may use for scoring and for operators.
    pub threads: usize,
    /// Bytes that sorts, joins and groupings may hold in memory: of one session, or of all that share their
    /// [`SqlResources`](crate::SqlResources).
    pub memory_limit: usize,
    /// Bytes of them that one client may hold, of several that share [`SqlResources`](crate::SqlResources);
    /// all without it.
    pub memory_each: Option<usize>,
    /// Where operators may put what does not fit; without it, such a query fails.
    pub spill: Option<PathBuf>,
    /// Who computes the vectors of samples that a question gives as text; without it, such
    /// a question is refused.
    pub encoder: Option<Arc<dyn Encoder>>,
    /// Files that statements may read as tables. A program that answers others has none.
    pub own: Vec<OwnTable>,
}

/// Memory that a stream of an operator needs to go on from disk.
const PARTITION_BYTES: usize = 64 << 20;

impl SqlOptions {
    /// Streams that operators work on at once.
    pub(super) fn partitions(&self) -> usize {
        let memory = self.memory_each.map_or(self.memory_limit, |each| each.min(self.memory_limit));
        let most = if self.spill.is_some() { memory / PARTITION_BYTES } else { usize::MAX };
        self.threads.min(most).max(1)
    }
}

impl Default for SqlOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            threads,
            memory_limit: 2 << 30,
            memory_each: None,
            spill: None,
            encoder: None,
            own: Vec::new(),
        }
    }
}
