//! Shards: parts of one ingest from several processes or machines, attached to the store in one commit.
//!
//! Invariants
//! - which rows a shard takes follows from the rows of a snapshot, the number of shards and the size of a
//!   cell, and from nothing else
//! - a shard reads the store and never writes it; all it makes is in its own folder, which is laid
//!   out like that of a job
//! - `receipt.json` is written last: a folder without one is unfinished
//! - a row is attached only if it is the sample that it was for the shard
//! - attaching reads the folders and never changes them; the store shows all of the shards or none

mod attach;
#[cfg(test)]
mod purge_test;
mod receipt;
mod samples;
mod split;
mod start;

pub use attach::{AttachOptions, AttachProgress, AttachReport, AttachedFeature, AttachedShard, ShardOutcome};
pub use receipt::{Receipt, ReceiptEncoding, ReceiptFile};
pub use start::{ShardJob, ShardPlan, ShardStart};

use crate::error::{AttachError, JobError, ShardError};
use crate::job::{JobPlan, ShardNote};
use crate::store::Store;
use gstore_core::Cancel;
use std::path::{Path, PathBuf};

impl Store {
    /// Starts computing a shard, or goes on with it. Reads the store and never writes it.
    ///
    /// # Errors
    /// A folder that is in use, or holds anything but this shard.
    pub fn start_shard(&self, plan: JobPlan, shard: ShardPlan) -> Result<ShardStart, ShardError> {
        self.start_shard_until(plan, shard, &Cancel::new())
    }

    /// The same; `cancel` ends it between the files that an earlier process has sealed, each of which is
    /// read.
    ///
    /// # Errors
    /// As [`Store::start_shard`]; [`JobError::Stopped`].
    pub fn start_shard_until(
        &self,
        plan: JobPlan,
        shard: ShardPlan,
        cancel: &Cancel,
    ) -> Result<ShardStart, ShardError> {
        if let Some(feature) = plan.features.iter().find(|f| f.desc.ensemble.is_some()) {
            let detail = "losses of an ensemble are published column by column, and are in no shard".into();
            return Err(JobError::Description { feature: feature.name(), detail }.into());
        }
        start::start(self.clone(), plan, shard, cancel)
    }

    /// What the folder of a shard was started for; `None` if it is not one yet.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn shard_note(&self, out: &Path) -> Result<Option<ShardNote>, ShardError> {
        Ok(start::job_file(self, out)?.and_then(|file| file.shard))
    }

    /// Takes finished shards in: all of them in one commit, or none. Their folders are only read.
    ///
    /// # Errors
    /// A shard that is not finished, not of this store, damaged, or has rows that another
    /// shard or the store has.
    pub fn attach(
        &self,
        folders: &[PathBuf],
        options: &AttachOptions,
        progress: &mut dyn FnMut(AttachProgress),
    ) -> Result<AttachReport, AttachError> {
        attach::attach(self, folders, options, progress)
    }
}
