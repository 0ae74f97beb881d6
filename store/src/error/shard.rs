//! Errors of computing shards and attaching them.

use super::{CommitError, JobError, StoreError};
use gstore_core::{Remedy, RowSet};

/// A shard could not be started or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    #[error(
        "{path} is inside the store; a shard never writes there, so give {} a folder elsewhere",
        Remedy::Option("out", "")
    )]
    InsideStore { path: String },
    #[error(
        "{path} is not empty (it holds {found:?}) and is not the folder of a shard\n  give {} an empty or missing folder",
        Remedy::Option("out", "")
    )]
    NotEmpty { path: String, found: String },
    #[error(
        "{path} is the folder of another shard: {what} is {found} there, {wanted} here\n  give every shard a folder of its own"
    )]
    Other { path: String, what: &'static str, wanted: String, found: String },
    #[error(
        "{path} is in use by another process (process {pid} of the machine that runs it); every shard needs a folder of its own"
    )]
    Busy { path: String, pid: u32 },
    #[error("{path}/job.json cannot be read: {detail}\n  remove the folder and run the command again")]
    Note { path: String, detail: String },
    #[error("the shard in {path} cannot be finished: feature {feature} lacks {rows}")]
    Incomplete { path: String, feature: String, rows: RowSet },
    /// The receipt would be refused when it is read.
    #[error("the receipt of {path} would not be sound: {detail}")]
    Receipt { path: String, detail: String },
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Store(StoreError),
}

/// Bytes that are no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    #[error("a newer gstore wrote it: {0}; attach it with that version")]
    Newer(String),
    /// Damaged, or never a receipt.
    #[error("{0}")]
    Bad(String),
}

/// Shards could not be attached. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    #[error("name the folders of the shards to attach")]
    Nothing,
    #[error("{folder} is not the folder of a shard: {detail}")]
    NoShard { folder: String, detail: String },
    #[error("shard {shard} in {folder} is not finished; run its command again")]
    Unfinished { folder: String, shard: String },
    #[error(
        "{folder}/receipt.json cannot be used: {source}\n  remove the file and run the shard's command again; what is sound in the folder is kept"
    )]
    Receipt { folder: String, source: ReceiptError },
    #[error("shard {shard} in {folder} was made from the store {found}, this one is {store}")]
    OtherStore { folder: String, shard: String, found: String, store: String },
    /// The dataset is not the one the shard was made from.
    #[error("shard {shard} in {folder} is of dataset {dataset:?}: {detail}")]
    Dataset { folder: String, shard: String, dataset: String, detail: String },
    /// Two shards were not computed in the same way.
    #[error(
        "{a} and {b} are of different jobs: {detail}\n  attach shards of one job only: of commands with the same model, checkpoints and options"
    )]
    OtherJob { a: String, b: String, detail: String },
    #[error("{a} and {b} both have {rows} of feature {feature}\n  {advice}")]
    Overlap { feature: String, a: String, b: String, rows: RowSet, advice: &'static str },
    #[error(
        "the store has {rows} of feature {feature} already, and not from the shard in {folder}; nothing was changed"
    )]
    Present { feature: String, folder: String, rows: RowSet },
    #[error("{a} and {b} do not agree about checkpoint {checkpoint:?} of run {run:?}: {detail}")]
    Run { a: String, b: String, run: String, checkpoint: String, detail: String },
    #[error(
        "{folder}/{file} is damaged: {detail}\n  nothing was attached; run the shard's command again, which computes the lost rows again, and then attach"
    )]
    BadFile { folder: String, file: String, detail: String },
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(StoreError),
}
