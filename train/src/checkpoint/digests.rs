//! Digests of what a training goes on from: a changed bit of a weight or a moment is a number like any other, which
//! nothing else notices.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_core::Digest;
use gstore_model::weights::OwnState;

use super::checkpoints;
use crate::error::TrainError;

/// The files, as far as a checkpoint has them.
const FILES: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "optimizer.pt"];

/// The digests of a checkpoint that was just written, by the names of the files.
pub(super) fn digests(folder: &Path) -> Result<BTreeMap<&'static str, Digest>, TrainError> {
    let there = FILES.into_iter().map(|name| (name, folder.join(name))).filter(|(_, path)| path.is_file());
    there.map(|(name, path)| Ok((name, Digest::of_read(fs_err::File::open(path)?)?))).collect()
}

/// An error if a file of a checkpoint is not the one that was written. One of another program says no digests and is
/// taken as it is.
pub(super) fn check_files(folder: &Path) -> Result<(), TrainError> {
    let Some(own) = OwnState::read(folder)? else { return Ok(()) };
    match own.damaged(&FILES)? {
        None => Ok(()),
        Some(file) => {
            let what = format!("{file}\n  {}", way_out(folder));
            Err(TrainError::Checkpoint { folder: folder.to_owned(), what })
        }
    }
}

/// The error of a file of a checkpoint that is damaged, with what to do about it.
pub(super) fn damaged(folder: &Path, name: &str, why: &str) -> TrainError {
    let what = format!("{name} is damaged: {why}\n  {}", way_out(folder));
    TrainError::Checkpoint { folder: folder.to_owned(), what }
}

/// What to do about a checkpoint that is damaged.
fn way_out(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let all = folder.parent().and_then(|output| checkpoints(output).ok()).unwrap_or_default();
    match all.iter().take_while(|checkpoint| checkpoint.folder != folder).last() {
        Some(before) if all.iter().any(|checkpoint| checkpoint.folder == folder) => {
            format!("move this folder away and go on from {}, the one before it", before.folder.display())
        }
        _ => "no checkpoint is before it: move this folder away and begin again".to_owned(),
    }
}
