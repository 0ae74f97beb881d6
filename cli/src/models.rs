//! The models and folders that flags name.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Error, Result, anyhow};
use gstore::{FolderError, Folders, Models};
use gstore_ingest::pipeline::CheckpointArg;
use gstore_query::influence::Encoder;

use crate::args::ModelArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::progress::Reporter;

/// The models for samples that a question gives, with progress on standard error.
pub fn encoder(context: &Context, args: &ModelArgs) -> Result<Arc<dyn Encoder>> {
    let quiet = context.quiet;
    Ok(models(context, args)?.reporting(move || Reporter::new(quiet)).shared())
}

/// The same without a word of its progress.
#[cfg(feature = "serve")]
pub fn quiet_encoder(context: &Context, args: &ModelArgs) -> Result<Arc<dyn Encoder>> {
    Ok(models(context, args)?.shared())
}

fn models(context: &Context, args: &ModelArgs) -> Result<Models> {
    let (model, checkpoints) = (args.model.as_deref(), &args.checkpoint_folders);
    Models::new(model, checkpoints, args.backend, context.threads, &mut context.reporter())
        .map_err(|error| folder_error("--checkpoint-folders", error))
}

/// The folders of a model, and of the checkpoints that a flag names.
pub fn folders_of(
    folders: &mut Folders<'_>,
    model: &str,
    (flag, checkpoints): (&str, &[String]),
) -> Result<(PathBuf, Vec<CheckpointArg>)> {
    let model = folders.model(model).map_err(|error| folder_error("--model", error))?;
    let found = folders.checkpoints(checkpoints).map_err(|error| folder_error(flag, error))?;
    Ok((model, found))
}

/// A failure of finding folders, with the flag that named them where that is to be changed. An argument
/// without a flag is named by what it says.
pub fn folder_error(flag: &str, error: FolderError) -> Error {
    match error {
        // As a file that is not there.
        FolderError::NoMatch(text) if flag.starts_with('-') => anyhow!("no folder matches {flag} {text}"),
        FolderError::Pattern { pattern, source } => UsageError(format!("{flag} {pattern}: {source}")).into(),
        error @ FolderError::OneName { .. } => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}
