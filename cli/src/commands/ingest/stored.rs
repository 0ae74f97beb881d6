//! Model and checkpoints of a run of the store.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_ingest::pipeline::{CheckpointArg, CheckpointWeights, check_weights};
use gstore_model::weights::BaseDigests;
use gstore_store::RunCheckpoint;

use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::wording::shell_word;

/// Model and checkpoints of a run of the store, by where they were when it was registered: those of these names
/// or steps, or all if none is given.
pub(in super::super) fn model_of_run(
    context: &Context,
    run: &str,
    names: &[String],
) -> Result<(PathBuf, Vec<CheckpointArg>)> {
    let snapshot = context.open()?.snapshot()?;
    let part = snapshot.run(run)?;
    let mut models = part.checkpoints.iter().filter_map(|checkpoint| folder_of(checkpoint, "model"));
    let model = models.next().ok_or_else(|| {
        UsageError(format!("run {run} of the store does not say where its model is: give --model"))
    })?;
    if names.is_empty() {
        return Ok((model, part.checkpoints.iter().map(checkpoint_of).collect()));
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let Some(known) = part.checkpoint_or_step(name) else {
            let known: Vec<&str> = part.checkpoints.iter().map(|known| known.name.as_str()).collect();
            refuse!(
                "run {run} has no checkpoint {name}; it has {}; for a folder give --model DIR",
                known.join(", ")
            );
        };
        found.push(checkpoint_of(known));
    }
    Ok((model, found))
}

/// An error if checkpoints of a run have other weights than it was registered with. An ingest plans with
/// them, which looks at that itself.
pub(in super::super) fn check_run(
    context: &Context,
    run: &str,
    (model, checkpoints): (&Path, &[CheckpointArg]),
) -> Result<()> {
    check_folders(run, (model, checkpoints))?;
    let snapshot = context.open()?.snapshot()?;
    let (bases, reporter) = (&mut BaseDigests::default(), &mut context.reporter());
    check_weights(&snapshot, run, (model, checkpoints), bases, reporter)?;
    Ok(())
}

/// An error if folders with which a run was registered are gone.
pub(super) fn check_folders(run: &str, (model, checkpoints): (&Path, &[CheckpointArg])) -> Result<()> {
    let own = || checkpoints.iter().filter_map(CheckpointArg::folder);
    let Some(gone) = std::iter::once(model).chain(own()).find(|folder| !folder.is_dir()) else {
        return Ok(());
    };
    let also = if own().next().is_some() { " --checkpoints 'DIR/*'" } else { "" };
    bail!(
        "run `{run}` was registered with {}, which no longer exists; an ingest with `--run {} --model DIR{also}` \
         registers where its folders are now",
        gone.display(),
        shell_word(run)
    )
}

fn checkpoint_of(checkpoint: &RunCheckpoint) -> CheckpointArg {
    let weights = match (folder_of(checkpoint, "adapter"), folder_of(checkpoint, "weights")) {
        (Some(adapter), _) => CheckpointWeights::Adapter(adapter),
        (None, Some(weights)) => CheckpointWeights::Model(weights),
        (None, None) => CheckpointWeights::Base,
    };
    CheckpointArg { name: checkpoint.name.clone(), weights }
}

/// A folder that a checkpoint's provenance names.
pub(in super::super) fn folder_of(checkpoint: &RunCheckpoint, key: &str) -> Option<PathBuf> {
    checkpoint.provenance.get(key).and_then(|value| value.as_str()).map(PathBuf::from)
}
