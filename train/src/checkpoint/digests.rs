//! Digests of what a training goes on from: a changed bit of a weight or a moment is a number like any other, which
//! nothing else notices.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_core::Digest;
use serde_json::Value;

use super::checkpoints;
use super::read::own_state;
use crate::error::TrainError;

/// The files, as far as a checkpoint has them.
const FILES: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "optimizer.pt"];

/// The digests of a checkpoint that was just written, by the names of the files.
pub(super) fn digests(folder: &Path) -> Result<BTreeMap<&'static str, Digest>, TrainError> {
    let there = FILES.into_iter().map(|name| (name, folder.join(name))).filter(|(_, path)| path.is_file());
    there.map(|(name, path)| Ok((name, digest(&path)?))).collect()
}

/// An error if a file of a checkpoint is not the one that was written. One of another program, or of an earlier
/// version, says no digests and is taken as it is; a file that is gone is told where it is opened.
pub(super) fn check_files(folder: &Path) -> Result<(), TrainError> {
    let own = own_state(folder)?;
    let files = own.as_ref().and_then(|own| own.get("files"));
    for name in FILES {
        let path = folder.join(name);
        let said = files.and_then(|files| files.get(name)).and_then(Value::as_str);
        let Some(said) = said.filter(|_| path.is_file()) else { continue };
        let found = digest(&path)?.to_string();
        if found != said {
            let why = format!("its digest is {found}, gstore_state.json says {said}");
            return Err(damaged(folder, name, &why));
        }
    }
    Ok(())
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

fn digest(path: &Path) -> Result<Digest, TrainError> {
    Ok(Digest::of_read(fs_err::File::open(path)?)?)
}
