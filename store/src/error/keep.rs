//! Errors of keeping and collecting: artifacts, `gc`, backups.

use super::{CommitError, ConcurrentChange, ReadError, StorageError, StoreError};
use gstore_core::{Cancelled, Remedy};
use uuid::Uuid;

/// A snapshot was collected while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "snapshot {snapshot} was collected by gc (or purged, or the store was restored) in the meantime; read the current one, and let a tag or a lease hold a snapshot that is needed for longer"
)]
#[non_exhaustive]
pub(crate) struct SnapshotCollected {
    /// Its number.
    pub snapshot: u64,
}

impl StorageError {
    /// Whether the cause is that the snapshot being read was collected. Nothing is damaged then.
    pub fn is_collected(&self) -> bool {
        let StorageError::Io { source, .. } = self else { return false };
        source.get_ref().is_some_and(|e| e.is::<SnapshotCollected>())
    }
}

/// An artifact could not be published or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    #[error(
        "{0:?} is not a name of an artifact: use 1 to 64 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, but not `.` or `..`"
    )]
    Name(String),
    #[error("the store has an artifact {0:?} already; {force} replaces it", force = Remedy::Option("force", ""))]
    Exists(String),
    #[error(
        "{0:?} is not a name of a file of an artifact: use 1 to 64 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, but not `.` or `..`"
    )]
    FileName(String),
    /// Two files with one name.
    #[error("the artifact has a file {0:?} already")]
    FileExists(String),
    #[error("artifact `{name}` is of the kind {found}, not {expected}")]
    Kind { name: String, found: String, expected: &'static str },
    /// Numbers have run out.
    #[error("the store has too many snapshots for another artifact")]
    TooMany,
    #[error(transparent)]
    Changed(#[from] ConcurrentChange),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(StoreError),
}

/// Files could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    #[error(
        "what snapshot {snapshot} needs cannot be read, so nothing was removed: {source}\n  run {} first, or keep fewer snapshots",
        Remedy::Repair
    )]
    Unknown { snapshot: u64, source: StorageError },
    /// There is no room for the shorter history, which has to be there before a file may go.
    #[error(
        "nothing was removed, because gc first writes the shorter history (some kilobytes): {0}\n  or, if failed or killed commands left files behind: {collect} writes nothing and removes these",
        collect = Remedy::RemoveLeftovers
    )]
    Full(CommitError),
    /// The shorter history could not be published; nothing was removed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(StoreError),
}

impl ReadError {
    /// Whether the cause is that the snapshot being read was collected. Nothing is damaged then.
    pub fn is_collected(&self) -> bool {
        matches!(self, ReadError::Storage(e) if e.is_collected())
    }
}

/// A snapshot could not be copied. Whatever backup was in the folder before is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    #[error(
        "{path} is not empty (it holds {found:?}) and is not a backup of this store; give a missing or empty folder"
    )]
    NotEmpty { path: String, found: String },
    #[error("{0} is a store already; give a missing or empty folder")]
    Exists(String),
    #[error("{path} holds a backup of store {theirs}, but this is store {ours}; give another folder")]
    OtherStore { path: String, theirs: Uuid, ours: Uuid },
    #[error(
        "the backup in {path} was changed after it was made: it has a snapshot {snapshot} of its own\n  a new backup would remove that one; give another folder"
    )]
    Changed { path: String, snapshot: u64 },
    #[error("another process is writing to {0}; wait for it")]
    Busy(String),
    #[error("{0} contains the store or is inside it; give a folder elsewhere")]
    Inside(String),
    /// It was told to stop. What was copied stays, and the same command goes on from there.
    #[error("stopped: run the same command again to continue")]
    Cancelled(#[from] Cancelled),
    /// The copy is complete, but what it does not need is still there.
    #[error("snapshot {snapshot} is copied, but files of the copy before could not be removed: {source}")]
    Untidy { snapshot: u64, source: StorageError },
    #[error(transparent)]
    Store(StoreError),
}
