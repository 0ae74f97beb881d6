//! Files of JSON of a checkpoint, and what to do where one is damaged.

use std::io::Write;
use std::path::Path;

use gstore_core::python_json;
use gstore_model::weights::GstoreState;
use serde_json::Value;

use super::checkpoints;
use crate::error::TrainError;

/// Writes JSON and flushes it.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), TrainError> {
    let mut file = fs_err::File::create(path)?;
    file.write_all(&json_text(value)?)?;
    Ok(file.sync_all()?)
}

pub(super) fn json_text(value: &Value) -> Result<Vec<u8>, TrainError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(std::io::Error::from)?;
    text.push(b'\n');
    Ok(text)
}

pub(super) fn read_json(folder: &Path, name: &str) -> Result<Value, TrainError> {
    let bytes = fs_err::read(folder.join(name))?;
    python_json(&bytes).map_err(|error| damaged_file_error(folder, name, &error.to_string()))
}

pub(super) fn read_gstore_state(folder: &Path) -> Result<Option<Value>, TrainError> {
    if folder.join(GstoreState::FILE).is_file() {
        read_json(folder, GstoreState::FILE).map(Some)
    } else {
        Ok(None)
    }
}

/// The error of a file of a checkpoint that is damaged, with what to do about it.
pub(super) fn damaged_file_error(folder: &Path, name: &str, why: &str) -> TrainError {
    TrainError::checkpoint(folder, format!("{name} is damaged: {why}\n  {}", recovery_hint(folder)))
}

/// What to do about a checkpoint that is damaged.
pub(super) fn recovery_hint(folder: &Path) -> String {
    let begin = || "no checkpoint is before it: move this folder away and begin again".to_owned();
    earlier_checkpoint_hint(folder).unwrap_or_else(begin)
}

/// What to do about a checkpoint that cannot be gone on from, if its training has one before it.
pub(super) fn earlier_checkpoint_hint(folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let all = checkpoints(folder.parent()?).ok()?;
    let own = all.iter().position(|checkpoint| checkpoint.folder == folder)?;
    let before = all[..own].last()?.folder.display();
    Some(format!("move this folder away and go on from {before}, the one before it"))
}
