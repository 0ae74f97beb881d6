//! The ingest pipeline: from a training set and checkpoints to published features.
//!
//! [`add`] registers samples, [`IngestPlan::new`] finds out what is missing, [`ingest`] computes it, window
//! by window, and publishes everything in one commit at the end. Stopped or killed, the same request goes on
//! from what is sealed and ends with the same content. Losses may become a column of an ensemble instead
//! ([`IngestPlan::into_column`], [`ingest_column`]).

mod bad_records;
mod batches;
mod column;
mod compute;
mod describe;
mod devices;
mod disk_space;
mod ensemble;
mod error;
mod estimate;
mod features;
mod foreign;
mod given;
mod label;
mod lengths;
mod mask_warning;
mod memory;
mod plan;
mod prepare;
mod preview;
mod projector;
mod register;
mod request;
mod row_sample;
mod run;
mod shard;
mod tokens;
mod tracked;
mod window;
mod work;

use std::path::Path;
use std::sync::Arc;

use gstore_core::parallel::each;
use gstore_core::{Cancel, Remedy};
use gstore_store::{Job, JobError, JobFeature, RowSet, SampleReader, Snapshot, Store};

pub use batches::{EncodedRow, RowBatches};
pub use devices::{check_devices, gpus};
pub use ensemble::ingest_column;
pub use error::IngestError;
pub use estimate::{IngestEstimate, estimate};
pub use given::{SampleEncoder, SampleEncoderError, SampleEncoderOptions, request_like};
pub use gstore_core::{Kind, Progress, Silent, Unit};
pub use memory::{BatchExtent, FinishedBytes, MemoryPlan, WorkerBytes};
pub use plan::{CheckpointPlan, IngestPlan, PlannedFeature, check_inputs, check_weights};
pub use preview::IngestPreview;
pub use register::{
    AddClient, AddOutcome, AddPreview, AddReport, AddRequest, ExistingDataset, add, add_from_client,
    add_until, check_data, check_texts, preview_add,
};
pub use request::{CheckpointArg, CheckpointWeights, EmbeddingForm, IngestRequest, ProjectionChoice};
pub use run::RunEnding;
pub use shard::{ShardReport, ShardRequest, ingest_shard};
pub use tracked::{checkpoint_folder, positions};

use compute::FeatureComputer;
use prepare::BatchPreparer;
use window::BatchLimits;
use work::CheckpointWork;

use crate::gradient::{CheckpointSource, Engine, EngineOptions};
use gstore_model::{Device, LoadError, with_backend};

/// What an ingest did.
#[derive(Debug, Clone, Default)]
pub struct IngestReport {
    /// The published state; none if nothing was missing, or the run was stopped.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Rows computed by this run, summed over checkpoints.
    pub computed: u64,
    /// Rows that this run was to compute, likewise summed.
    pub missing: u64,
    /// The same rows, each once, at whatever number of checkpoints they were missing.
    pub rows: RowSet,
    /// Rows taken over from an earlier, interrupted run, summed over features.
    pub resumed: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// How it ended.
    pub ending: RunEnding,
}

impl IngestReport {
    /// Of a run that was stopped before it had begun.
    fn stopped() -> Self {
        Self { ending: RunEnding::Stopped, ..Self::default() }
    }
}

/// Computes and publishes what a plan says is missing.
///
/// `cancel` stops the run after the current batch; what is computed is sealed and kept for the next
/// run of the same request.
///
/// # Errors
/// The first failure; what was sealed before it is kept, and the store is as it was.
pub fn ingest(
    store: &Store,
    plan: &IngestPlan,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport, IngestError> {
    if plan.is_done() {
        // A run that was killed once it had published left its folder. What cannot be removed now is gc's.
        let _ = store.clear_published_job(&plan.snapshot, plan.job(), cancel);
        return Ok(IngestReport::default());
    }
    plan.check_run_name()?;
    compute_and_publish(store, plan, progress, cancel)
}

/// The job of [`ingest`]. A column of an ensemble updates no run, since its model is not a checkpoint of one.
fn compute_and_publish(
    store: &Store,
    plan: &IngestPlan,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport, IngestError> {
    let mut job = match store.start_job_on(&plan.snapshot, plan.job(), cancel) {
        Err(JobError::Stopped(_)) => return Ok(IngestReport::stopped()),
        job => job?,
    };
    let give_up = format!("{} gives it up", Remedy::DropJobs);
    let mut report = compute_missing(&mut job, plan, store.path(), progress, cancel, &give_up)?;
    if report.ending == RunEnding::Finished {
        let complete = !plan.request.is_partial();
        let label = |now: &Snapshot, feature: &JobFeature| plan.label_in(now, feature);
        report.snapshot = Some(match plan.column {
            Some(_) => job.publish(None, complete)?,
            None => job.publish_labelled(Some(plan.run_update()), complete, &label)?,
        });
    }
    Ok(report)
}

/// Computes and seals what neither the store nor the job has. Stopped or failed, what was not sealed is
/// removed. `give_up` says how the rest is given up, `place` on which disk the job is.
fn compute_missing(
    job: &mut Job,
    plan: &IngestPlan,
    place: &Path,
    progress: &mut dyn Progress,
    cancel: &Cancel,
    give_up: &str,
) -> Result<IngestReport, IngestError> {
    let done = compute_and_seal(job, plan, place, progress, cancel);
    if done.as_ref().map_or(true, |report| report.ending == RunEnding::Stopped) {
        // What cannot be removed now goes with the next start; the failure is what the user should hear.
        let _ = job.discard_unfinished();
    }
    done.map_err(|error| match error.is_full() {
        true => IngestError::Full {
            sealed: job.sealed_bytes(),
            give_up: give_up.to_owned(),
            source: Box::new(error),
        },
        false => error,
    })
}

fn compute_and_seal(
    job: &mut Job,
    plan: &IngestPlan,
    place: &Path,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport, IngestError> {
    let mut done = IngestReport::default();
    let samples = plan.snapshot.samples(&plan.dataset)?;
    let works = remaining(job, plan, &mut done);
    done.missing = works.iter().map(|work| work.rows().len()).sum();
    done.rows = work::rows_of(&works);
    disk_space::check_work(plan, &works, &samples, place)?;
    let counts = tokens::count(job, plan, &samples, progress, cancel)?;
    // The same rows are asked about stage by stage where rows are chosen.
    if !cancel.is_raised() && (counts.is_new() || plan.chosen().is_none()) {
        counts.notes(plan.request.text.max_length).iter().for_each(|note| progress.note(note));
    }
    let total: u64 = works.iter().map(|work| counts.tokens_of(&work.rows())).sum();
    if done.resumed > 0 {
        progress
            .note(&format!("going on with an interrupted run: {} vectors are sealed already", done.resumed));
    }
    progress.start("ingest", total, Unit::Tokens);
    for (checkpoint, work) in plan.checkpoints.iter().zip(&works) {
        if work.windows.is_empty() {
            continue;
        }
        if cancel.is_raised() {
            done.ending = RunEnding::Stopped;
            break;
        }
        let computers = computers(&plan.request, checkpoint)?;
        let preparer = plan.preparer(&samples, checkpoint.limits, cancel);
        if let Some(warning) = mask_warning::warning(checkpoint, &computers[0], &preparer, &work.rows())? {
            progress.note(&warning);
        }
        let memory = &checkpoint.memory;
        let both = (&preparer, computers.as_slice());
        let (ending, rows) = run::run_checkpoint(job, work, both, &plan.request, memory, progress, cancel)?;
        done.ending = ending;
        done.computed += rows;
        let note = |computer: &FeatureComputer| {
            computer.engine.backoff().note_of(Some("batch_tokens"), computers.len())
        };
        if let Some(note) = computers.iter().find_map(note) {
            progress.note(&note);
        }
        if done.ending == RunEnding::Stopped {
            break;
        }
        done.tokens += counts.tokens_of(&work.rows());
    }
    progress.finish();
    // Stopped while tokens were counted, with no vector to compute: the counts are not complete.
    if cancel.is_raised() && works.iter().all(|work| work.windows.is_empty()) {
        done.ending = RunEnding::Stopped;
    }
    Ok(done)
}

impl IngestPlan {
    /// What makes batches of the samples for passes of the model.
    fn preparer<'a>(
        &'a self,
        samples: &'a SampleReader,
        limits: BatchLimits,
        cancel: &'a Cancel,
    ) -> BatchPreparer<'a> {
        BatchPreparer {
            samples,
            encoder: &self.encoder,
            granularity: self.request.pass(),
            limits,
            chosen: self.chosen(),
            // While a window becomes tokens, the workers have at most the last batches of the one before it.
            threads: self.request.threads,
            cancel,
        }
    }
}

/// The windows that neither the store nor the job has, for each checkpoint.
fn remaining(job: &Job, plan: &IngestPlan, done: &mut IngestReport) -> Vec<CheckpointWork> {
    let mut next = 0;
    let mut works = Vec::with_capacity(plan.checkpoints.len());
    for checkpoint in &plan.checkpoints {
        let numbers: Vec<usize> = (next..next + checkpoint.features.len()).collect();
        next += checkpoint.features.len();
        let present: Vec<RowSet> = checkpoint
            .features
            .iter()
            .zip(&numbers)
            .map(|(feature, number)| {
                let sealed = job.rows_done(*number);
                // Rows that were deleted since may still be among the published ones; they are none of ours.
                done.resumed += sealed.intersection(&plan.rows).difference(&feature.published).len();
                sealed.union(&feature.published)
            })
            .collect();
        let work = CheckpointWork::new(&checkpoint.arg.name, numbers, &plan.rows, &present);
        works.push(CheckpointWork { column: plan.column.clone(), ..work });
    }
    works
}

fn computer(request: &IngestRequest, checkpoint: &CheckpointPlan) -> Result<FeatureComputer, IngestError> {
    let kinds = request.kinds.clone();
    let dims = checkpoint.features.iter().map(|feature| feature.desc.dim() as usize).collect();
    let source = CheckpointSource {
        model: checkpoint.arg.model(&request.model).to_owned(),
        adapter: checkpoint.arg.adapter().map(std::path::Path::to_owned),
        tracked: checkpoint.tracked.clone(),
    };
    let options = EngineOptions {
        loss: request.loss,
        reduction: request.reduction,
        embed_layer: request.embedding.layer,
        embed_unit: request.embedding.unit,
        keep: checkpoint.memory.keep,
    };
    let features = features::features(checkpoint, request)?;
    let engine = with_backend!(
        (request.device, request.compute), LoadError::from,
        backend => Engine::load(&source, backend, options, features)?,
    );
    check_weights_of(&engine, checkpoint)?;
    Ok(FeatureComputer { engine, kinds, dims, granularity: request.granularity })
}

/// One on each device of the request, the first on the first.
fn computers(
    request: &IngestRequest,
    checkpoint: &CheckpointPlan,
) -> Result<Vec<FeatureComputer>, IngestError> {
    let first = computer(request, checkpoint)?;
    let beside = |device: Device| -> Result<FeatureComputer, IngestError> {
        let engine = with_backend!(
            (device, request.compute), LoadError::from,
            backend => first.engine.beside(backend)?,
        );
        check_weights_of(&engine, checkpoint)?;
        let (kinds, dims) = (first.kinds.clone(), first.dims.clone());
        Ok(FeatureComputer { engine, kinds, dims, granularity: first.granularity })
    };
    let others = each(request.beside.iter().copied(), beside)?;
    Ok(std::iter::once(first).chain(others).collect())
}

fn check_weights_of(engine: &Engine, checkpoint: &CheckpointPlan) -> Result<(), IngestError> {
    match *engine.checkpoint_id() == checkpoint.id {
        true => Ok(()),
        false => Err(IngestError::WeightsChanged { checkpoint: checkpoint.arg.name.clone() }),
    }
}
