//! The jobs of an ensemble: its hidden states, and its models, by the backend that is asked for.

use gstore_core::Cancel;
use gstore_model::with_backend;

use super::ensemble::{Ensemble, EnsembleForecast, EnsembleWork};
use super::outcome::{EnsembleObserver, EnsembleOutcome, ModelsCallback, PreparedStates};
use super::request::{BaseStates, EnsembleRequest};
use crate::error::TrainError;

/// Trains the models that are not there yet, and tells `after` of all, a round at a time in the order of
/// their numbers; it may end the job.
///
/// A model that diverges is refused by name, and the others are kept.
///
/// # Errors
/// A request, model or data that cannot be used, another ensemble in the folder, a model that another process
/// is training or removing there, and what `after` gives.
pub fn train<E: From<TrainError>>(
    request: &EnsembleRequest,
    observer: &mut dyn EnsembleObserver,
    after: ModelsCallback<'_, E>,
    cancel: &Cancel,
) -> Result<EnsembleOutcome, E> {
    let compute = &request.training.compute;
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        backend => Ensemble::load(request, EnsembleWork::Models, backend, observer, cancel)?
            .train(observer, after, cancel),
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
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        backend => Ensemble::load(request, EnsembleWork::States, backend, observer, cancel)?.prepare(cancel),
    )
}

/// Tells what [`train`] would take: reads what it reads, and computes one gradient. Nothing is written.
/// Where the machine has not the memory for one model, it says so and computes no gradient.
///
/// # Errors
/// As [`train`], before its first step.
pub fn forecast(
    request: &EnsembleRequest,
    observer: &mut dyn EnsembleObserver,
    cancel: &Cancel,
) -> Result<EnsembleForecast, TrainError> {
    let compute = &request.training.compute;
    with_backend!(
        (compute.device, compute.precision), TrainError::from,
        backend => Ensemble::load(request, EnsembleWork::Forecast, backend, observer, cancel)?.forecast(cancel),
    )
}
