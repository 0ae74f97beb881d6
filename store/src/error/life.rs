//! Errors of deleting, dropping, purging, tagging, saving views and compacting.

use super::{CommitError, ReadError, StorageError, StoreError, WriteError};
use gstore_core::{Cancelled, Remedy, RowSet, many};

/// What a change was decided on is not as it was: another process was faster. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConcurrentChange {
    #[error("{what} was dropped, replaced, collected or purged by another process in the meantime{}; nothing was changed", if *.replaced {", and its name belongs to another one now"} else {""})]
    Gone {
        /// `dataset pool`, `snapshot 7`, ...
        what: String,
        /// Whether something else has its name.
        replaced: bool,
    },
    #[error("{what} was made by another process in the meantime; nothing was changed")]
    Came {
        /// `artifact cheap`, where there was none.
        what: String,
    },
    /// Rows came or went, so that ids may belong to other rows.
    #[error(
        "rows of dataset {dataset} were added or deleted by another process in the meantime; nothing was changed"
    )]
    Rows { dataset: String },
    /// Another snapshot is current, so that a condition may hold for other rows.
    #[error("snapshot {now} replaced snapshot {seen} in the meantime; nothing was changed")]
    Store { seen: u64, now: u64 },
}

impl ConcurrentChange {
    /// Whether the same question to the current snapshot gives an answer that can be acted on. Not so if what
    /// was meant is gone, or has come.
    pub fn can_repeat(&self) -> bool {
        !matches!(self, ConcurrentChange::Gone { .. } | ConcurrentChange::Came { .. })
    }
}

/// What is in a store could not be changed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A live job writes what would go away.
    #[error(
        "{what} is being written by another process (job {job}, process {pid}); wait for it or stop it, then try again"
    )]
    Busy {
        what: String,
        job: String,
        /// Its process; 0 if that is not known.
        pid: u32,
    },
    /// Another process has the lock of what rewrites the store: a compactor, with copies of the rows in its
    /// folder, or one that purges, goes back to an older state, collects or repairs.
    #[error(
        "another process is compacting, purging, reverting, collecting or repairing this store (tmp/compact.lock is held); wait for it or stop it, then try again"
    )]
    Compacting,
    #[error(
        "an index of this store is being built ({}), of rows that a purge may take away; wait for it or stop it, then try again", .builds.join(", ")
    )]
    Indexing { builds: Vec<String> },
    #[error("a purge would take away snapshots that are being read; wait for these readers or stop them, then try again\n  {}", .readers.join("\n  "))]
    Leased { readers: Vec<String> },
    #[error(
        "nothing was purged: {of} cannot be rewritten without the rows\n  {source}\n  {} takes damaged files out; then purge again",
        Remedy::Repair
    )]
    Unreadable { of: String, source: StorageError },
    /// The rows are out of the current snapshot, but not yet out of the folder.
    #[error(
        "snapshot {snapshot} has no trace of the purged rows, but files of older snapshots could not be removed: {source}\n  run {} again (it needs no rows) to finish the removal",
        Remedy::Purge(dataset)
    )]
    Unfinished { dataset: String, snapshot: u64, source: StorageError },
    /// Readers began while the purge was at work. They keep the files of their snapshots.
    #[error("snapshot {snapshot} has no trace of the purged rows, but files of older snapshots are being read and stay; wait for these readers or stop them, then run {} again (it needs no rows) to finish the removal\n  {}", Remedy::Purge(dataset), .readers.join("\n  "))]
    Kept { dataset: String, snapshot: u64, readers: Vec<String> },
    #[error(
        "{feature} holds what losses of an ensemble are relative to, and without it they would mean nothing; drop the features of its members first, or the ensemble"
    )]
    Offset {
        /// The feature, as `dataset/label`.
        feature: String,
    },
    /// A snapshot that the store was to go back to is not whole.
    #[error(
        "snapshot {snapshot} lacks {} that it needs ({first}{}), so there is no way back to it; nothing was changed",
        many(*count as u64, "file"), if *count > 1 { ", ..." } else { "" }
    )]
    FilesGone { snapshot: u64, count: usize, first: String },
    #[error(
        "tag {name:?} is on snapshot {snapshot} already\n  {} moves it to snapshot {wanted}",
        Remedy::Option("force", "")
    )]
    TagExists { name: String, snapshot: u64, wanted: u64 },
    #[error("{name:?} cannot be a tag: it is a command about tags; give another name")]
    TagVerb { name: String },
    #[error(
        "there is a view {name:?} already, with another statement\n  {} replaces it",
        Remedy::Option("force", "")
    )]
    ViewExists { name: String },
    #[error("{name:?} is the name of a dataset; a view needs another one")]
    ViewDataset { name: String },
    /// It was asked to end.
    #[error("stopped; nothing was changed")]
    Stopped(#[from] Cancelled),
    #[error(transparent)]
    Changed(#[from] ConcurrentChange),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(StoreError),
}

/// Rows could not be copied to a new file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    /// A source cannot be read: its rows are lost, but nothing else is.
    #[error("{0}")]
    Source(StorageError),
    /// The new file cannot be written.
    #[error("{0}")]
    Target(#[from] WriteError),
    /// Somebody asked for it.
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

impl RewriteError {
    /// A source cannot be read.
    pub(crate) fn source(e: impl Into<ReadError>) -> Self {
        match e.into() {
            ReadError::Storage(e) => RewriteError::Source(e),
            other => RewriteError::Source(StorageError::io("read rows", std::io::Error::other(other))),
        }
    }

    /// The same error, naming the rows that it is about if it does not yet.
    pub(crate) fn affecting(self, rows: &RowSet, of: &str) -> Self {
        match self {
            RewriteError::Source(StorageError::Damaged(d)) if d.affected.is_none() => {
                RewriteError::Source((*d).affecting(format!("{rows} of {of} cannot be read")).into())
            }
            other => other,
        }
    }
}
