//! The tokenizer of a run of the store, for commands that name the run in place of a model.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore_data::TextOptions;

use super::folder_of;
use crate::context::Context;
use crate::failure::refuse;

/// Text options with the tokenizer of the run that is named in place of a model, unless they name one.
pub fn with_run(
    context: &Context,
    mut text: TextOptions,
    (named, run): (Option<&String>, Option<&String>),
    model: &Path,
) -> Result<TextOptions> {
    if let (None, None, Some(run)) = (named, &text.tokenizer, run) {
        text.tokenizer = tokenizer_of_run(context, run, model)?;
    }
    Ok(text)
}

/// The folder of the tokenizer with which a run was registered, if that is another one than that of its
/// model: what is computed with another cannot be compared with what is there. It never changes, so that a
/// command which is given again, or in another place, is the same one.
fn tokenizer_of_run(context: &Context, run: &str, model: &Path) -> Result<Option<PathBuf>> {
    let snapshot = context.open()?.snapshot()?;
    let mut checkpoints = snapshot.run(run)?.checkpoints.iter();
    let folder = checkpoints.find_map(|checkpoint| folder_of(checkpoint, "tokenizer"));
    let Some(folder) = folder.filter(|folder| folder != model) else { return Ok(None) };
    let shown = folder.display();
    if !folder.is_dir() {
        refuse!(
            "run {run} was registered with --tokenizer {shown}, and there is no such folder any more: give --tokenizer, \
             with {} for the model's own",
            model.display()
        );
    }
    context.say(&format!(
        "note: the tokenizer is the one that run {run} was registered with, as by --tokenizer {shown}; the model's own is \
         --tokenizer {}",
        model.display()
    ));
    Ok(Some(folder))
}
