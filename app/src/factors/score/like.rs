//! Requests that follow stored factors: their model, checkpoints and text options.

use std::path::PathBuf;

use gstore_core::Remedy;
use gstore_curvature::Filter;
use gstore_data::TextOptions;
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest};
use gstore_model::ComputePrecision;
use gstore_store::{ArtifactPart, Snapshot};
use serde_json::{Map, Value};

use super::request::ScoreSegment;
use crate::factors::begun::AVERAGED;
use crate::factors::engine::Fisher;
use crate::factors::error::FactorJobError;
use crate::factors::publish::read_content;

/// What factors say of their fit.
#[derive(Debug, Clone)]
pub struct LikeFactors {
    /// The request of a pool's tokens at the checkpoint that they are of: model, weights, tokenizer and text
    /// options as they were fitted with. What is not known of them is as it is by default.
    pub ingest: IngestRequest,
    /// Whether they say how texts became tokens: those of other programs do not.
    pub states_encoding: bool,
    /// Whose labels the loss had.
    pub labels: Fisher,
}

/// Reads what factors say of their fit.
///
/// # Errors
/// No factors of this name, and factors that do not say where their model is, where none is `given`.
pub fn like_factors(
    snapshot: &Snapshot,
    name: &str,
    given: Option<(PathBuf, Vec<CheckpointArg>)>,
) -> Result<LikeFactors, FactorJobError> {
    let part = snapshot.artifact(name)?;
    let stamp = read_content(&part)?.stamp;
    let noted = |key: &str| part.provenance.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let (model, checkpoints) = match given {
        Some(given) => given,
        None => {
            let model = noted("model").ok_or_else(|| {
                let model = Remedy::Option("model", "");
                FactorJobError::Option(format!(
                    "factors `{name}` do not say where their model is: name it with {model}"
                ))
            })?;
            (model.into(), vec![noted_checkpoint(&part.provenance)])
        }
    };
    let text = stamp.encoding.as_ref().and_then(TextOptions::of_spec).unwrap_or_default();
    let patterns = stamp.modules.iter().map(|module| module.name.clone()).collect();
    let ingest = IngestRequest {
        checkpoints,
        modules: ModuleSelection { patterns, biases: false },
        text: TextOptions { tokenizer: noted("tokenizer").map(PathBuf::from), ..text },
        compute: ComputePrecision::parse(&stamp.compute).unwrap_or_default(),
        ..IngestRequest::new("", model)
    };
    let labels = match stamp.fisher == Fisher::Empirical.name() {
        true => Fisher::Empirical,
        false => Fisher::True { seed: stamp.seed.unwrap_or(0) },
    };
    Ok(LikeFactors { ingest, states_encoding: stamp.encoding.is_some(), labels })
}

/// A segment: its factors and filter, and the checkpoints of its rows; without any, those at which the
/// factors were fitted. `model` is that of the checkpoints, if not that of the fit, and itself the checkpoint
/// where the factors do not say at which they were fitted.
///
/// # Errors
/// No factors of this name, and factors that do not say where their model is, where none is given.
pub fn like_segment(
    snapshot: &Snapshot,
    (factors, filter): (&str, Filter),
    model: Option<PathBuf>,
    checkpoints: Vec<CheckpointArg>,
) -> Result<ScoreSegment, FactorJobError> {
    let part = snapshot.artifact(factors)?;
    let is_noted = part.provenance.contains_key("model");
    let given = match (model.clone(), checkpoints.is_empty()) {
        (Some(model), false) => Some((model, checkpoints.clone())),
        (Some(model), true) if !is_noted => Some((model, vec![CheckpointArg::base()])),
        _ => None,
    };
    // Queries are measured at the last one, which the factors are said to be of.
    let mut all = if given.is_none() { further_checkpoints(&part) } else { Vec::new() };
    let like = like_factors(snapshot, factors, given)?.ingest;
    all.extend(like.checkpoints);
    Ok(ScoreSegment {
        factors: factors.to_owned(),
        filter,
        model: model.unwrap_or(like.model),
        checkpoints: if checkpoints.is_empty() { all } else { checkpoints },
    })
}

/// Further checkpoints over which the sums of factors are.
fn further_checkpoints(part: &ArtifactPart) -> Vec<CheckpointArg> {
    let noted = part.provenance.get(AVERAGED).and_then(Value::as_array);
    let of = |noted: &Value| noted.as_object().map_or_else(CheckpointArg::base, noted_checkpoint);
    noted.into_iter().flatten().map(of).collect()
}

/// A checkpoint as a fit notes it.
fn noted_checkpoint(noted: &Map<String, Value>) -> CheckpointArg {
    let text = |key: &str| noted.get(key).and_then(Value::as_str);
    match text("weights") {
        Some(folder) => CheckpointArg::of_folder(text("checkpoint").unwrap_or_default(), folder.into()),
        None => CheckpointArg::base(),
    }
}
