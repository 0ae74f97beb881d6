//! The tokenizer of a run of the store, for an ingest that names the run alone.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_core::CheckpointId;
use gstore_store::{RunPart, Snapshot};

use super::folder_of;
use crate::context::Context;
use crate::failure::UsageError;

/// The folder of the tokenizer with which a run was used so far, if that is another one than that of its model:
/// what is computed with another cannot be compared with what is there.
pub fn of_run(context: &Context, run: &str, model: &Path) -> Result<Option<PathBuf>> {
    let snapshot = context.open()?.snapshot()?;
    let Some(folder) = noted(&snapshot, snapshot.run(run)?).filter(|folder| folder != model) else {
        return Ok(None);
    };
    let shown = folder.display();
    if !folder.is_dir() {
        bail!(UsageError(format!(
            "run {run} was used with --tokenizer {shown}, and there is no such folder any more: give --tokenizer, \
             with {} for the model's own",
            model.display()
        )));
    }
    context.say(&format!(
        "note: the tokenizer is that of earlier commands on run {run}, as with --tokenizer {shown}; the model's own is \
         --tokenizer {}",
        model.display()
    ));
    Ok(Some(folder))
}

/// The one that all features of the run have; where they have several, or there are none, that with which its
/// checkpoints were registered.
fn noted(snapshot: &Snapshot, run: &RunPart) -> Option<PathBuf> {
    let ids: Vec<&CheckpointId> = run.checkpoints.iter().map(|checkpoint| &checkpoint.checkpoint).collect();
    let own = snapshot.features().iter().filter(|part| {
        let checkpoint = part.desc.checkpoint.as_ref();
        part.desc.ensemble.is_none() && checkpoint.is_some_and(|id| ids.contains(&id))
    });
    let mut used = own.map(|part| part.attrs.provenance.get("tokenizer").and_then(|value| value.as_str()));
    match used.next() {
        Some(first) if used.all(|other| other == first) => first.map(PathBuf::from),
        _ => run.checkpoints.iter().find_map(|checkpoint| folder_of(checkpoint, "tokenizer")),
    }
}
