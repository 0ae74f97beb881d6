//! Inputs of a plan: what a request names, without the store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
    for arg in &request.checkpoints {
        let tracked = TrackedTensors::find(request, &base, arg)?;
        tracked.projection.check()?;
        tracked.moments(request, arg)?;
        // Matrices that differ by checkpoint have the same sizes.
        tracked.measure(request, arg, "")?;
    }
    steps_and_weights(request)?;
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
    encoder.limit_memory(request.max_memory);
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
    let mut kinds = request.kinds.iter().enumerate();
    if let Some((_, kind)) = kinds.find(|(at, kind)| request.kinds[..*at].contains(kind)) {
        return Err(IngestError::RepeatedKind { kind: kind.name() });
    }
    request.device.check(request.compute).map_err(IngestError::Precision)?;
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

/// What is known of a checkpoint's place in its training.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct StepAndWeight {
    pub step: Option<u64>,
    /// The weight that is given, else the mean learning rate of the epoch that ends there.
    pub weight: Option<f64>,
    /// Whether the log has too few rates to tell that mean.
    pub is_guess: bool,
}

/// Steps and weights of the checkpoints, as far as they are given or the folders tell.
pub(super) fn steps_and_weights(request: &IngestRequest) -> Result<Vec<StepAndWeight>, IngestError> {
    let read = |arg: &CheckpointArg| {
        let Some(folder) = arg.folder().map(trainer_folder) else { return Ok(None) };
        Ok::<_, IngestError>(TrainerState::read(&folder)?.map(|state| (folder, state)))
    };
    let trained = request.checkpoints.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // Those of one training are in one folder.
    let beside = |folder: &Path| {
        let of_training = trained.iter().flatten().filter(|(other, _)| other.parent() == folder.parent());
        of_training.map(|(_, state)| state).collect::<Vec<_>>()
    };
    let of = |(at, trained): (usize, &Option<(PathBuf, TrainerState)>)| {
        let given = StepAndWeight { weight: request.weights.get(at).copied(), ..StepAndWeight::default() };
        let Some((folder, state)) = trained else { return Ok(given) };
        let given = StepAndWeight { step: Some(state.global_step), ..given };
        if given.weight.is_some() {
            return Ok(given);
        }
        let found = state.clone().with_longest_log(beside(folder)).weight(folder)?;
        Ok::<_, IngestError>(StepAndWeight {
            weight: found.map(|found| found.mean),
            is_guess: found.is_some_and(|found| found.is_guess),
            ..given
        })
    };
    trained.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use gstore_core::Kind;

    use super::*;

    #[test]
    fn a_kind_is_asked_for_once() {
        let of = |kinds: &[Kind]| {
            check_request(&IngestRequest { kinds: kinds.to_vec(), ..IngestRequest::new("pool", "model") })
        };
        of(&[Kind::GradSgd, Kind::GradAdam]).unwrap();
        let error = of(&[Kind::GradSgd, Kind::Loss, Kind::GradSgd]).unwrap_err();
        assert!(matches!(error, IngestError::RepeatedKind { kind: "grad-sgd" }), "{error}");
        assert!(error.is_usage());
    }

    #[test]
    fn weights_are_one_for_each_checkpoint_and_not_negative() {
        let of = |weights: &[f64]| {
            let names = ["a", "b", "c"];
            let folder = |name: &&str| CheckpointArg::of_folder(*name, PathBuf::from(name));
            check_request(&IngestRequest {
                kinds: vec![Kind::Loss],
                checkpoints: names.iter().map(folder).collect(),
                weights: weights.to_vec(),
                ..IngestRequest::new("pool", "model")
            })
        };
        // The run may have other checkpoints.
        for sound in [&[][..], &[0.0, 0.0, 1e-5], &[1.0, 2.0, 3.0], &[0.0, -0.0, 0.0]] {
            of(sound).unwrap();
        }
        for (refused, says) in [
            (&[1.0, 2.0][..], "2 weights for 3 checkpoints"),
            (&[1.0, -2.0, 0.0], "-2 is not a weight"),
            (&[1.0, f64::NAN, 0.0], "NaN is not a weight"),
        ] {
            let error = of(refused).unwrap_err();
            assert!(error.is_usage() && error.to_string().starts_with(says), "{error}");
        }
    }

    #[test]
    fn a_weight_that_is_given_needs_no_log_of_rates() {
        let folder = tempfile::tempdir().unwrap();
        let of = |folder: &Path, weights: &[f64]| {
            let found = steps_and_weights(&IngestRequest {
                checkpoints: vec![CheckpointArg::of_folder("a", folder.to_owned())],
                weights: weights.to_vec(),
                ..IngestRequest::new("pool", "model")
            })?;
            Ok::<_, IngestError>((found[0].step, found[0].weight))
        };
        assert_eq!(of(folder.path(), &[0.5]).unwrap(), (None, Some(0.5)));
        let state = r#"{"global_step": 4, "log_history": [{"step": 4, "learning_rate": -1e-5}]}"#;
        fs_err::write(folder.path().join("trainer_state.json"), state).unwrap();
        assert_eq!(of(folder.path(), &[0.5]).unwrap(), (Some(4), Some(0.5)));
        assert!(of(folder.path(), &[]).unwrap_err().to_string().contains("step 4 is -1e-5"));
        // PEFT's adapters with names of their own are in subfolders.
        let adapter = folder.path().join("policy");
        fs_err::create_dir(&adapter).unwrap();
        fs_err::write(adapter.join("adapter_config.json"), "{}").unwrap();
        assert_eq!(of(&adapter, &[0.5]).unwrap(), (Some(4), Some(0.5)));
    }

    #[test]
    fn checkpoints_have_the_log_of_the_last_one() {
        let place = tempfile::tempdir().unwrap();
        let checkpoints = [(13, 1), (26, 2), (39, 3)].map(|(last, rates): (i32, i32)| {
            let log = (1..=rates).map(|at| {
                let rate = 1e-3 * f64::from(40 - 10 * at) / 40.0;
                serde_json::json!({"step": 10 * at, "epoch": f64::from(10 * at) / 13.0, "learning_rate": rate})
            });
            let state = serde_json::json!({
                "global_step": last, "epoch": last / 13, "max_steps": 39, "log_history": log.collect::<Vec<_>>()
            });
            let folder = place.path().join(format!("checkpoint-{last}"));
            fs_err::create_dir(&folder).unwrap();
            fs_err::write(folder.join("trainer_state.json"), state.to_string()).unwrap();
            CheckpointArg::of_folder(format!("checkpoint-{last}"), folder)
        });
        let first = |checkpoints: &[CheckpointArg]| {
            let request =
                IngestRequest { checkpoints: checkpoints.to_vec(), ..IngestRequest::new("pool", "model") };
            let found = steps_and_weights(&request).unwrap()[0];
            // A warm-up may be before the first rate.
            assert!(found.is_guess, "{found:?}");
            found.weight.unwrap()
        };
        for (weight, due) in [(first(&checkpoints[..1]), 7.5e-4), (first(&checkpoints), 8.25e-4)] {
            assert!((weight / due - 1.0).abs() < 1e-9, "{weight} instead of {due}");
        }
    }
}
