//! Training jobs: start, steps, and checkpoints.

mod checks;

use gstore_core::parallel::with_workers;
use gstore_core::{Cancel, CheckpointId};
use gstore_model::{Backend, MultiDevice, with_backend};
use serde_json::Value;

use crate::checkpoint::{
    Checkpoint, EvaluationLoss, FolderLock, LogLine, ResumedTraining, TrainingState, check_writable,
    checkpoints, last_checkpoint, remove_all, write,
};
use crate::error::TrainError;
use crate::memory::TrainedModels;
use crate::observer::TrainObserver;
use crate::prepare::PreparedTraining;
use crate::request::TrainRequest;
use crate::sample::Sample;
use crate::schedule::Schedule;
use crate::start::{OutputFolder, check_output, identity, start, take_output_folder};
use crate::trainer::{Trainer, TrainerOptions};

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// Whether every step was taken; otherwise it was told to stop, and the same command goes on.
    pub finished: bool,
    /// Steps taken, those of earlier runs of the command among them.
    pub steps: u64,
    /// Of these, those that were taken before: all, where it was finished already.
    pub before: u64,
    /// Steps in all.
    pub total: u64,
    /// Samples that it trains on.
    pub samples: usize,
    /// Values that it trains.
    pub parameters: usize,
    /// The last entry of the log.
    pub last: Option<LogLine>,
    /// Losses of the samples that no step is taken on.
    pub evaluations: Vec<EvaluationLoss>,
    /// Its checkpoints, by step.
    pub checkpoints: Vec<Checkpoint>,
}

/// Trains, or goes on where the same request was stopped.
///
/// # Errors
/// A request, model or data that cannot be used; another training in the output folder; a loss that is no
/// number any more. What was saved stays.
pub fn run(
    request: &TrainRequest,
    observer: &mut dyn TrainObserver,
    cancel: &Cancel,
) -> Result<TrainOutcome, TrainError> {
    let device = request.compute.device;
    // Threads of the CPU backend keep the memory of their activations from step to step. Candle has threads
    // of its own.
    with_backend!(
        (device, request.compute.precision), TrainError::from,
        cpu => {
            let job = Job::new(request, cpu, observer, cancel)?;
            with_workers(job.prepared.request.compute.threads, || job.run())?
        },
        backend => Job::new(request, backend, observer, cancel)?.run(),
    )
}

/// A training that is about to take steps.
struct Job<'a, B: Backend> {
    prepared: PreparedTraining,
    /// Of the output folder; none where no step is left.
    _lock: Option<FolderLock>,
    observer: &'a mut dyn TrainObserver,
    cancel: &'a Cancel,
    schedule: Schedule,
    identity: Value,
    /// The model that it began with.
    base: Option<CheckpointId>,
    trainer: Trainer<B>,
    log: Vec<LogLine>,
    evaluations: Vec<EvaluationLoss>,
    /// Losses since the last entry of the log.
    pending: Vec<f64>,
    /// Whether it was said that the gradient is zero.
    said_zero: bool,
    /// The step with which it was said that the loss rose.
    said_rise: Option<u64>,
}

impl<'a, B: MultiDevice> Job<'a, B> {
    fn new(
        request: &TrainRequest,
        backend: B,
        observer: &'a mut dyn TrainObserver,
        cancel: &'a Cancel,
    ) -> Result<Job<'a, B>, TrainError> {
        // Before data is read: one may not be there.
        let others = request.compute.others(&backend)?;
        let prepared =
            PreparedTraining::new(request, TrainedModels::One, &mut |said| observer.note(said), cancel)?;
        prepared.check_memory()?;
        let PreparedTraining { request, base, decoder, samples, held_out, steps, .. } = &prepared;
        let (identity, begun_with) = identity(request, base.as_ref(), (samples, held_out), steps)?;
        let total = steps.total();
        // What cannot be begun with leaves no folder behind.
        let first = match request.output.exists() {
            true => None,
            false => {
                check_output(request, &identity, total)?;
                Some(start(request, false, base.as_ref(), decoder, backend.clone())?)
            }
        };
        let OutputFolder { lock, overwrites } = take_output_folder(request, &identity, total)?;
        let start = match (first, last_checkpoint(&request.output)?) {
            (Some(first), None) => first,
            // Where another training has written meanwhile, weights are not in memory twice.
            (first, _) => {
                drop(first);
                start(request, overwrites, base.as_ref(), decoder, backend)?
            }
        };
        let ResumedTraining { parameters, optimizer, log, evaluations, pending, settings } = start;
        let parameters = parameters.beside(base.as_ref(), others)?;
        // Not before: what is refused until here leaves the former training as it was.
        if overwrites {
            check_writable(&request.output)?;
            remove_all(&request.output)?;
        }
        if let Some(note) = settings.and_then(|settings| settings.note(&request.steps)) {
            observer.note(&note);
        }
        Ok(Job {
            schedule: request.schedule(total),
            trainer: Trainer::new(parameters, optimizer, TrainerOptions::of(request)),
            prepared,
            _lock: lock,
            observer,
            cancel,
            identity,
            base: begun_with,
            log,
            evaluations,
            pending,
            said_zero: false,
            said_rise: None,
        })
    }

    fn run(mut self) -> Result<TrainOutcome, TrainError> {
        let (begun, total) = (self.trainer.optimizer.steps(), self.prepared.steps.total());
        let (mut taken, mut saved) = (begun, begun);
        if taken < total {
            check_writable(&self.prepared.request.output)?;
        }
        self.observer.begin(taken, total);
        while taken < total && !self.cancel.is_raised() {
            match self.step(taken) {
                Ok(()) => {}
                Err(TrainError::Stopped(_)) => break,
                Err(error) if saved == taken => {
                    let error = self.without_unsound(error, taken)?;
                    return Err(self.with_last(error));
                }
                Err(error) => return Err(self.with_last(error)),
            }
            if saved == taken {
                self.remove_replaced(taken)?;
            }
            taken += 1;
            if let Err(error) = self.evaluate(taken) {
                return Err(self.with_last(error));
            }
            if self.prepared.steps.is_due(self.prepared.request.saving.every, taken) {
                self.save(taken, false).map_err(|error| self.with_last(error))?;
                saved = taken;
            }
        }
        if saved < taken {
            self.save(taken, true).map_err(|error| self.with_last(error))?;
        } else if taken == total && begun < total {
            self.remove_replaced(taken)?;
        }
        self.warn_of_lasting_rise();
        if let Some(note) = self.trainer.parameters.backoff.note(Some("batch_tokens")) {
            self.observer.note(&note);
        }
        Ok(TrainOutcome {
            finished: taken >= total,
            steps: taken,
            before: begun,
            total,
            samples: self.prepared.samples.len(),
            parameters: self.trainer.parameters.store().values().len(),
            last: self.log.last().copied(),
            evaluations: self.evaluations,
            checkpoints: checkpoints(&self.prepared.request.output)?,
        })
    }

    /// Step `taken`, counted from 0.
    fn step(&mut self, taken: u64) -> Result<(), TrainError> {
        let batch = self.prepared.batch(taken);
        let samples = &self.prepared.samples;
        let batch: Vec<Vec<&Sample>> =
            batch.iter().map(|micro| micro.iter().filter_map(|i| samples.get(*i)).collect()).collect();
        let report = self.trainer.step(&batch, self.schedule.rate(taken), self.cancel)?;
        let step = taken + 1;
        self.warn_of_zero(step, report.grad_norm);
        self.pending.push(report.loss);
        if step.is_multiple_of(self.prepared.request.saving.log_every) || step == self.prepared.steps.total()
        {
            let loss = self.pending.iter().sum::<f64>() / self.pending.len() as f64;
            self.pending.clear();
            self.log.push(LogLine {
                step,
                epoch: self.prepared.steps.epoch(step),
                loss,
                grad_norm: report.grad_norm,
                learning_rate: report.learning_rate,
            });
            self.warn_of_loss();
        }
        self.observer.step(step, &report);
        Ok(())
    }

    /// Computes the loss of the samples that no step is taken on, if it is due after `taken` steps. Ctrl-C
    /// waits for it: a checkpoint has the evaluations of all its steps.
    fn evaluate(&mut self, taken: u64) -> Result<(), TrainError> {
        let PreparedTraining { request, held_out, steps, .. } = &self.prepared;
        let Some(evaluation) = &request.evaluation else { return Ok(()) };
        if !steps.is_due(evaluation.every, taken) {
            return Ok(());
        }
        let Some(loss) = self.trainer.evaluate(held_out, &Cancel::new())? else { return Ok(()) };
        if !loss.is_finite() {
            let what = "the loss of the held-out samples";
            return Err(TrainError::not_finite_after(taken, what, loss));
        }
        let line = EvaluationLoss { step: taken, epoch: steps.epoch(taken), loss };
        self.evaluations.push(line);
        self.observer.evaluated(&line);
        Ok(())
    }

    /// Writes a checkpoint; one in between, which only keeps what was done when the training was told to
    /// stop, goes with the next.
    fn save(&mut self, taken: u64, interim: bool) -> Result<(), TrainError> {
        self.check_values(taken)?;
        // Ctrl-C does not wait for samples to be computed: the step after it finds what is not finite.
        if !interim {
            self.check_samples(taken, taken == self.prepared.steps.total())?;
        }
        let PreparedTraining { request, steps, .. } = &self.prepared;
        let training = TrainingState {
            step: taken,
            epoch: steps.epoch(taken),
            epochs: steps.epoch(steps.total()),
            micro: request.batching.micro,
            save_every: request.saving.every,
            log_every: request.saving.log_every,
            log: self.log.clone(),
            evaluations: self.evaluations.clone(),
            pending: self.pending.clone(),
            schedule: self.schedule,
            // The rates of steps before a resumption from another training are known from its log only.
            mean_rate: (request.saving.resume_from.is_none())
                .then(|| self.schedule.mean(steps.epoch_start(taken), taken)),
            identity: self.identity.clone(),
            base: self.base.clone(),
            interim,
        };
        let checkpoint = write(request, &self.trainer, &training)?;
        self.observer.saved(&checkpoint);
        Ok(())
    }
}
