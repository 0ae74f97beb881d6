//! The job that writes the vectors of a put into files and publishes them.

use std::sync::Arc;

use gstore_core::{RowFlags, RowSet};
use gstore_store::{ClientWrite, Job, JobPlan, RunUpdate, SegmentWriter, Snapshot, Store};
use serde_json::{Map, Value, json};

use super::ids::IdLookup;
use super::spec::ResolvedFeature;
use super::{PutError, VectorSamples};

/// Bytes of vectors in one file, about.
const FILE_BYTES: usize = 1 << 30;
/// Files of one put: a stream whose rows come in more ascending runs than this is refused.
const MOST_FILES: usize = 256;

pub(super) struct PutJob {
    store: Store,
    plan: JobPlan,
    /// `None` once it is published. Dropped otherwise, it is removed.
    job: Option<Job>,
    pub(super) resolved: ResolvedFeature,
    ids: Option<IdLookup>,
    live: Arc<RowSet>,
    /// Rows that the feature has.
    published: RowSet,
    /// A bit for each row that was pushed, as rows may come in any order.
    pushed: Vec<u64>,
    writer: Option<(SegmentWriter, u64)>,
    /// Vectors of sealed files that became zeros.
    not_finite: u64,
    bytes: usize,
    files: usize,
}

impl PutJob {
    /// Begins the job of a feature as it was resolved in `seen`, whatever one that was killed has left of it.
    pub(super) fn start(
        (store, seen): (&Store, &Snapshot),
        dataset: &str,
        resolved: ResolvedFeature,
        command: &str,
    ) -> Result<Self, PutError> {
        let plan = JobPlan {
            command: command.to_owned(),
            identity: json!({ "put": dataset, "feature": resolved.feature.desc.key() }),
            features: vec![resolved.feature.clone()],
            detail: Value::Null,
        };
        let job = store.start_job_without_resume(seen, plan.clone())?;
        let published = job.rows_done(0);
        let base = job.snapshot();
        let live = base.live_rows(base.dataset(dataset)?)?;
        Ok(Self {
            store: store.clone(),
            plan,
            job: Some(job),
            resolved,
            ids: None,
            live,
            published,
            pushed: Vec::new(),
            writer: None,
            not_finite: 0,
            bytes: 0,
            files: 0,
        })
    }

    /// What the job begins with.
    pub(super) fn base(&self, otherwise: &Arc<Snapshot>) -> Arc<Snapshot> {
        Arc::clone(self.job.as_ref().map_or(otherwise, Job::snapshot))
    }

    /// Writes vectors of samples that have none yet.
    pub(super) fn push(
        &mut self,
        snapshot: &Snapshot,
        dataset: &str,
        samples: VectorSamples<'_>,
        values: &[f32],
        flags: Option<&[u8]>,
    ) -> Result<(), PutError> {
        let found;
        let rows = match samples {
            VectorSamples::Rows(rows) => rows,
            VectorSamples::Ids(ids) => {
                let known = match &mut self.ids {
                    Some(known) => known,
                    none => none.insert(IdLookup::new(snapshot.samples(snapshot.dataset(dataset)?)?)),
                };
                found = known.rows_of(dataset, ids)?;
                &found
            }
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if !rows.is_sorted() {
            order.sort_by_key(|at| rows.get(*at).copied());
        }
        let dim = self.resolved.feature.desc.dim() as usize;
        for at in order {
            let (Some(row), Some(vector)) = (rows.get(at), values.get(at * dim..(at + 1) * dim)) else {
                continue;
            };
            let flags = flags.and_then(|f| f.get(at)).copied().unwrap_or_default();
            self.check(dataset, *row)?;
            self.write(*row, vector, RowFlags::from_bits(flags))?;
        }
        Ok(())
    }

    fn check(&mut self, dataset: &str, row: u64) -> Result<(), PutError> {
        if !self.live.contains(row) {
            return Err(PutError::NoRow { dataset: dataset.to_owned(), row });
        }
        let feature = || self.resolved.feature.attrs.label.clone();
        if self.published.contains(row) {
            return Err(PutError::There { feature: feature(), row });
        }
        let (word, bit) = ((row / 64) as usize, 1_u64 << (row % 64));
        if word >= self.pushed.len() {
            self.pushed.resize(word + 1, 0);
        }
        let Some(word) = self.pushed.get_mut(word) else { return Ok(()) };
        if *word & bit != 0 {
            return Err(PutError::Twice(row));
        }
        *word |= bit;
        Ok(())
    }

    fn write(&mut self, row: u64, vector: &[f32], flags: RowFlags) -> Result<(), PutError> {
        let goes_on = self.writer.as_ref().is_some_and(|(_, last)| *last < row) && self.bytes < FILE_BYTES;
        if !goes_on {
            self.seal()?;
        }
        let Some(job) = &mut self.job else { return Ok(()) };
        let mut writer = match self.writer.take() {
            Some((writer, _)) => writer,
            None => {
                self.files += 1;
                self.bytes = 0;
                job.segment_writer(0)?
            }
        };
        writer.push(row, vector, flags)?;
        self.bytes += size_of_val(vector) + size_of::<u64>();
        self.writer = Some((writer, row));
        Ok(())
    }

    fn seal(&mut self) -> Result<(), PutError> {
        let (Some((writer, _)), Some(job)) = (self.writer.take(), &mut self.job) else { return Ok(()) };
        if self.files >= MOST_FILES && self.bytes < FILE_BYTES {
            return Err(PutError::Order);
        }
        self.not_finite += writer.not_finite();
        Ok(job.seal(0, writer)?)
    }

    /// Vectors that were pushed and are stored as zeros, since they are not finite.
    pub(super) fn not_finite(&self) -> u64 {
        self.not_finite + self.writer.as_ref().map_or(0, |(writer, _)| writer.not_finite())
    }

    /// Publishes what was written in one commit, with the key of the write.
    pub(super) fn publish(
        mut self,
        dataset: &str,
        named: Option<(ClientWrite, Map<String, Value>)>,
    ) -> Result<Arc<Snapshot>, PutError> {
        if let (Some((writer, _)), Some(job)) = (self.writer.take(), &mut self.job) {
            job.seal(0, writer)?;
        }
        let run: Option<RunUpdate> = self.resolved.run.take();
        let Some(job) = self.job.take() else { return Err(PutError::Empty) };
        let published = job.publish_write(run, dataset, named);
        if published.is_err() {
            // Its sealed files wait for a put that never comes.
            self.job = self.store.start_job(self.plan.clone()).ok();
        }
        Ok(published?)
    }
}

impl Drop for PutJob {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(job) = self.job.take() {
            // What cannot be removed now goes with the next put of the feature.
            let _ = job.abandon();
        }
    }
}
