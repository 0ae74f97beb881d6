//! A job: features being computed, with sealed files as its progress.
//!
//! Invariants
//! - the folder `tmp/<id>/` belongs to the process that holds its lock; the id follows from the identity of
//!   what is computed, so the same command finds its own job again
//! - a file whose name ends in `.part` is unfinished and worth nothing; any other data file is
//!   complete and flushed
//! - `publish.json` exists from before the first file leaves the folder until after `CURRENT` names all of
//!   them; a process that takes the job over moves the files back, unless a snapshot has them
//! - two live jobs never have a feature in common
//! - what a job is planned on is there when it starts, under the same numbers: between the two, reading
//!   weights takes minutes
//! - no row that was purged while a job ran is published by it

mod basis;
mod changes;
mod folder;
mod plan;
mod publish;
mod purge;
mod resume;
mod rows;
mod run;
mod run_part;
mod shard_index;
mod shard_note;
mod work;

pub use plan::{JobFeature, JobPlan};
pub use run::Job;
pub use shard_index::{ShardIndex, ShardIndexError};
pub use shard_note::ShardNote;

pub(crate) use changes::attached;
pub(crate) use folder::{
    Content, JOB, JobFolder, LIMIT, PUBLISH, RECEIPT, SAMPLES, encoding_name, held_jobs, intents_of, is_held,
    jobs, note_name, read_json, read_json_of, segment_name, unfinished,
};
pub(crate) use plan::{EncodingNote, Intents, JobFile, SealedEncoding, is_job};
pub(crate) use publish::{Completion, Finish, PublishOutcome};
pub(crate) use resume::{check_plan, job_files, sound_rows, take_over};
pub(crate) use rows::{published_rows, purged_rows};
pub(crate) use run_part::{KnownCheckpoint, run_part};
pub(crate) use shard_note::EQUAL_ROWS;

use crate::error::JobError;
use crate::store::{Snapshot, Store};
use gstore_core::Cancel;

impl Store {
    /// Starts a job, or goes on with one of the same identity that was interrupted.
    pub fn start_job(&self, plan: JobPlan) -> Result<Job, JobError> {
        resume::start(self.clone(), plan, None, &Cancel::new())
    }

    /// The same for a plan made on an earlier snapshot. `cancel` ends it between the files that an
    /// interrupted job has sealed, each of which is read.
    ///
    /// # Errors
    /// As [`Store::start_job`]; a dataset, model, feature or token counts that the plan goes by, and that are
    /// gone or replaced since; [`JobError::Stopped`].
    pub fn start_job_on(&self, planned: &Snapshot, plan: JobPlan, cancel: &Cancel) -> Result<Job, JobError> {
        resume::start(self.clone(), plan, Some(planned), cancel)
    }

    /// The same for work that cannot tell whether an interrupted job of its identity had the same input: what
    /// that one has sealed is removed.
    ///
    /// # Errors
    /// As [`Store::start_job_on`]; files of the interrupted job that cannot be removed.
    pub fn start_job_without_resume(&self, planned: &Snapshot, plan: JobPlan) -> Result<Job, JobError> {
        let job = self.start_job_on(planned, plan.clone(), &Cancel::new())?;
        if !job.resumed() {
            return Ok(job);
        }
        job.abandon()?;
        self.start_job_on(planned, plan, &Cancel::new())
    }

    /// Removes what a job of this identity left that was killed when it had published. What it has sealed and
    /// not published stays, unless its `job.json` is missing, unreadable or of other work: no start would go on
    /// from that.
    ///
    /// # Errors
    /// As [`Store::start_job_on`]; files that cannot be removed.
    pub fn clear_published_job(
        &self,
        planned: &Snapshot,
        plan: JobPlan,
        cancel: &Cancel,
    ) -> Result<(), JobError> {
        if !self.env().exists(&format!("tmp/{}", plan.id()))? {
            return Ok(());
        }
        let job = self.start_job_on(planned, plan, cancel)?;
        if !job.resumed() {
            job.abandon()?;
        }
        Ok(())
    }
}
