//! Errors of keeping and collecting: tags, `gc`, backups.

use super::{CommitError, LookupError, OpenError, StorageError};

/// A snapshot was collected while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "snapshot {snapshot} was collected by gc (or purged) meanwhile; read the current one, and let a tag or a lease hold a snapshot that is needed for longer"
)]
#[non_exhaustive]
pub struct Collected {
    /// Its number.
    pub snapshot: u64,
}

impl StorageError {
    /// Whether the cause is that the snapshot being read was collected. Nothing is damaged then.
    pub fn is_collected(&self) -> bool {
        let StorageError::Io { source, .. } = self else { return false };
        source.get_ref().is_some_and(|e| e.is::<Collected>())
    }
}

/// A tag could not be set or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// Another snapshot has it.
    #[error("tag {name:?} is on snapshot {snapshot} already\n  to put it on snapshot {wanted}: --move")]
    Exists {
        /// The tag.
        name: String,
        /// The snapshot that has it.
        snapshot: u64,
        /// The snapshot that was to get it.
        wanted: u64,
    },
    /// No such tag.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The snapshot could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The change could not be published.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Files could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// A manifest of a snapshot that stays cannot be read.
    #[error(
        "what snapshot {snapshot} needs cannot be read, so nothing was removed: {source}\n  repair the store first (`gstore verify --repair`), or keep fewer snapshots"
    )]
    Unknown {
        /// The snapshot.
        snapshot: u64,
        /// What is wrong with it.
        source: StorageError,
    },
    /// The history could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The shorter history could not be published; nothing was removed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A file could not be removed. The others are there still, or gone as they should be; the next `gc` goes on.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
