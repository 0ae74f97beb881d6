//! The job that takes given losses: one writer for each feature.

use std::sync::Arc;

use gstore_store::{Job, JobFeature, JobPlan, LossColumns, RowFlags, SegmentWriter, Snapshot, Store};
use serde_json::json;

use crate::daunce::DaunceError;

/// Bytes of losses in one file, about.
const FILE_BYTES: usize = 1 << 30;

/// The job that writes. Dropped without [`LossJobWriter::publish`], it is removed: no import goes on from the
/// losses of another.
pub(super) struct LossJobWriter {
    store: Store,
    plan: JobPlan,
    /// `None` once it is published.
    job: Option<Job>,
    snapshot: Arc<Snapshot>,
    /// Of each feature, with the bytes of its losses.
    writers: Vec<Option<(SegmentWriter, usize)>>,
}

impl LossJobWriter {
    /// Starts a job whose features were planned in `seen`.
    pub fn start(
        (store, seen): (&Store, &Snapshot),
        features: Vec<JobFeature>,
        command: &str,
    ) -> Result<Self, DaunceError> {
        let writers = features.iter().map(|_| None).collect();
        let plan = LossColumns::plan(command, features, &json!("given"));
        let job = store.start_job_without_resume(seen, plan.clone())?;
        let snapshot = Arc::clone(job.snapshot());
        Ok(Self { store: store.clone(), plan, job: Some(job), snapshot, writers })
    }

    /// The snapshot that was current when it started.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn push(&mut self, feature: usize, row: u64, values: &[f32]) -> Result<(), DaunceError> {
        let (Some(slot), Some(job)) = (self.writers.get_mut(feature), &mut self.job) else { return Ok(()) };
        if let Some((full, _)) = slot.take_if(|(_, bytes)| *bytes >= FILE_BYTES) {
            job.seal(feature, full)?;
        }
        let (mut writer, bytes) = match slot.take() {
            Some(begun) => begun,
            None => (job.segment_writer(feature)?, 0),
        };
        writer.push(row, values, RowFlags::empty())?;
        *slot = Some((writer, bytes + size_of_val(values)));
        Ok(())
    }

    /// Publishes what was written. `whole`: it covers every row of the dataset.
    pub fn publish(mut self, whole: bool) -> Result<u64, DaunceError> {
        for (feature, writer) in std::mem::take(&mut self.writers).into_iter().enumerate() {
            if let (Some((writer, _)), Some(job)) = (writer, &mut self.job) {
                job.seal(feature, writer)?;
            }
        }
        let Some(job) = self.job.take() else { return Ok(self.snapshot.number()) };
        let published = job.publish(None, whole);
        if published.is_err() {
            // Its sealed files wait for an import that goes on from them, and none does.
            self.job = self.store.start_job(self.plan.clone()).ok();
        }
        Ok(published?.number())
    }
}

impl Drop for LossJobWriter {
    fn drop(&mut self) {
        self.writers.clear();
        if let Some(job) = self.job.take() {
            // What cannot be removed now goes with the next import of the same losses.
            let _ = job.abandon();
        }
    }
}
