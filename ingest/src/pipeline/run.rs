//! The run of an ingest: samples -> tokens -> batches -> model -> features -> projection -> segments.
//!
//! One thread prepares batches, workers run the model, the calling thread writes. Every batch is computed by
//! one worker alone and written in row order, so the result does not depend on the number of workers, nor on
//! the devices that these are on. Windows are sealed one after the other, and what is there of a window every
//! few minutes and when the run is stopped: what is sealed is never computed again. How often that happens
//! changes files and no value.
//!
//! Memory: the weights, for each worker one batch of activations and gradients, the finished batches that
//! wait for their turn, fewer than [`MemoryPlan::ahead`], and one window of tokens with the text that is
//! being read.

use std::ops::ControlFlow;
use std::time::Instant;

use gstore_core::Cancel;
use gstore_core::parallel::{self, Give};
use gstore_model::weights::NOT_NUMBERS;
use gstore_store::{Granularity, Job, RowSet, SegmentWriter};

use super::column::LossOffsets;
use super::compute::{ComputedRow, FeatureComputer};
use super::memory::MemoryPlan;
use super::prepare::{BatchPreparer, TokenBatch};
use super::request::IngestRequest;
use super::work::{CheckpointWork, WindowWork};
use super::{IngestError, Progress};
use crate::gradient::EngineError;

/// A batch on its way: what is to be computed, or the rows that were.
struct BatchTask<T> {
    window: usize,
    last_of_window: bool,
    /// Tokens of the rows that are missing, as far as they are done with it: what progress counts.
    tokens: u64,
    batch: T,
}

/// How a checkpoint's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunEnding {
    /// Every window is sealed.
    #[default]
    Finished,
    /// The user stopped it; sealed windows are kept.
    Stopped,
}

/// Computes and seals every missing window of one checkpoint: by workers that are divided among the
/// computers, of which there is at least one. Returns how many rows were sealed, too.
///
/// # Errors
/// The first failure in the order of the batches; what was sealed before it stays.
pub fn run_checkpoint(
    job: &mut Job,
    work: &CheckpointWork,
    (preparer, computers): (&BatchPreparer<'_>, &[FeatureComputer]),
    request: &IngestRequest,
    memory: &MemoryPlan,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<(RunEnding, u64), IngestError> {
    let compute = |worker: usize, task: BatchTask<TokenBatch>| -> Result<_, IngestError> {
        let BatchTask { window, last_of_window, tokens, batch } = task;
        let batch = match computers[worker % computers.len()].compute(&batch, cancel) {
            // Nothing is written once it is raised.
            Err(IngestError::Engine(EngineError::Cancelled(_))) => Vec::new(),
            computed => computed?,
        };
        Ok(BatchTask { window, last_of_window, tokens, batch })
    };
    let mut open: Option<OpenWindow> = None;
    let (mut windows, mut rows) = (0, 0);
    let write = |done: BatchTask<Vec<ComputedRow>>| -> Result<ControlFlow<()>, IngestError> {
        if cancel.is_raised() {
            return Ok(ControlFlow::Break(()));
        }
        // A row's tokens may lie in two batches, and are never in two segments.
        let next = done.batch.first().map(|computed| computed.row);
        if let Some(window) = open.take_if(|window| {
            window.begun.elapsed() >= request.seal_after && window.last.is_some() && window.last != next
        }) {
            rows += window.seal(job)?;
        }
        let window = match &mut open {
            Some(window) => window,
            None => open.insert(OpenWindow::begin(work, &work.windows[done.window])?),
        };
        for computed in &done.batch {
            if window.push(job, computed)?
                && let Some(unsound) = computed.unsound
            {
                return Err(of_sample(preparer, request, (work, computed.row), unsound));
            }
        }
        progress.advance(done.tokens);
        if done.last_of_window {
            if let Some(window) = open.take() {
                rows += window.seal(job)?;
            }
            windows += 1;
        }
        Ok(ControlFlow::Continue(()))
    };
    let prepare = |give: Give<'_, BatchTask<TokenBatch>>| produce(work, preparer, give, cancel);
    let ran = parallel::pipeline(memory.threads, memory.ahead, prepare, compute, write);
    ran.map_err(|error| with_model(error, computers))?;
    if windows == work.windows.len() {
        return Ok((RunEnding::Finished, rows));
    }
    if let Some(mut window) = open {
        // Of a row with a vector for each token, the last ones may be missing.
        if request.granularity == Granularity::Token {
            window.take_back_last();
        }
        rows += window.seal(job)?;
    }
    Ok((RunEnding::Stopped, rows))
}

/// The error of a model whose output for a row is no number.
fn of_sample(
    preparer: &BatchPreparer<'_>,
    request: &IngestRequest,
    (work, row): (&CheckpointWork, u64),
    (what, value): (&'static str, f32),
) -> IngestError {
    let (dataset, checkpoint) = (request.dataset.clone(), work.checkpoint.clone());
    match preparer.id_of(row) {
        Ok(id) => {
            let model = NOT_NUMBERS.to_owned();
            IngestError::Unsound { dataset, row, id, checkpoint, what, value, model }
        }
        Err(error) => error,
    }
}

/// An error of values that are no numbers, with the table of the model that has some.
fn with_model(mut error: IngestError, computers: &[FeatureComputer]) -> IngestError {
    if let IngestError::Unsound { model, .. } | IngestError::Diverged { model, .. } = &mut error
        && let Some(computer) = computers.first()
    {
        *model = computer.engine.unsound_model();
    }
    error
}

/// Prepares the batches of every missing window, in order.
fn produce(
    work: &CheckpointWork,
    preparer: &BatchPreparer<'_>,
    give: Give<'_, BatchTask<TokenBatch>>,
    cancel: &Cancel,
) -> Result<(), IngestError> {
    for (window, needed) in work.windows.iter().enumerate() {
        let mut batches = preparer.window(needed)?.peekable();
        while let Some(batch) = batches.next() {
            let wanted = batch.rows.iter().filter(|row| needed.is_missing(row.row));
            let tokens = wanted.map(|row| row.tokens_done()).sum();
            let task = BatchTask { window, last_of_window: batches.peek().is_none(), tokens, batch };
            if cancel.is_raised() || !give(task) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The segments of the window that is being written, one for each feature that lacks some of it.
struct OpenWindow {
    writers: Vec<FeatureWindow>,
    begun: Instant,
    /// The last row that was written.
    last: Option<u64>,
    /// Rows that were written.
    rows: u64,
}

struct FeatureWindow {
    /// Number of the feature in the job.
    feature: usize,
    /// Place of the feature's vector among those of a row.
    vector: usize,
    /// Rows that the feature lacks.
    rows: RowSet,
    /// Begun with the first row: a segment has at least one.
    writer: Option<SegmentWriter>,
    /// What the losses of its rows are relative to, where it is a column of an ensemble.
    offsets: Option<LossOffsets>,
}

impl OpenWindow {
    fn begin(work: &CheckpointWork, window: &WindowWork) -> Result<Self, IngestError> {
        let mut writers = Vec::new();
        for (vector, feature) in work.features.iter().enumerate() {
            let rows = window.missing_of(vector);
            if !rows.is_empty() {
                let offsets = work.column.as_ref().map(|column| column.offsets(window.cell_rows()));
                let (rows, offsets) = (rows.clone(), offsets.transpose()?);
                writers.push(FeatureWindow { feature: *feature, vector, rows, writer: None, offsets });
            }
        }
        Ok(Self { writers, begun: Instant::now(), last: None, rows: 0 })
    }

    /// Writes the vectors of a row, or of a token of it, where they are missing; says whether some were.
    fn push(&mut self, job: &mut Job, computed: &ComputedRow) -> Result<bool, IngestError> {
        let ComputedRow { row, pos, flags, vectors, .. } = computed;
        let mut wanted = false;
        for window in &mut self.writers {
            if window.rows.contains(*row) {
                wanted = true;
                let vector = vectors.get(window.vector);
                let flags = flags.union(vectors.flags(window.vector));
                let writer = match &mut window.writer {
                    Some(writer) => writer,
                    None => window.writer.insert(job.segment_writer(window.feature)?),
                };
                let delta = match (&window.offsets, vector) {
                    (Some(offsets), [loss]) => Some([offsets.delta(*row, *loss, flags)?]),
                    _ => None,
                };
                let vector = delta.as_ref().map_or(vector, |delta| delta.as_slice());
                match pos {
                    Some(pos) => writer.push_token((*row, *pos), vector, flags)?,
                    None => writer.push(*row, vector, flags)?,
                }
            }
        }
        if wanted && self.last != Some(*row) {
            (self.last, self.rows) = (Some(*row), self.rows + 1);
        }
        Ok(wanted)
    }

    /// Takes back the vectors of the last row.
    fn take_back_last(&mut self) {
        let Some(row) = self.last.take() else { return };
        self.rows -= 1;
        for writer in self.writers.iter_mut().filter_map(|window| window.writer.as_mut()) {
            writer.take_back(row);
        }
    }

    /// Seals what was written; returns how many rows that are.
    fn seal(self, job: &mut Job) -> Result<u64, IngestError> {
        for window in self.writers {
            if let Some(writer) = window.writer.filter(|writer| writer.rows() > 0) {
                job.seal(window.feature, writer)?;
            }
        }
        Ok(self.rows)
    }
}
