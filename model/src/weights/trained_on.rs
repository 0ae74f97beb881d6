//! The model that a checkpoint's folder says it was trained on.

use std::path::Path;

use gstore_core::CheckpointId;

use super::gstore_state::GstoreState;
use crate::files::ModelError;
use crate::files::json;

/// The model that a checkpoint was trained on, as far as its folder says it.
pub(super) fn trained_on(checkpoint: &Path) -> Result<Option<String>, ModelError> {
    let name = base_from_config(checkpoint)?;
    Ok(match GstoreState::read(checkpoint)?.and_then(|state| state.base()) {
        Some(trained) => Some(model_description(name, &trained)),
        None => name,
    })
}

/// A model by its name and the first digits of its digest.
pub(super) fn model_description(name: Option<String>, id: &CheckpointId) -> String {
    let digest = id.short();
    match name {
        Some(name) => format!("{name}, when its digest began with {digest}"),
        None => format!("a model whose digest begins with {digest}"),
    }
}

/// The base that an adapter's configuration names. A relative path is one of where it was trained, which is
/// looked for above the adapter: a message that names it from here can be followed.
pub(super) fn base_from_config(checkpoint: &Path) -> Result<Option<String>, ModelError> {
    let path = checkpoint.join("adapter_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let config = json::read(&path)?;
    let name = config.get("base_model_name_or_path").and_then(|name| name.as_str());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let mut above = checkpoint.ancestors().map(|folder| folder.join(name));
    let found = above.find(|folder| folder.join("config.json").is_file());
    Ok(Some(found.map_or_else(|| name.to_owned(), |folder| folder.display().to_string())))
}
