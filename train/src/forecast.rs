//! Forecast of a training: steps, tokens, time, memory and disk, without taking a step.

use std::time::Instant;

use gstore_core::Cancel;
use gstore_core::parallel::with_workers;
use gstore_model::gradients::HostFactors;
use gstore_model::weights::Adapter;
use gstore_model::{MultiDevice, with_backend};

use crate::checkpoint::{CheckpointsAtOnce, ResumedTraining, check_files, last_checkpoint};
use crate::error::TrainError;
use crate::memory::TrainedModels;
use crate::observer::TrainObserver;
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::prepare::{PreparedTraining, TrainedSizes};
use crate::request::{TrainMethod, TrainRequest};
use crate::resumption::steps_of;
use crate::sample::Sample;
use crate::start::{check_output, identity, start};
use crate::trainer::{Trainer, TrainerOptions};

/// What a training will take.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Samples that it trains on.
    pub samples: usize,
    /// Sequences that they are packed into; none: they are not.
    pub sequences: Option<usize>,
    /// Tokens of an epoch.
    pub tokens: u64,
    /// Of these, scored ones.
    pub scored: u64,
    /// Steps of an epoch.
    pub steps_of_epoch: u64,
    /// Steps in all.
    pub steps: u64,
    /// Steps that are taken already.
    pub taken: u64,
    /// Values that are trained.
    pub parameters: u64,
    /// Checkpoints that will be there at its end.
    pub checkpoints: u64,
    /// Bytes of all that are there at once, about, and not less.
    pub disk: u64,
    /// Bytes of memory at the peak, about.
    pub memory: u64,
    /// Threads, and whether layers are computed twice: what the memory is for.
    pub threads: usize,
    /// Whether layers are computed twice rather than kept.
    pub recomputes: bool,
    /// Seconds of the steps that are left, by the time that a gradient took here; none where memory for it is
    /// lacking.
    pub seconds: Option<f64>,
}

/// Reads what a training reads, computes the gradient of some samples, and tells what all of it will take.
/// Nothing is written. Where the machine has not the memory, it says so and computes no gradient.
///
/// # Errors
/// As [`crate::run`], before its first step.
pub fn forecast(
    request: &TrainRequest,
    observer: &mut dyn TrainObserver,
    cancel: &Cancel,
) -> Result<Forecast, TrainError> {
    let (device, precision) = (request.compute.device, request.compute.precision);
    request.compute.check()?;
    let prepared =
        PreparedTraining::new(request, TrainedModels::One, &mut |said| observer.note(said), cancel)?;
    let fits = prepared.check_memory();
    if let Err(lack) = &fits {
        observer.note(&lack.to_string());
    }
    let fits = fits.is_ok();
    // On threads as a training has them.
    with_backend!(
        (device, precision), TrainError::from,
        cpu => {
            let threads = prepared.request.compute.threads;
            with_workers(threads, || measure(prepared, cpu, fits, observer, cancel))?
        },
        backend => measure(prepared, backend, fits, observer, cancel),
    )
}

/// Reads what a training reads but the values of its model, and computes nothing. Nothing is written, and
/// what its output folder has is not looked at.
///
/// # Errors
/// As [`crate::run`], before its first step.
pub fn check(request: &TrainRequest, cancel: &Cancel) -> Result<(), TrainError> {
    request.compute.check()?;
    let prepared = PreparedTraining::new(request, TrainedModels::One, &mut |_| (), cancel)?;
    prepared.check_memory()?;
    let PreparedTraining { request, base, samples, held_out, steps, .. } = &prepared;
    identity(request, base.as_ref(), (samples, held_out), steps)?;
    if let (TrainMethod::Adapter(folder), Some(base)) = (&request.method, base) {
        HostFactors::read(&Adapter::open(folder)?, base)?;
    }
    Ok(())
}

fn measure<B: MultiDevice>(
    prepared: PreparedTraining,
    backend: B,
    fits: bool,
    observer: &mut dyn TrainObserver,
    cancel: &Cancel,
) -> Result<Forecast, TrainError> {
    let TrainedSizes { values, tensors, .. } = prepared.trained()?;
    let PreparedTraining { request, base, decoder, samples, held_out, sequences, steps, memory, .. } =
        prepared;
    let (identity, _) = identity(&request, base.as_ref(), (&samples, &held_out), &steps)?;
    let overwrites = check_output(&request, &identity, steps.total())?;
    // Nothing of this training is there where it is overwritten.
    let last = last_checkpoint(&request.output)?.filter(|_| !overwrites);
    let taken = match (&last, &request.saving.resume_from) {
        (Some(last), _) => last.step,
        (None, Some(from)) => steps_of(from)?,
        (None, None) => 0,
    };
    let of_token = match fits {
        true => {
            let others = request.compute.others(&backend)?;
            let ResumedTraining { parameters, settings, .. } =
                start(&request, overwrites, base.as_ref(), &decoder, backend)?;
            if let Some(note) = settings.and_then(|settings| settings.note(&request.steps)) {
                observer.note(&note);
            }
            let parameters = parameters.beside(base.as_ref(), others)?;
            Some(seconds_of_token(&request, parameters, &samples, cancel)?)
        }
        false => {
            // As far as that takes no memory.
            last.iter().try_for_each(|last| check_files(&last.folder))?;
            None
        }
    };
    let tokens = |samples: &[Sample]| samples.iter().map(|sample| sample.ids.len() as u64).sum::<u64>();
    let (per_epoch, total) = (steps.per_epoch(), steps.total());
    let of_epoch = tokens(&samples);
    let every = request.saving.every.unwrap_or(per_epoch);
    let checkpoints = total.div_ceil(every).min(request.saving.limit.map_or(u64::MAX, |limit| limit as u64));
    // One more than is kept is there until the next step is found to be finite.
    let at_once = checkpoints + u64::from(total.div_ceil(every) > checkpoints);
    let at_once = CheckpointsAtOnce { count: at_once, every, total, per_epoch };
    Ok(Forecast {
        samples: samples.len(),
        sequences: sequences.map(|sequences| sequences.len()),
        tokens: of_epoch,
        scored: samples.iter().map(|sample| sample.scored_tokens() as u64).sum(),
        steps_of_epoch: per_epoch,
        steps: total,
        taken,
        parameters: values,
        checkpoints,
        disk: at_once.bytes(&request, (values, tensors)),
        memory: memory.peak(),
        threads: memory.threads,
        recomputes: memory.keep == gstore_model::SavedActivations::Inputs,
        seconds: of_token.map(|of_token| {
            of_token * of_epoch as f64 * total.saturating_sub(taken) as f64 / per_epoch.max(1) as f64
        }),
    })
}

/// Seconds that the gradient takes for each token of some samples.
fn seconds_of_token<B: MultiDevice>(
    request: &TrainRequest,
    parameters: Parameters<B>,
    samples: &[Sample],
    cancel: &Cancel,
) -> Result<f64, TrainError> {
    let optimizer = Optimizer::new(request.steps.optimizer, parameters.trained().len());
    let trainer = Trainer::new(parameters, optimizer, TrainerOptions::of(request));
    let wanted = request.compute.piece_tokens.saturating_mul(request.compute.threads) as u64;
    let mut some = Vec::new();
    let mut measured = 0;
    for sample in samples {
        if measured >= wanted {
            break;
        }
        measured += sample.ids.len() as u64;
        some.push(sample);
    }
    let begun = Instant::now();
    trainer.gradient(&[some], cancel)?;
    Ok(begun.elapsed().as_secs_f64() / measured.max(1) as f64)
}
