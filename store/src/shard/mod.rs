//! Shards: parts of one ingest computed by several processes, on several machines, and attached to the store in one commit.
//!
//! Invariants
//! - which rows a shard takes follows from the rows of a snapshot, the number of shards and the size of a cell, and from nothing else
//! - a shard reads the store and never writes it; all it makes is in its own folder, which is laid out like that of a job
//! - `receipt.json` is written last: a folder without one is unfinished
//! - a row is attached only if it is the sample that it was for the shard
//! - attaching reads the folders and never changes them; the store shows all of the shards or none

mod attach;
mod index;
mod note;
mod receipt;
mod samples;
mod split;
mod start;

pub use attach::{AttachOptions, AttachProgress, AttachReport, AttachedFeature, AttachedShard, ShardOutcome};
pub use index::{ShardIndex, ShardIndexError};
pub use note::ShardNote;
pub use receipt::{Receipt, ReceiptEncoding, ReceiptFile, ReceiptRun};
pub use split::split_rows;
pub use start::{ShardJob, ShardPlan, ShardStart};

pub(crate) use attach::attach;
pub(crate) use start::{note_of, start};
