//! The job that takes given losses: one writer for each feature.

use gstore_store::{
    Job, JobFeature, JobPlan, LossColumns, RowFlags, SegmentWriter, Snapshot, Store, StoreError,
};
use serde_json::{Value, json};

use crate::daunce::DaunceError;

/// Bytes of losses in one file, about.
const FILE_BYTES: usize = 1 << 30;

/// The job that writes. Dropped without [`LossJobWriter::publish`], its folder is cleared by the next import
/// of the same losses, and can be collected.
pub(super) struct LossJobWriter {
    job: Job,
    /// Of each feature, with the bytes of its losses.
    writers: Vec<Option<(SegmentWriter, usize)>>,
}

impl LossJobWriter {
    pub fn start(store: &Store, features: Vec<JobFeature>, command: &str) -> Result<Self, DaunceError> {
        let writers = features.iter().map(|_| None).collect();
        let plan = JobPlan {
            command: command.to_owned(),
            identity: LossColumns::identity(&features, &json!("given")),
            features,
            detail: Value::Null,
        };
        let mut job = store.start_job(plan.clone())?;
        if job.resumed() {
            // What an import that was killed has sealed is not known to be what is given now.
            job.abandon().map_err(StoreError::from)?;
            job = store.start_job(plan)?;
        }
        Ok(Self { job, writers })
    }

    /// The snapshot that was current when it started.
    pub fn snapshot(&self) -> &Snapshot {
        self.job.snapshot()
    }

    pub fn push(&mut self, feature: usize, row: u64, values: &[f32]) -> Result<(), DaunceError> {
        let Some(slot) = self.writers.get_mut(feature) else { return Ok(()) };
        if let Some((full, _)) = slot.take_if(|(_, bytes)| *bytes >= FILE_BYTES) {
            self.job.seal(feature, full)?;
        }
        let (mut writer, bytes) = match slot.take() {
            Some(begun) => begun,
            None => (self.job.segment_writer(feature)?, 0),
        };
        writer.push(row, values, RowFlags::empty())?;
        *slot = Some((writer, bytes + size_of_val(values)));
        Ok(())
    }

    /// Publishes what was written. `whole`: it covers every row of the dataset.
    pub fn publish(mut self, whole: bool) -> Result<u64, DaunceError> {
        for (feature, writer) in self.writers.into_iter().enumerate() {
            if let Some((writer, _)) = writer {
                self.job.seal(feature, writer)?;
            }
        }
        Ok(self.job.publish(None, whole)?.number())
    }
}
