//! Runs an ingest: samples -> tokens -> batches -> model -> features -> projection -> segments.
//!
//! One thread prepares batches, workers run the model, the calling thread writes. Every batch is computed by one worker alone
//! and written in row order, so the result does not depend on the number of workers. Windows are sealed one after the other:
//! what is sealed is never computed again.
//!
//! Memory: the weights, for each worker one batch of activations and gradients, at most [`ahead`] finished batches that wait
//! for their turn, and one window of tokens with the text that is being read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use gstore_store::{Job, RowSet, SegmentWriter};

use super::compute::{Computed, Computer};
use super::order::{Gate, Reorder};
use super::prepare::{Prepared, Preparer};
use super::work::{CheckpointWork, WindowWork};
use super::{IngestError, Progress};

/// Finished batches that may wait for a slow one.
pub(super) fn ahead(threads: usize) -> u64 {
    4 * threads as u64 + 4
}

/// A batch on its way to a worker.
struct Task {
    sequence: u64,
    window: usize,
    last_of_window: bool,
    /// Tokens of the rows that are missing: what progress counts.
    tokens: u64,
    batch: Prepared,
}

/// A batch on its way to the writer.
struct Done {
    window: usize,
    last_of_window: bool,
    tokens: u64,
    rows: Vec<Computed>,
}

/// How a checkpoint's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// Every window is sealed.
    #[default]
    Finished,
    /// The user stopped it; sealed windows are kept.
    Stopped,
}

/// Computes and seals every missing window of one checkpoint.
///
/// # Errors
/// The first failure of any thread; windows sealed before it stay.
pub fn run_checkpoint(
    job: &mut Job,
    work: &CheckpointWork,
    preparer: &Preparer<'_>,
    computer: &Computer,
    threads: usize,
    progress: &mut dyn Progress,
    cancel: &AtomicBool,
) -> Result<Ending, IngestError> {
    let threads = threads.max(1);
    // The gate lets at most `ahead` batches in, so neither channel is ever full and no thread can hang in a send.
    let ahead = ahead(threads);
    let gate = Gate::new(ahead);
    let (to_workers, tasks) = sync_channel::<Task>(ahead as usize);
    let tasks = Mutex::new(tasks);
    let (to_writer, finished) = sync_channel::<(u64, Result<Done, IngestError>)>(ahead as usize + 1);
    std::thread::scope(|scope| {
        let producer_out = to_writer.clone();
        let gate = &gate;
        scope.spawn(move || produce(work, preparer, gate, &to_workers, &producer_out, cancel));
        for _ in 0..threads {
            let (tasks, out) = (&tasks, to_writer.clone());
            scope.spawn(move || compute(tasks, &out, computer, gate));
        }
        drop(to_writer);
        let result = write(job, work, gate, &finished, progress, cancel);
        // Whatever still waits for its turn, or to hand a batch on, is sent home.
        gate.close();
        drop(finished);
        result
    })
}

/// Prepares the batches of every missing window, in order.
fn produce(
    work: &CheckpointWork,
    preparer: &Preparer<'_>,
    gate: &Gate,
    out: &SyncSender<Task>,
    failed: &SyncSender<(u64, Result<Done, IngestError>)>,
    cancel: &AtomicBool,
) {
    let mut sequence = 0;
    for (window, needed) in work.windows.iter().enumerate() {
        let mut batches = match preparer.window(needed) {
            Ok(batches) => batches.peekable(),
            Err(error) => {
                // The writer may be gone already, which needs no second report.
                let _ = failed.send((sequence, Err(error)));
                return;
            }
        };
        while let Some(batch) = batches.next() {
            if cancel.load(Ordering::Relaxed) || !gate.enter(sequence) {
                return;
            }
            let wanted = batch.rows.iter().filter(|row| needed.is_missing(row.row) && row.is_first());
            let tokens = wanted.map(|row| row.encoded.ids.len() as u64).sum();
            let task = Task { sequence, window, last_of_window: batches.peek().is_none(), tokens, batch };
            if out.send(task).is_err() {
                return;
            }
            sequence += 1;
        }
    }
}

/// A worker: computes batches until there are none.
fn compute(
    tasks: &Mutex<Receiver<Task>>,
    out: &SyncSender<(u64, Result<Done, IngestError>)>,
    computer: &Computer,
    gate: &Gate,
) {
    let _guard = CloseOnPanic(gate);
    loop {
        let task = match tasks.lock().unwrap_or_else(PoisonError::into_inner).recv() {
            Ok(task) => task,
            Err(_) => return,
        };
        let done = computer.compute(&task.batch).map(|rows| Done {
            window: task.window,
            last_of_window: task.last_of_window,
            tokens: task.tokens,
            rows,
        });
        if out.send((task.sequence, done)).is_err() {
            return;
        }
    }
}

/// Closes the gate if its thread panics: the batch that is lost would otherwise be waited for without end.
struct CloseOnPanic<'a>(&'a Gate);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

/// Writes finished batches in order and seals each window after its last.
fn write(
    job: &mut Job,
    work: &CheckpointWork,
    gate: &Gate,
    finished: &Receiver<(u64, Result<Done, IngestError>)>,
    progress: &mut dyn Progress,
    cancel: &AtomicBool,
) -> Result<Ending, IngestError> {
    let mut reorder = Reorder::default();
    let mut open: Option<OpenWindow> = None;
    let mut sealed = 0;
    for (sequence, done) in finished {
        reorder.put(sequence, done?);
        while let Some(done) = reorder.take() {
            if cancel.load(Ordering::Relaxed) {
                return Ok(Ending::Stopped);
            }
            let window = match &mut open {
                Some(window) => window,
                None => open.insert(OpenWindow::begin(job, work, &work.windows[done.window])?),
            };
            for computed in &done.rows {
                window.push(computed)?;
            }
            progress.advance(done.tokens);
            gate.advance(reorder.done());
            if done.last_of_window {
                if let Some(window) = open.take() {
                    window.seal(job)?;
                }
                sealed += 1;
            }
        }
    }
    if sealed == work.windows.len() { Ok(Ending::Finished) } else { Ok(Ending::Stopped) }
}

/// The segments of the window that is being written, one for each feature that lacks it.
struct OpenWindow {
    writers: Vec<FeatureWindow>,
}

struct FeatureWindow {
    /// Number of the feature in the job.
    feature: usize,
    /// Place of the feature's vector among those of a row.
    vector: usize,
    /// Rows that the feature lacks.
    rows: RowSet,
    writer: SegmentWriter,
}

impl OpenWindow {
    fn begin(job: &mut Job, work: &CheckpointWork, window: &WindowWork) -> Result<Self, IngestError> {
        let mut writers = Vec::new();
        for (vector, feature) in work.features.iter().enumerate() {
            let rows = window.missing_of(vector);
            if !rows.is_empty() {
                let writer = job.segment_writer(*feature)?;
                writers.push(FeatureWindow { feature: *feature, vector, rows: rows.clone(), writer });
            }
        }
        Ok(Self { writers })
    }

    fn push(&mut self, computed: &Computed) -> Result<(), IngestError> {
        let Computed { row, pos, flags, vectors } = computed;
        for window in &mut self.writers {
            if window.rows.contains(*row) {
                let vector = vectors.get(window.vector);
                let flags = flags.union(vectors.flags(window.vector));
                match pos {
                    Some(pos) => window.writer.push_token((*row, *pos), vector, flags)?,
                    None => window.writer.push(*row, vector, flags)?,
                }
            }
        }
        Ok(())
    }

    fn seal(self, job: &mut Job) -> Result<(), IngestError> {
        for window in self.writers {
            job.seal(window.feature, window.writer)?;
        }
        Ok(())
    }
}
