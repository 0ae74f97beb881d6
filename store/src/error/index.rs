//! Errors of building and removing indexes.

use super::StorageError;
use gstore_core::Remedy;
use std::path::PathBuf;
use uuid::Uuid;

/// An index could not be built or removed. Whatever index was there before is there still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not the name of a kind.
    #[error("{0:?} is not a kind of index: use 1 to 32 of the characters a-z and 0-9")]
    Kind(String),
    /// A section that cannot be.
    #[error("section {name:?} of an index cannot be written: {why}")]
    Section { name: String, why: String },
    /// The header cannot be read back.
    #[error("the header of an index cannot be stored: {0}")]
    Header(String),
    /// The segment's file is not in the store.
    #[error(
        "segment {segment} is not in the store any more: it was collected or purged; open the feature again and build the indexes of its segments"
    )]
    Gone { segment: Uuid },
    /// Nothing can be written where the store is.
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
