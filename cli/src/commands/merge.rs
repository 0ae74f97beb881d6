//! `gstore merge`: a LoRA adapter and its base as one model folder.

use anyhow::{Result, anyhow};
use gstore::Folders;
use gstore_model::weights::{Adapter, ModelFolder};
use serde_json::json;

use super::folder::{MERGED, NewFolder};
use crate::args::MergeArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::models::folder_error;
use crate::output::{check_outside, check_unread, path_text};
use crate::streams::print_json;

/// What every adapter has.
const CONFIG: &str = "adapter_config.json";

/// Finds the folders, and writes the model.
pub fn run(context: &Context, args: &MergeArgs) -> Result<()> {
    check_outside(context, &args.output)?;
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let given = std::slice::from_ref(&args.adapter);
    let found = folders.checkpoints(given).map_err(|error| folder_error("ADAPTER", error))?;
    let [only] = &found[..] else {
        return Err(UsageError("ADAPTER names several folders; give one".to_owned()).into());
    };
    let Some(adapter) = only.adapter() else {
        return Err(
            UsageError(format!("{} is a whole model: there is nothing to merge", args.adapter)).into()
        );
    };
    if !adapter.join(CONFIG).is_file() {
        // What the folder is instead is told as for any other use.
        Adapter::open(adapter).map_err(|error| UsageError(error.to_string()))?;
    }
    let named = match &args.model {
        Some(model) => model.clone(),
        None => gstore_train::adapter_base(adapter)?,
    };
    let base = folders.model(&named).map_err(|error| {
        let error = folder_error("--model", error);
        if args.model.is_some() {
            return error;
        }
        let config = adapter.join(CONFIG);
        let why = format!(
            "{} names the base model `{named}`: {error}; if it is elsewhere, give it with --model",
            config.display()
        );
        if error.is::<UsageError>() { UsageError(why).into() } else { anyhow!(why) }
    })?;
    check_unread(&[Some(args.output.as_path())], [], [base.as_path(), adapter])?;
    let folder = NewFolder::begin(&args.output, MERGED, args.force)?;
    let note = ModelFolder::open(&base)?.unused_note();
    gstore_train::merge(&base, adapter, folder.path())?;
    folder.finish()?;
    note.iter().for_each(|note| context.say(&format!("note: {note}")));
    let [output, model, adapter] = [args.output.as_path(), base.as_path(), adapter].map(path_text);
    match args.json {
        true => {
            let report = json!({ "output": output, "model": model, "adapter": adapter });
            print_json(&report)?;
        }
        false => context.say(&format!("{output}: the weights of {model} with {adapter}")),
    }
    Ok(())
}
