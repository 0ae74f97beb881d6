//! Dropping features, datasets, runs, ensembles and artifacts from the catalog. Their files stay for older
//! snapshots until `gc`.
//!
//! Token counts go with the last feature of their encoding, as long as the dataset has features of another
//! one: with the counts of several encodings it has no `tokens` to show.

use super::refuse_live_jobs;
use crate::artifacts::link_of;
use crate::error::ChangeError;
use crate::job::{JobFile, held_jobs};
use crate::ledger::Ledger;
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, RunPart, Stripe, StripePart};
use crate::store::{Change, Snapshot, Store, WriterLock, change_of, publish, unknown};
use crate::vfs::VfsLock;
use gstore_core::{CheckpointId, FeatureDesc, many};
use serde::Serialize;
use std::sync::Arc;

/// What was dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DropReport {
    /// The snapshot without it.
    pub snapshot: u64,
    /// Features that went, as `dataset/label`.
    pub features: Vec<String>,
    /// Samples that went.
    pub samples: u64,
    /// Name of the artifact, if one went.
    pub artifact: Option<String>,
    /// Its kind; none where its manifest cannot be read.
    pub kind: Option<String>,
    /// Bytes of files that the new snapshot no longer needs. `gc` frees them once no snapshot needs
    /// them.
    pub bytes: u64,
    /// Features whose checkpoint has no name any more, because it was in no other run. They can
    /// still be named by their own labels, and their sums have no weight until a run with the
    /// checkpoint is published again.
    pub unnamed: Vec<String>,
}

impl Store {
    /// Takes a feature, as the caller found it in a snapshot, out of the catalog, with the rows that it has
    /// by now. Refused while a live job writes it, and while losses of an ensemble are relative to it. Its
    /// number is never given out again.
    pub fn drop_feature(&self, feature: &FeaturePart, command: &str) -> Result<DropReport, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let part = Arc::clone(base.same_feature(feature)?);
        let shown = part.display_name();
        // Without it, losses that are stored as differences to it would say nothing.
        if base.features().iter().any(|other| is_relative_to(&other.desc, &part.desc)) {
            return Err(ChangeError::Offset { feature: shown });
        }
        let _starting = self.quiet(&format!("feature {shown}"), &|job| {
            job.features.iter().any(|f| f.desc.key() == part.key || is_relative_to(&f.desc, &part.desc))
        })?;
        let mut change = change_of(&base, command);
        change.removed.features.push(part.number);
        change.changes.push(format!("feature {shown} dropped"));
        let bytes = part.bytes() + self.release_encodings(&base, &mut change)?;
        let report = DropReport { features: vec![shown], bytes, ..DropReport::default() };
        self.publish_drop(&lock, &base, change, report)
    }

    /// Takes a dataset, as the caller found it in a snapshot, out of the catalog, with the rows and features
    /// that it has by now. Refused while a live job writes one of them. A dataset of the same name that is
    /// made later is another one. The ledger is removed, because it has the ids; the next append rebuilds it,
    /// which reads the ids of all datasets.
    pub fn drop_dataset(&self, dataset: &DatasetPart, command: &str) -> Result<DropReport, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let part = base.same_dataset(dataset)?;
        let name = &part.name;
        let _starting = self.quiet(&format!("dataset {name}"), &|job| writes_dataset(job, name))?;
        let features = base.features_of(name);
        let mut change = change_of(&base, command);
        change.removed.datasets.push(part.number);
        change.removed.features.extend(features.iter().map(|f| f.number));
        change
            .changes
            .push(format!("dataset {name} dropped with {}", many(features.len() as u64, "feature")));
        let encodings = part.encodings.iter().flat_map(|e| &e.files);
        let report = DropReport {
            features: features.iter().map(|f| f.display_name()).collect(),
            samples: part.rows,
            bytes: part.files.iter().chain(encodings).map(|f| f.len).sum::<u64>()
                + features.iter().map(|f| f.bytes()).sum::<u64>(),
            ..DropReport::default()
        };
        // It has the ids, and nothing would ever take them out. Without it the next append
        // makes one of what is left.
        let env = self.env();
        Ledger::remove(&env.shared_vfs(), env.path())?;
        env.sync_folder("")?;
        self.publish_drop(&lock, &base, change, report)
    }

    /// Takes a run, as the caller found it in a snapshot, out of the catalog. Features of its checkpoints
    /// stay; the report names those whose checkpoint has no name and no weight any more.
    pub fn drop_run(&self, run: &RunPart, command: &str) -> Result<DropReport, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let part = base.same_run(run)?;
        let name = &part.name;
        let mut change = change_of(&base, command);
        change.removed.runs.push(part.number);
        change
            .changes
            .push(format!("run {name} dropped, with {}", many(part.checkpoints.len() as u64, "checkpoint")));
        let report = DropReport { unnamed: unnamed(&base, part), ..DropReport::default() };
        self.publish_drop(&lock, &base, change, report)
    }

    /// Takes an ensemble, as the caller found it in a snapshot, out of the catalog, with the members and
    /// losses that it has by now. Refused while a live job writes losses of it. Folders of its members stay.
    pub fn drop_ensemble(&self, ensemble: &EnsemblePart, command: &str) -> Result<DropReport, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let part = base.same_ensemble(ensemble)?;
        let (name, uuid) = (&part.name, Some(part.uuid));
        let _starting = self.quiet(&format!("ensemble {name}"), &|job| {
            job.features.iter().any(|f| f.desc.ensemble == uuid)
        })?;
        let features: Vec<_> = base.features().iter().filter(|f| f.desc.ensemble == uuid).collect();
        let mut change = change_of(&base, command);
        change.removed.ensembles.push(part.number);
        change.removed.features.extend(features.iter().map(|f| f.number));
        change
            .changes
            .push(format!("ensemble {name} dropped, with {}", many(part.members.len() as u64, "member")));
        let released = self.release_encodings(&base, &mut change)?;
        let report = DropReport {
            features: features.iter().map(|f| f.display_name()).collect(),
            bytes: features.iter().map(|f| f.bytes()).sum::<u64>() + released,
            ..DropReport::default()
        };
        self.publish_drop(&lock, &base, change, report)
    }

    /// Takes the artifact that has a name in `seen`, a snapshot that the caller looked at, out of the
    /// catalog. Older snapshots still have it.
    ///
    /// # Errors
    /// There is none of this name; it was dropped or replaced since.
    pub fn drop_artifact(
        &self,
        seen: &Snapshot,
        name: &str,
        command: &str,
    ) -> Result<DropReport, ChangeError> {
        let Some(link) = link_of(seen, name) else {
            let known = seen.root().artifacts.iter().map(|link| link.name.as_str()).collect();
            return Err(unknown("artifact", name, known).into());
        };
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        base.same_artifact(link)?;
        let mut change = change_of(&base, command);
        change.removed.artifacts.push(link.number);
        change.changes.push(format!("artifact {name} dropped"));
        let bytes = link.bytes();
        // What is damaged can be dropped too.
        let kind = seen.read_artifact(link).ok().map(|part| part.kind);
        let report = DropReport { bytes, artifact: Some(name.to_owned()), kind, ..DropReport::default() };
        self.publish_drop(&lock, &base, change, report)
    }

    /// Takes the token counts of encodings that no feature uses out of datasets that lose a feature
    /// and have others left, and says how many bytes of files these were. The caller keeps jobs from
    /// starting: one that runs counts no rows that were counted before, so the encodings that live
    /// jobs write features of stay.
    fn release_encodings(&self, base: &Snapshot, change: &mut Change) -> Result<u64, ChangeError> {
        // Only where there is a folder for their work there can be jobs.
        let jobs = if self.env().exists("tmp")? { held_jobs(self.env())? } else { Vec::new() };
        // What a live job writes must be known.
        let Some(jobs) = jobs.into_iter().map(|(_, file)| file).collect::<Option<Vec<_>>>() else {
            return Ok(0);
        };
        let (gone, left): (Vec<_>, Vec<_>) =
            base.features().iter().partition(|f| change.removed.features.contains(&f.number));
        let mut bytes = 0;
        for dataset in base.datasets() {
            let uses = |desc: &FeatureDesc, key: &str| desc.dataset == dataset.name && desc.encoding == key;
            let is_left = |key: &str| left.iter().any(|f| uses(&f.desc, key));
            let is_written = |key: &str| jobs.iter().flat_map(|j| &j.features).any(|f| uses(&f.desc, key));
            let loses = gone.iter().any(|f| f.desc.dataset == dataset.name);
            if !loses || !dataset.encodings.iter().any(|e| is_left(&e.key)) {
                continue;
            }
            let mut part = DatasetPart::clone(dataset);
            let released = part.encodings.extract_if(.., |e| !is_left(&e.key) && !is_written(&e.key));
            let released: Vec<_> = released.collect();
            for encoding in &released {
                bytes += encoding.files.iter().map(|file| file.len).sum::<u64>();
                let label = dataset.encoding_label(encoding);
                change.changes.push(format!("dataset {}: token counts dropped ({label})", dataset.name));
            }
            if !released.is_empty() {
                change.datasets.push(part);
            }
        }
        Ok(bytes)
    }

    /// Makes sure that no live job is concerned, and that none starts before the lock is dropped.
    pub(super) fn quiet(
        &self,
        what: &str,
        concerned: &dyn Fn(&JobFile) -> bool,
    ) -> Result<Option<Box<dyn VfsLock>>, ChangeError> {
        if !self.env().exists("tmp")? {
            return Ok(None);
        }
        let starting = self.env().lock_start()?;
        refuse_live_jobs(self.env(), what, concerned)?;
        Ok(Some(starting))
    }

    fn publish_drop(
        &self,
        lock: &WriterLock,
        base: &Snapshot,
        change: Change,
        mut report: DropReport,
    ) -> Result<DropReport, ChangeError> {
        report.snapshot = publish(self, lock, base, change)?.number();
        Ok(report)
    }
}

/// Whether a feature has losses of members that are stored as differences to another one.
fn is_relative_to(desc: &FeatureDesc, offset: &FeatureDesc) -> bool {
    let Ok(Some(Stripe { signal, part: StripePart::Offset(_) })) = Stripe::of(offset) else { return false };
    let is_of_table = desc.ensemble == offset.ensemble
        && desc.dataset == offset.dataset
        && desc.encoding == offset.encoding;
    let of_members =
        |stripe: &Stripe| stripe.signal == signal && matches!(stripe.part, StripePart::Members { .. });
    is_of_table && matches!(Stripe::of(desc), Ok(Some(stripe)) if of_members(&stripe))
}

/// Whether a job writes a feature of a dataset.
pub(super) fn writes_dataset(job: &JobFile, dataset: &str) -> bool {
    job.features.iter().any(|f| f.desc.dataset == dataset)
}

/// Features of checkpoints that are in this run and in no other.
fn unnamed(base: &Snapshot, run: &RunPart) -> Vec<String> {
    let others: Vec<&CheckpointId> = base
        .runs()
        .iter()
        .filter(|r| r.number != run.number)
        .flat_map(|r| r.checkpoints.iter().map(|c| &c.checkpoint))
        .collect();
    let lost =
        |id: &CheckpointId| run.checkpoints.iter().any(|c| c.checkpoint == *id) && !others.contains(&id);
    let features = base.features().iter().filter(|f| f.desc.checkpoint.as_ref().is_some_and(lost));
    features.map(|f| f.display_name()).collect()
}
