//! Errors of storing vectors from elsewhere.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_store::{
    CommitError, JobError, KeyError, LookupError, OpenError, ReadError, StorageError, StoreError, WriteError,
};

/// Why vectors from elsewhere cannot be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// What is said of the vectors cannot be, or contradicts what the store knows.
    #[error("{0}")]
    Spec(String),
    #[error(
        "runs and checkpoints belong to the whole store, so only a token for all of it may add one, or its step and weight; name an existing one, or none"
    )]
    Run,
    #[error("the upload has no vectors")]
    Empty,
    #[error("the rows come in too many runs; send them in ascending order, or in larger batches")]
    Order,
    #[error("dataset {dataset:?} has no live row {row}")]
    NoRow { dataset: String, row: u64 },
    #[error("dataset {dataset:?} has no live sample with the id {id:?}")]
    NoId { dataset: String, id: String },
    /// An id that stands twice in a batch.
    #[error("the id {0:?} was sent twice")]
    IdTwice(String),
    /// A row that was sent before.
    #[error("row {0} was sent twice")]
    Twice(u64),
    #[error("feature {feature} has a vector of row {row} already; vectors are not replaced")]
    There { feature: String, row: u64 },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(StoreError),
}

macro_rules! through_store {
    ($($cause:ident),*) => {$(
        impl From<$cause> for PutError {
            fn from(cause: $cause) -> Self {
                Self::Store(cause.into())
            }
        }
    )*};
}

through_store!(LookupError, OpenError, ReadError, WriteError, StorageError);
