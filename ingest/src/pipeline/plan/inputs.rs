//! Inputs of a plan: what a request names, without the store.

use std::collections::BTreeSet;

use gstore_store::Granularity;

use super::super::IngestError;
use super::super::devices;
use super::super::request::{CheckpointArg, CheckpointWeights, IngestRequest};
use super::super::tracked::TrackedTensors;
use gstore_data::TextEncoder;
use gstore_model::weights::{ModelFolder, TrainerState, trainer_folder};

/// Reads everything that a request names but the weights' bytes and the store: what would stop the ingest
/// shows before samples are registered.
///
/// # Errors
/// A model, tokenizer, adapter, optimizer state or projection that cannot be used; a name of two checkpoints.
pub fn check_inputs(request: &IngestRequest) -> Result<(), IngestError> {
    check_request(request)?;
    let base = ModelFolder::open(&request.model)?;
    encoder(request)?.check_vocabulary(base.decoder().vocab_size)?;
    for (at, arg) in request.checkpoints.iter().enumerate() {
        let tracked = TrackedTensors::find(request, &base, arg)?;
        tracked.projection.check()?;
        tracked.moments(request, arg)?;
        // Matrices that differ by checkpoint have the same sizes.
        tracked.measure(request, arg, "")?;
        if let Some(folder) = arg.folder() {
            step_and_weight(folder, request.weights.get(at).copied())?;
        }
    }
    refuse_same_names(&request.checkpoints)
}

/// Checkpoints are told apart by their names.
pub(super) fn refuse_same_names(checkpoints: &[CheckpointArg]) -> Result<(), IngestError> {
    let mut names = BTreeSet::new();
    match checkpoints.iter().find(|arg| !names.insert(&arg.name)) {
        Some(arg) => Err(IngestError::CheckpointNamedTwice { name: arg.name.clone() }),
        None => Ok(()),
    }
}

/// The base's tokenizer and template, which all checkpoints share.
pub(in super::super) fn encoder(request: &IngestRequest) -> Result<TextEncoder, IngestError> {
    let mut encoder = request.text.encoder(&request.model)?;
    for arg in &request.checkpoints {
        if let CheckpointWeights::Model(folder) = &arg.weights {
            encoder.share_with(folder).map_err(|source| IngestError::OtherTokens {
                checkpoint: arg.name.clone(),
                folder: folder.clone(),
                base: request.model.clone(),
                source,
            })?;
        }
    }
    Ok(encoder)
}

pub(super) fn check_request(request: &IngestRequest) -> Result<(), IngestError> {
    if request.kinds.is_empty() {
        return Err(IngestError::NoKinds);
    }
    request.device.check(request.compute).map_err(gstore_model::LoadError::from)?;
    devices::check_devices(request)?;
    if let Some(kind) = request.kinds.iter().find(|kind| kind.is_embedding())
        && request.granularity == Granularity::Token
    {
        return Err(IngestError::EmbeddingPerToken { kind: kind.name() });
    }
    if !request.weights.is_empty() && request.weights.len() != request.checkpoints.len() {
        return Err(IngestError::WeightCount {
            weights: request.weights.len(),
            checkpoints: request.checkpoints.len(),
        });
    }
    if let Some(weight) = request.weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
        return Err(IngestError::BadWeight { weight: *weight });
    }
    Ok(())
}

/// Step, and the weight that is given, else the mean learning rate of the epoch that ends there, if the
/// folder tells.
pub(super) fn step_and_weight(
    folder: &std::path::Path,
    given: Option<f64>,
) -> Result<(Option<u64>, Option<f64>), IngestError> {
    let folder = trainer_folder(folder);
    let Some(state) = TrainerState::read(&folder)? else { return Ok((None, given)) };
    let weight = if given.is_some() { given } else { state.weight(&folder)? };
    Ok((Some(state.global_step), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_is_given_needs_no_log_of_rates() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(step_and_weight(folder.path(), Some(0.5)).unwrap(), (None, Some(0.5)));
        let state = r#"{"global_step": 4, "log_history": [{"step": 4, "learning_rate": -1e-5}]}"#;
        fs_err::write(folder.path().join("trainer_state.json"), state).unwrap();
        assert_eq!(step_and_weight(folder.path(), Some(0.5)).unwrap(), (Some(4), Some(0.5)));
        assert!(step_and_weight(folder.path(), None).unwrap_err().to_string().contains("step 4 is -1e-5"));
        // PEFT's adapters with names of their own are in subfolders.
        let adapter = folder.path().join("policy");
        fs_err::create_dir(&adapter).unwrap();
        fs_err::write(adapter.join("adapter_config.json"), "{}").unwrap();
        assert_eq!(step_and_weight(&adapter, Some(0.5)).unwrap(), (Some(4), Some(0.5)));
    }
}
