//! Errors of building and removing indexes.

use super::StorageError;
use gstore_core::Remedy;
use std::path::PathBuf;
use uuid::Uuid;

/// An index could not be built or removed. Whatever index was there before is there still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    #[error("{0:?} is not a kind of index: use 1 to 32 of the characters a-z and 0-9")]
    Kind(String),
    #[error("section {name:?} of an index cannot be written: {why}")]
    Section { name: String, why: String },
    #[error("the header of an index cannot be stored: {0}")]
    Header(String),
    #[error(
        "segment {segment} is no longer in the store: it was collected or purged; open the feature again and build the indexes of its segments"
    )]
    Gone { segment: Uuid },
    #[error(
        "the store in {} cannot be written to, and an index is a file in it: {source}\n  \
         build it where the store can be written; or make a copy that can be, with {}, and build it there",
        store.display(), Remedy::Backup
    )]
    ReadOnly { store: PathBuf, source: StorageError },
    /// An earlier error left the file in an unknown state.
    #[error("an earlier write to {0} failed; the file was abandoned")]
    Poisoned(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}
