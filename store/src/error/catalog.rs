//! Errors of opening stores and finding things in them.

use super::{StorageError, StoreError};
use gstore_core::{Cancelled, Remedy};

/// A store could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    #[error("{0} is a store already")]
    Exists(String),
    #[error("{path} is not empty (it holds {found:?}); a new store needs an empty or missing folder")]
    NotEmpty { path: String, found: String },
    #[error(transparent)]
    Store(StoreError),
}

/// A store or one of its snapshots could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("there is no store at {0}\n  {ingest} and {add} make one", ingest = Remedy::Ingest, add = Remedy::Add)]
    NotFound(String),
    #[error("{0} is not a gstore store: it has no CURRENT file")]
    NotAStore(String),
    #[error("{0} is a file; a store is a folder")]
    NotAFolder(String),
    /// A copy that was cut short.
    #[error(
        "{0} holds a backup or restore that was not finished; run {backup} or {restore} again",
        backup = Remedy::Backup,
        restore = Remedy::Restore
    )]
    Incomplete(String),
    #[error("there is no snapshot {wanted}; the history goes from {oldest} to {newest}{}", list_tags(.tagged))]
    NoSnapshot { wanted: u64, oldest: u64, newest: u64, tagged: Vec<String> },
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A name that could not be resolved in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no such thing.
    #[error("there is no {what} {name:?}{}", did_you_mean(.nearest, .known))]
    Unknown {
        /// `dataset`, `run`, `feature`, ...
        what: &'static str,
        name: String,
        nearest: Option<String>,
        /// Those there are; of many the first, and how many more.
        known: Vec<String>,
    },
    /// A dataset has no such feature.
    #[error("dataset {dataset:?} has no feature {name:?}{}", did_you_mean(.nearest, .known))]
    UnknownOfDataset {
        dataset: String,
        name: String,
        nearest: Option<String>,
        /// As above.
        known: Vec<String>,
    },
    /// There are several.
    #[error("{what} {name:?} is ambiguous; give the number of one of these:\n  {}", .candidates.join("\n  "))]
    Ambiguous {
        /// `feature`, ...
        what: &'static str,
        name: String,
        candidates: Vec<String>,
    },
}

fn list_tags(tags: &[String]) -> String {
    if tags.is_empty() { String::new() } else { format!("; tags are {}", tags.join(", ")) }
}

pub(super) fn did_you_mean(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(n) => format!("; did you mean {n:?}?"),
        None if known.is_empty() => "; there are none yet".to_owned(),
        None => format!("; available: {}", known.join(", ")),
    }
}

/// A store could not be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It was asked to end.
    #[error("cancelled; nothing was changed")]
    Cancelled(#[from] Cancelled),
    /// Somebody is at work, and a repair needs the store for itself.
    #[error("the store cannot be repaired now: {0}; wait for it or stop it, then run the command again")]
    Busy(String),
    /// The system refused a read for a reason that is not the medium's.
    #[error(
        "the store cannot be judged, because a file that may be sound could not be read: {0}\n  nothing was changed"
    )]
    Refused(String),
    /// The medium reported an error when the repaired snapshot was published, and whether it
    /// counts is not known.
    #[error(transparent)]
    Commit(Box<super::CommitError>),
    #[error(transparent)]
    Store(StoreError),
}
