//! Folder of an unfinished fit: created, resumed, or refused where it belongs to another fit.

use std::path::Path;

use gstore_ingest::pipeline::IngestRequest;
use serde_json::{Map, Value, json};

use super::engine::Fisher;
use super::error::FactorJobError;
use super::folder::{DatasetNote, FactorArguments, FactorFolder, FactorStage};
use super::request::FitRequest;
use super::stamp::FactorStamp;
use crate::folders::stored_folder;

/// What notes call further checkpoints, over which sums are.
pub(super) const AVERAGED: &str = "averaged";

/// Opens the folder of factors that were begun, or begins one.
pub(super) fn begin(
    path: &Path,
    request: &FitRequest,
    stamp: &FactorStamp,
) -> Result<FactorFolder, FactorJobError> {
    stamp.settle(path)?;
    let begun = FactorFolder::create(path, &arguments(request));
    let begun = begun.map_err(|error| FactorJobError::of_begun(path, error))?;
    let folder = FactorFolder { has_digests: true, ..begun };
    let size = stamp.row_set().len();
    let note = DatasetNote { kind: "Dataset".to_owned(), dataset_size: size, indices: None };
    for stage in [FactorStage::Covariance, FactorStage::Lambda] {
        folder.write_dataset(stage, &note)?;
    }
    Ok(folder)
}

/// As Kronfluence names them. Sums and bases are kept in f64: what is rounded could not be gone on with.
fn arguments(request: &FitRequest) -> FactorArguments {
    let [data, modules] = request.partitions;
    let stages = [FactorStage::Covariance, FactorStage::Lambda];
    let begun = FactorArguments::new(request.strategy).empirical_fisher(request.fisher == Fisher::Empirical);
    let of_stage = |arguments: FactorArguments, stage| {
        arguments.max_examples(stage, request.ingest.limit).partitions(stage, (data, modules))
    };
    stages.into_iter().fold(begun, of_stage).in_f64()
}

/// Where the model of a request is, for people and for those who score with its factors.
pub(super) fn places(request: &IngestRequest) -> Map<String, Value> {
    let place = |path: &Path| json!(stored_folder(path));
    let mut map = Map::new();
    map.insert("model".to_owned(), place(&request.model));
    if let Some(checkpoint) = request.checkpoints.first() {
        map.insert("checkpoint".to_owned(), json!(checkpoint.name));
        if let Some(folder) = checkpoint.folder() {
            map.insert("weights".to_owned(), place(folder));
        }
    }
    let further = request.checkpoints.iter().skip(1).map(
        |checkpoint| json!({ "checkpoint": checkpoint.name, "weights": checkpoint.folder().map(place) }),
    );
    let further: Vec<Value> = further.collect();
    if !further.is_empty() {
        map.insert(AVERAGED.to_owned(), json!(further));
    }
    if let Some(tokenizer) = &request.text.tokenizer {
        map.insert("tokenizer".to_owned(), place(tokenizer));
    }
    map
}
