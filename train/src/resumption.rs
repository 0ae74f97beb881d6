//! The checkpoint from which a training resumes.

use std::path::Path;

use gstore_core::Remedy;

use crate::checkpoint::{check_json, is_adapter, is_empty, last_checkpoint, trainer_state};
use crate::error::TrainError;
use crate::request::TrainMethod;

/// The weights that a training goes on with: an adapter keeps its configuration.
pub(crate) fn resumed_method(from: &Path, asked: &TrainMethod) -> Result<TrainMethod, TrainError> {
    steps_of(from)?;
    let full = Remedy::Option("full", "");
    match (is_adapter(from), asked) {
        (true, TrainMethod::Full) => Err(TrainError::checkpoint(
            from,
            format!(
                "it is an adapter, and all weights are to be trained: go on from it without {full}, or merge it and begin \
                 with the model that this gives"
            ),
        )),
        (true, _) => Ok(TrainMethod::Adapter(from.to_owned())),
        (false, TrainMethod::Lora(_) | TrainMethod::Adapter(_)) => Err(TrainError::checkpoint(
            from,
            format!(
                "it has all weights, and an adapter is to be trained: give {full} to go on with all weights, or begin with \
                 it as the model"
            ),
        )),
        (false, _) => Ok(TrainMethod::Full),
    }
}

/// The steps that a checkpoint has taken; an error if it leaves a training of `total` steps nothing to do.
pub(crate) fn check_steps_left(from: &Path, total: u64) -> Result<u64, TrainError> {
    let steps = steps_of(from)?;
    if steps < total {
        return Ok(steps);
    }
    let what =
        format!("it has taken {steps} steps, and this training has {total}: ask for more steps or epochs");
    Err(TrainError::checkpoint(from, what))
}

pub(crate) fn steps_of(from: &Path) -> Result<u64, TrainError> {
    check_json(from)?;
    if let Some(state) = trainer_state(from)? {
        return Ok(state.global_step);
    }
    let what = match (from.is_dir(), last_checkpoint(from)) {
        (true, Ok(Some(last))) => {
            format!("it is not a checkpoint, but has some in it: name one, such as {}", last.folder.display())
        }
        (true, _) => {
            let output = match from.parent() {
                // The parent of a single name is an empty path.
                Some(parent) if parent == Path::new("") => Some(Path::new(".")),
                parent => parent,
            };
            let beside = output.and_then(|output| last_checkpoint(output).ok()?);
            let name = beside.map_or_else(
                || "name a folder checkpoint-N that a training wrote".to_owned(),
                |last| format!("the last one next to it is {}", last.folder.display()),
            );
            match is_empty(from) {
                true => format!("it is empty, and not a checkpoint: {name}"),
                false => format!("it is not a checkpoint: it has no trainer_state.json; {name}"),
            }
        }
        (false, _) => "there is no such folder".to_owned(),
    };
    Err(TrainError::checkpoint(from, what))
}
