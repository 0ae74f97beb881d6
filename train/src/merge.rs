//! Merging: a LoRA adapter added into the weights of its base, as a model folder of its own.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use gstore_core::python_json;
use gstore_model::architectures::TensorRole;
use gstore_model::gradients::HostFactors;
use gstore_model::weights::{
    Adapter, ModelFolder, TrainedTensor, check_finite, checkpoint_id, write_tensors,
};
use gstore_store::vfs::sync_folder;
use serde_json::{Value, json};

use crate::checkpoint::{copy_model_files, write_json};
use crate::error::TrainError;

/// The file that says in a folder of a model what [`merge`] has merged into it.
pub const MERGED: &str = "gstore_merged.json";

/// Writes `W + scaling B A` of every adapted weight, and all others as they are, in f32 under the names of
/// transformers, with the base's configuration and tokenizer, into the folder `output`, which is new or empty.
/// An error leaves nothing of it; a process that is killed does, so who shows it to others gives it its name
/// after this.
///
/// Memory: the weights in f32.
///
/// # Errors
/// An adapter that does not fit the model or is not finite, an output that has something in it, a full disk.
pub fn merge(model: &Path, adapter: &Path, output: &Path) -> Result<(), TrainError> {
    if let Err(error) = fs_err::create_dir(output)
        && !fs_err::read_dir(output).is_ok_and(|mut entries| entries.next().is_none())
    {
        return Err(error.into());
    }
    write(model, adapter, output).map_err(|error| {
        // The disk may be full: what is there in part takes room for nothing.
        let _ = fs_err::remove_dir_all(output);
        let again = "what was unfinished is removed; free some space there and run the same command again";
        error.with_disk_full_hint(|| again.to_owned())
    })
}

fn write(model: &Path, adapter: &Path, output: &Path) -> Result<(), TrainError> {
    let base = ModelFolder::open(model)?;
    let adapter = Adapter::open(adapter)?;
    let checkpoint = checkpoint_id(&base, Some(&adapter))?;
    let factors = HostFactors::read(&adapter, &base)?;
    let decoder = base.decoder();
    let mut tensors = Vec::with_capacity(decoder.params.len());
    for (param, trained) in decoder.params.iter().zip(TrainedTensor::all(decoder)) {
        let mut values = base.read(param)?;
        factors.merge(param, &mut values);
        if matches!(param.role, TensorRole::Weight(_)) {
            // Of finite factors the product need not be.
            check_finite(adapter.path(), &format!("{} with its factors", param.name), &values)?;
        }
        let stored = trained.stored(&values).into_owned();
        tensors.push((param.name.clone(), trained.stored_shape(), Cow::Owned(stored)));
    }
    copy_model_files(model, model, output)?;
    write_json(&output.join(MERGED), &json!({ "merged": checkpoint.to_string() }))?;
    write_tensors(&output.join("model.safetensors"), tensors)?;
    Ok(sync_folder(output)?)
}

/// The base that an adapter names in its configuration.
///
/// # Errors
/// A configuration that cannot be read, or names none.
pub fn adapter_base(adapter: &Path) -> Result<String, TrainError> {
    let path: PathBuf = adapter.join("adapter_config.json");
    let bad = |what: String| TrainError::checkpoint(adapter, what);
    let config = python_json(&fs_err::read(&path)?).map_err(|error| bad(error.to_string()))?;
    let base = config.get("base_model_name_or_path").and_then(Value::as_str);
    let base = base.filter(|base| !base.is_empty()).map(str::to_owned);
    base.ok_or_else(|| bad("adapter_config.json names no base model".to_owned()))
}
