//! `gstore merge`: a LoRA adapter and its base as one model folder.

use std::io::Error;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use gstore::Folders;
use gstore_model::weights::{Adapter, ModelFolder};
use gstore_store::vfs::{CreatedFolder, sync_folder};
use rustix::io::Errno;
use serde_json::json;

use crate::args::MergeArgs;
use crate::context::Context;
use crate::exchange::exchange;
use crate::failure::{UsageError, refuse};
use crate::held::{LockedFolder, remove_leftovers};
use crate::models::folder_error;
use crate::output::{check_outside, exists, parent, path_text};
use crate::streams::print_json;

/// How names of folders begin that hold a model until it takes the place of another, and that one after it.
const PREFIX: &str = ".gstore-merge-";

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
    let replaced = match args.output.exists() {
        true => {
            let replaced = check_replaced(&base, adapter, &args.output)?;
            if !args.force {
                refuse!("{}", exists(&args.output));
            }
            Some(replaced)
        }
        false => None,
    };
    let note = ModelFolder::open(&base)?.unused_note();
    let hidden = write(&base, adapter, args, replaced.as_deref())?;
    // The model has its place: nothing from here on is a failure of the merge.
    if let Err(error) = hidden.close() {
        context
            .say(&format!("note: {error}; the next merge into that folder removes what is left of this one"));
    }
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

/// Writes the model next to its place, and gives it the name when it is complete: that of the folder which it
/// replaces, or one that nothing has by then; with `--force` it may also be one of another merge since.
/// Returns what it was written in, which has the model that was replaced.
fn write(base: &Path, adapter: &Path, args: &MergeArgs, replaced: Option<&Path>) -> Result<LockedFolder> {
    let place = replaced.unwrap_or(&args.output);
    let around = parent(place);
    remove_leftovers(PREFIX, place);
    let _made = CreatedFolder::of(around)?;
    let folder = LockedFolder::make(around, PREFIX, place)?;
    let new = folder.content();
    gstore_train::merge(base, adapter, &new)?;
    match replaced {
        Some(old) => exchange(&new, old)?,
        None => match rustix::fs::rename(&new, place) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) if args.force => {
                exchange(&new, &check_replaced(base, adapter, place)?)?;
            }
            // The command line was right when the command began.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => bail!("{}", exists(place)),
            Err(error) => {
                return Err(Error::from(error)).with_context(|| format!("cannot make {}", place.display()));
            }
        },
    }
    sync_folder(around)?;
    Ok(folder)
}

/// The folder that is replaced: one that a merge has written, without folders in it, and not one that is
/// read.
fn check_replaced(base: &Path, adapter: &Path, output: &Path) -> Result<PathBuf> {
    let refused = |why: &str| UsageError(format!("{}: {why}; --force does not replace it", output.display()));
    let old = fs_err::canonicalize(output)?;
    for read in [base, adapter] {
        if fs_err::canonicalize(read)?.starts_with(&old) {
            return Err(refused("the model or the adapter is in it").into());
        }
    }
    if !gstore_train::is_merged(&old) {
        return Err(refused("no merge has written it, or not all of it; move or remove it yourself").into());
    }
    for entry in fs_err::read_dir(&old)? {
        if entry?.file_type()?.is_dir() {
            return Err(refused("it has folders in it").into());
        }
    }
    Ok(old)
}
