//! The model that a checkpoint's folder says it was trained on.

use std::path::Path;

use gstore_core::CheckpointId;

use super::gstore_state::GstoreState;
use crate::files::ModelError;
use crate::files::json;

/// The model that a checkpoint was trained on, as far as its folder says it and it is not `base` by its name.
pub(super) fn trained_on_other(checkpoint: &Path, base: &Path) -> Result<Option<String>, ModelError> {
    let name = base_from_config(checkpoint)?;
    if name.as_deref().is_some_and(|name| is_named(base, name)) {
        return Ok(None);
    }
    Ok(match GstoreState::read(checkpoint)?.and_then(|state| state.base()) {
        Some(trained) => Some(model_description(name, &trained)),
        None => name,
    })
}

/// Whether a name means a folder: the same place, the same last part, or its repository in the cache of the
/// Hugging Face Hub.
fn is_named(folder: &Path, name: &str) -> bool {
    let cached = format!("models--{}", name.replace('/', "--"));
    let last = Path::new(name).file_name();
    let place = |path: &Path| fs_err::canonicalize(path).ok();
    last.is_some_and(|last| folder.file_name() == Some(last))
        || folder.iter().any(|part| part == cached.as_str())
        || place(Path::new(name)).is_some_and(|named| place(folder) == Some(named))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_path_its_last_part_and_its_repository_as_names() {
        let place = tempfile::tempdir().unwrap();
        let [folder, link] = ["base", "link"].map(|name| place.path().join(name));
        fs_err::create_dir(&folder).unwrap();
        fs_err::os::unix::fs::symlink(&folder, &link).unwrap();
        let snapshot = place.path().join("hub/models--org--base/snapshots/0123");
        for (folder, name, is_name) in [
            (&folder, "org/base", true),
            (&folder, "/elsewhere/base/", true),
            (&link, folder.to_str().unwrap(), true),
            (&snapshot, "org/base", true),
            (&snapshot, "other/base", false),
            (&folder, "org/base-chat", false),
            (&folder, "..", false),
        ] {
            assert_eq!(is_named(folder, name), is_name, "{} {name}", folder.display());
        }
    }
}
