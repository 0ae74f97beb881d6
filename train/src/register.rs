//! Registration of a training's checkpoints as a run of the store, where an ingest finds them.

use std::path::{Path, PathBuf};

use gstore_model::weights::{Adapter, ModelFolder, TrainerState, checkpoint_id};
use gstore_store::{JobPlan, RunCheckpoint, RunUpdate, Store};
use serde_json::{Map, Value, json};

use crate::checkpoint::{Checkpoint, is_adapter};
use crate::error::TrainError;

/// Registers the checkpoints of a training as a run of the store. `base` names the base model, `model` is its
/// folder, `tokenizer` that of a tokenizer in place of its own.
///
/// # Errors
/// A checkpoint that cannot be read, and a run of this name that means other weights.
pub fn register(
    store: &Store,
    name: &str,
    (base, model, tokenizer): (&str, &Path, Option<&Path>),
    checkpoints: &[Checkpoint],
    command: &str,
) -> Result<(), TrainError> {
    // A run that names checkpoints of two trainings would be read as one of both.
    if let Ok(known) = store.snapshot()?.run(name)
        && let Some(other) = known.checkpoints.iter().find(|known| !is_among(checkpoints, &known.name))
    {
        return Err(TrainError::OtherRun { run: name.to_owned(), checkpoint: other.name.clone() });
    }
    let base_model = match checkpoints.iter().any(|checkpoint| is_adapter(&checkpoint.folder)) {
        true => Some(ModelFolder::open(model)?),
        false => None,
    };
    let base = (base, model, base_model.as_ref());
    let registered = checkpoints.iter().map(|checkpoint| {
        let mut described = run_checkpoint(checkpoint, base)?;
        if let Some(tokenizer) = tokenizer {
            described.provenance.insert("tokenizer".to_owned(), weights_location(tokenizer));
        }
        Ok::<_, TrainError>(described)
    });
    let update = RunUpdate {
        name: name.to_owned(),
        checkpoints: registered.collect::<Result<_, _>>()?,
        replace_weights: false,
    };
    let plan = JobPlan {
        command: command.to_owned(),
        identity: json!({ "run": name }),
        detail: json!({ "checkpoints": checkpoints.len() }),
        features: Vec::new(),
    };
    store.start_job(plan)?.publish(Some(update), false)?;
    Ok(())
}

fn is_among(checkpoints: &[Checkpoint], name: &str) -> bool {
    checkpoints.iter().any(|checkpoint| checkpoint_name(checkpoint) == name)
}

/// The name of a checkpoint in its run: that of its folder.
fn checkpoint_name(checkpoint: &Checkpoint) -> String {
    let name = checkpoint.folder.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| format!("checkpoint-{}", checkpoint.step))
}

/// A checkpoint of a base model: its name, its folder, and the model itself where checkpoints are adapters.
fn run_checkpoint(
    checkpoint: &Checkpoint,
    (base, model, base_model): (&str, &Path, Option<&ModelFolder>),
) -> Result<RunCheckpoint, TrainError> {
    let folder = &checkpoint.folder;
    let adapted = base_model.filter(|_| is_adapter(folder));
    let id = match adapted {
        Some(base) => checkpoint_id(base, Some(&Adapter::open(folder)?))?,
        None => checkpoint_id(&ModelFolder::open(folder)?, None)?,
    };
    let weight = match TrainerState::read(folder)? {
        Some(state) => state.weight(folder)?.map(|rate| rate.mean),
        None => None,
    };
    let mut provenance: Map<String, Value> = Map::new();
    provenance.insert("model".to_owned(), weights_location(model));
    provenance
        .insert(if adapted.is_some() { "adapter" } else { "weights" }.to_owned(), weights_location(folder));
    Ok(RunCheckpoint {
        name: checkpoint_name(checkpoint),
        step: Some(checkpoint.step),
        weight,
        checkpoint: id,
        base: base.to_owned(),
        provenance,
        extra: Map::new(),
    })
}

/// A later search for the weights may start in another folder.
fn weights_location(folder: &Path) -> Value {
    json!(std::path::absolute(folder).unwrap_or_else(|_| PathBuf::from(folder)))
}
