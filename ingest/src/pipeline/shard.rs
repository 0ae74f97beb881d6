//! Computation of one shard of an ingest.
//!
//! A shard is an equal share of a snapshot's rows, computed into a separate folder. Nothing is written to the
//! store but a lease of that snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::{
    JobError, Receipt, ShardError, ShardIndex, ShardPlan, ShardStart, Snapshot, SnapshotName, Store,
};

use super::plan::IngestPlan;
use super::request::IngestRequest;
use super::{IngestError, IngestReport, Progress, RunEnding, compute_missing};

/// Which part of an ingest to compute, and where to.
#[derive(Debug, Clone)]
pub struct ShardRequest {
    /// Which of how many.
    pub shard: ShardIndex,
    /// The folder: missing, empty, or that of the same shard.
    pub out: PathBuf,
    /// The snapshot whose rows are split. Without one it is that of the folder, if it is begun,
    /// or else the current one.
    pub snapshot: Option<SnapshotName>,
}

/// What the computing of a shard did.
#[derive(Debug, Clone)]
pub struct ShardReport {
    /// The receipt; none if the run was stopped.
    pub receipt: Option<Receipt>,
    /// An earlier run had finished the shard: nothing was done.
    pub already: bool,
    /// What was computed. It has no snapshot.
    pub work: IngestReport,
}

impl IngestPlan {
    /// Plans a shard: the same as the whole ingest, but of the shard's rows.
    ///
    /// # Errors
    /// As [`IngestPlan::new`]; a snapshot that is not there.
    pub fn for_shard(
        store: &Store,
        request: IngestRequest,
        shard: &ShardRequest,
        progress: &mut dyn Progress,
    ) -> Result<(Self, ShardPlan), IngestError> {
        if request.is_partial() {
            return Err(IngestError::LimitedShard);
        }
        let snapshot = shard.base_snapshot(store)?;
        let lease = store.lease(&snapshot, &request.command)?;
        let part = ShardPlan::new(Arc::clone(&snapshot), &request.dataset, shard.shard, &shard.out)?;
        let mut plan = Self::at(snapshot, request, progress)?;
        plan.rows = part.rows().clone();
        plan.lease = lease;
        Ok((plan, part))
    }
}

impl ShardRequest {
    /// The snapshot that was asked for, that of the folder, or the current one.
    ///
    /// # Errors
    /// A snapshot that is not there; a folder that cannot be read.
    pub fn base_snapshot(&self, store: &Store) -> Result<Arc<Snapshot>, IngestError> {
        let begun = store.shard_note(&self.out)?.map(|note| note.snapshot);
        match (&self.snapshot, begun) {
            (Some(name), _) => Ok(store.snapshot_named(name)?),
            (None, Some(number)) => store.snapshot_at(number).map_err(|source| IngestError::ShardSnapshot {
                out: self.out.clone(),
                snapshot: number,
                source,
            }),
            (None, None) => Ok(store.snapshot()?),
        }
    }
}

/// Computes what a shard's plan says is missing, and writes its receipt.
///
/// `cancel` stops the run after the current batch; sealed windows are kept for the next
/// run of the same request.
///
/// # Errors
/// The first failure; what was sealed before it is kept. A shard that has no room before anything of it was
/// sealed leaves its folder to any other.
pub fn ingest_shard(
    store: &Store,
    plan: &IngestPlan,
    shard: ShardPlan,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<ShardReport, IngestError> {
    plan.check_run_name()?;
    let out = shard.out().to_owned();
    let mut job = match store.start_shard_until(plan.job(), shard, cancel) {
        Err(ShardError::Job(JobError::Stopped(_))) => {
            return Ok(ShardReport { receipt: None, already: false, work: IngestReport::stopped() });
        }
        started => match started? {
            ShardStart::Job(job) => job,
            ShardStart::Finished(receipt) => {
                let work = IngestReport::default();
                return Ok(ShardReport { receipt: Some(*receipt), already: true, work });
            }
        },
    };
    for name in job.discarded() {
        progress.note(&format!("{name} was unfinished or damaged; its rows are computed again"));
    }
    let give_up = "removing the folder of the shard gives it up";
    let work = match compute_missing(&mut job, plan, &out, progress, cancel, give_up) {
        Err(error @ IngestError::NoRoom(_)) if job.sealed_bytes() == 0 => {
            // What cannot be removed does no harm; the failure is what the user should hear.
            let _ = job.abandon();
            return Err(error);
        }
        work => work?,
    };
    let receipt = match work.ending {
        RunEnding::Finished => Some(job.finish(Some(plan.run_update()))?),
        RunEnding::Stopped => None,
    };
    Ok(ShardReport { receipt, already: false, work })
}
