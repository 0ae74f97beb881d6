//! The jobs of an ensemble: its hidden states, and its models, by the backend that is asked for.

use std::ops::ControlFlow;
use std::path::PathBuf;

use gstore_core::Cancel;
use gstore_model::with_backend;

use super::ensemble::{Ensemble, EnsembleForecast};
use super::member::Trained;
use super::request::{BaseStates, EnsembleRequest};
use crate::error::TrainError;

/// Hears how an ensemble goes on.
pub trait EnsembleObserver {
    /// Something the user should know, which is no error.
    fn note(&mut self, _message: &str) {}
    /// Models begin; `done` of `total` were there before, and `at_once` are trained at the same time.
    fn begin(&mut self, _done: u64, _total: u64, _at_once: usize) {}
    /// A model is complete or refused.
    fn trained(&mut self, _trained: &Trained) {}
}

/// What is done with models once they are trained or refused; it may end the job.
pub type AfterModels<'a, E> = &'a mut dyn FnMut(&[Trained]) -> Result<ControlFlow<()>, E>;

/// How the job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleOutcome {
    /// Whether all models were looked at that were asked for, or the caller has enough; otherwise it was told
    /// to stop, and the same request goes on.
    pub finished: bool,
    /// Models by number, those that were there before among them.
    pub models: Vec<Trained>,
    /// Identity of the weights that all started from.
    pub start: String,
    /// Rows that models are drawn from.
    pub rows: usize,
    /// Steps of a model.
    pub steps: u64,
}

/// The file of hidden states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedStates {
    /// Where it is.
    pub file: PathBuf,
    /// Texts.
    pub rows: usize,
    /// Their scored tokens.
    pub tokens: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Trains the models that are not there yet, and tells `after` of all, a round at a time in the order of
/// their numbers; it may end the job.
///
/// A model that diverges is refused by name, and the others are kept.
///
/// # Errors
/// A request, model or data that cannot be used, another ensemble in the folder, and what `after` gives.
pub fn train<E: From<TrainError>>(
    request: &EnsembleRequest,
    observer: &mut dyn EnsembleObserver,
    after: AfterModels<'_, E>,
    cancel: &Cancel,
) -> Result<EnsembleOutcome, E> {
    let compute = &request.training.compute;
    compute.device.check(compute.precision).map_err(TrainError::from)?;
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        cpu => Ensemble::load(request, cpu, observer, cancel)?.train(observer, after, cancel),
        backend => Ensemble::load(request, backend, observer, cancel)?.train(observer, after, cancel),
    )
}

/// Makes the file of hidden states that the starting point's logits are rebuilt from, if it is missing.
///
/// # Errors
/// As [`train`], before its first step.
pub fn prepare(
    request: &EnsembleRequest,
    observer: &mut dyn EnsembleObserver,
    cancel: &Cancel,
) -> Result<PreparedStates, TrainError> {
    let request = &EnsembleRequest { states: BaseStates::Stored, ..request.clone() };
    let compute = &request.training.compute;
    compute.device.check(compute.precision)?;
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        cpu => Ensemble::load(request, cpu, observer, cancel)?.prepare(cancel),
        backend => Ensemble::load(request, backend, observer, cancel)?.prepare(cancel),
    )
}

/// Tells what [`train`] would take: reads what it reads, and computes one gradient. Nothing is written.
///
/// # Errors
/// As [`train`], before its first step.
pub fn forecast(
    request: &EnsembleRequest,
    observer: &mut dyn EnsembleObserver,
    cancel: &Cancel,
) -> Result<EnsembleForecast, TrainError> {
    let compute = &request.training.compute;
    compute.device.check(compute.precision)?;
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        cpu => Ensemble::load(request, cpu, observer, cancel)?.forecast(cancel),
        backend => Ensemble::load(request, backend, observer, cancel)?.forecast(cancel),
    )
}
