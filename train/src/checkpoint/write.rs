//! Writer of checkpoint folders.

use std::path::Path;

use gstore_model::Backend;
use gstore_model::weights::{GstoreState, write_tensors, write_torch};

use super::json::write_json;
use super::state::TrainingState;
use super::{Checkpoint, config, digests, folder, state};
use crate::error::TrainError;
use crate::parameters::Parameters;
use crate::request::{TrainMethod, TrainRequest};
use crate::trainer::Trainer;

/// Writes `checkpoint-N` for the steps that were taken.
pub(crate) fn write<B: Backend + Clone>(
    request: &TrainRequest,
    trainer: &Trainer<B>,
    training: &TrainingState,
) -> Result<Checkpoint, TrainError> {
    let (output, name) = (&request.output, format!("checkpoint-{}", training.step));
    folder::write_folder(output, &name, |folder| fill(folder, request, trainer, training))?;
    Ok(Checkpoint { step: training.step, folder: output.join(name) })
}

fn fill<B: Backend + Clone>(
    folder: &Path,
    request: &TrainRequest,
    trainer: &Trainer<B>,
    training: &TrainingState,
) -> Result<(), TrainError> {
    fill_weights(folder, request, &trainer.parameters)?;
    let parameters = &trainer.parameters;
    let (optimizer, trained) = (&trainer.optimizer, parameters.trained());
    let (stored, step) = (state::states_in_file_order(optimizer, trained), [optimizer.steps() as f32]);
    let object = state::optimizer(optimizer, trained, &stored, &step, &training.schedule);
    write_torch(&folder.join("optimizer.pt"), "optimizer", &object)?;
    let scheduler = state::scheduler(&training.schedule, training.step);
    write_torch(&folder.join("scheduler.pt"), "scheduler", &scheduler)?;
    write_json(&folder.join(GstoreState::FILE), &training.gstore_state(&digests::digests(folder)?))?;
    write_json(&folder.join("trainer_state.json"), &training.trainer_state())
}

/// Writes the folder `name` of `output` with the weights and their configuration alone: what is computed
/// with, and not gone on from.
pub(crate) fn write_weights<B: Backend + Clone>(
    output: &Path,
    name: &str,
    request: &TrainRequest,
    parameters: &Parameters<B>,
) -> Result<(), TrainError> {
    folder::write_folder(output, name, |folder| fill_weights(folder, request, parameters))
}

fn fill_weights<B: Backend + Clone>(
    folder: &Path,
    request: &TrainRequest,
    parameters: &Parameters<B>,
) -> Result<(), TrainError> {
    match &request.method {
        TrainMethod::Lora(choice) => {
            let config =
                config::adapter(choice, request.steps.dropout.lora, &request.model, parameters.decoder())?;
            write_json(&folder.join("adapter_config.json"), &config)?;
            weights(&folder.join("adapter_model.safetensors"), parameters, "base_model.model.")?;
        }
        TrainMethod::Adapter(from) => {
            config::copy_adapter(from, request.steps.dropout.lora, folder)?;
            weights(&folder.join("adapter_model.safetensors"), parameters, "base_model.model.")?;
        }
        TrainMethod::Full | TrainMethod::FromScratch => {
            config::copy_model_files(&request.model, request.tokenizer(), folder)?;
            weights(&folder.join("model.safetensors"), parameters, "")?;
        }
    }
    Ok(())
}

/// The values of the parameters under their names behind `prefix`.
fn weights<B: Backend + Clone>(
    path: &Path,
    parameters: &Parameters<B>,
    prefix: &str,
) -> Result<(), TrainError> {
    let values = parameters.store().places().zip(parameters.trained());
    let tensors = values.map(|((spec, range), trained)| {
        let values = &parameters.store().values()[range];
        (format!("{prefix}{}", spec.name), trained.stored_shape(), trained.stored(values))
    });
    Ok(write_tensors(path, tensors)?)
}
