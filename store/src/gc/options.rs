//! Options of a garbage collection.

use std::time::Duration;

/// What `gc` keeps.
#[derive(Debug, Clone, Default)]
pub struct GcOptions {
    /// The command, for the history.
    pub command: String,
    /// The newest states of the store; the current one is kept in any case. Snapshots that `gc` and
    /// tags made do not count.
    pub keep: u64,
    /// Snapshots younger than this stay as well, back to the first that is older.
    pub keep_within: Option<Duration>,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Interrupted jobs go as well. What they had computed has to be computed again.
    pub drop_jobs: bool,
}
