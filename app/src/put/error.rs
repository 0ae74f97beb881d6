//! Errors of storing vectors from elsewhere.

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
    /// A run or checkpoint that the store lacks, from somebody who may not add one.
    #[error(
        "a run and a checkpoint are of the whole store, so only those who may write all of it add one; name one that is there, or none"
    )]
    Run,
    /// There are no vectors.
    #[error("there are no vectors in it")]
    Empty,
    /// The rows come in no order at all.
    #[error("the rows come in too many runs; send them in ascending order, or in larger batches")]
    Order,
    /// A row that is none.
    #[error("dataset {dataset:?} has no live row {row}")]
    NoRow {
        /// The dataset.
        dataset: String,
        /// The row.
        row: u64,
    },
    /// An id that no live row has.
    #[error("dataset {dataset:?} has no live sample with the id {id:?}")]
    NoId {
        /// The dataset.
        dataset: String,
        /// The id.
        id: String,
    },
    /// An id that stands twice in a batch.
    #[error("the id {0:?} stands there twice")]
    IdTwice(String),
    /// A row that was sent before.
    #[error("row {0} stands there twice")]
    Twice(u64),
    /// A row that the feature has.
    #[error("feature {feature} has a vector of row {row} already; vectors are not replaced")]
    There {
        /// The feature's label.
        feature: String,
        /// The row.
        row: u64,
    },
    /// The key of the write.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Starting the job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Publishing vectors.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The cause is what any operation can fail with.
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

impl PutError {
    /// Whether a damaged file of the store is behind it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Job(e) => e.is_damage(),
            Self::Commit(e) => e.is_damage(),
            Self::Store(e) => e.is_damage(),
            _ => false,
        }
    }
}
