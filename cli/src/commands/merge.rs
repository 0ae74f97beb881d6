//! `gstore merge`: a LoRA adapter and its base as one model folder.

use std::process::ExitCode;

use anyhow::Result;
use gstore::Folders;

use crate::args::MergeArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::models::folder_error;

/// Finds the folders, and writes the model.
pub fn run(context: &Context, args: &MergeArgs) -> Result<ExitCode> {
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let given = std::slice::from_ref(&args.adapter);
    let found = folders.checkpoints(given).map_err(|error| folder_error("ADAPTER", error))?;
    let [only] = &found[..] else {
        return Err(UsageError("ADAPTER names several folders; one is merged".to_owned()).into());
    };
    let Some(adapter) = only.adapter() else {
        return Err(
            UsageError(format!("{} is a whole model: there is nothing to merge", args.adapter)).into()
        );
    };
    let base = match &args.model {
        Some(model) => model.clone(),
        None => gstore_train::base_of(adapter)?,
    };
    let base = folders.model(&base).map_err(|error| folder_error("--model", error))?;
    gstore_train::merge(&base, adapter, &args.output)?;
    context.say(&format!(
        "{}: the weights of {} with {}",
        args.output.display(),
        base.display(),
        adapter.display()
    ));
    Ok(ExitCode::SUCCESS)
}
