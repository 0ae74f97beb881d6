//! Creation of an empty store.

use crate::error::{CreateError, OpenError};
use crate::layout::names::{CURRENT, LOCK};
use crate::layout::{Env, now};
use crate::manifest::{Current, Root};
use crate::vfs::{Vfs, if_there};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// What a store has in its folder from the start.
pub(crate) const FOLDERS: [&str; 7] =
    ["manifests", "samples", "encodings", "segments", "tombstones", "deleted", "tmp"];

/// Makes the folders, the root of snapshot 0 and `CURRENT`, in this order: before `CURRENT` there is no
/// store, and what a creation that was cut short left behind is completed by the next one.
pub(crate) fn create(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<(), CreateError> {
    let env = Env::new(Arc::clone(vfs), path);
    let shown = path.display().to_string();
    check_empty(&env, &shown)?;
    vfs.create_dir(path).map_err(Env::io("make the folder", &shown))?;
    let lock = env.lock(LOCK, true)?;
    // Someone else may have made it while we waited.
    check_empty(&env, &shown)?;
    for folder in FOLDERS {
        env.create_folder(folder)?;
    }
    let root = Root::first(Uuid::new_v4(), now());
    let (link, _) = env.manifests().write(root)?;
    env.manifests().sync()?;
    env.sync_folder("")?;
    // Before CURRENT: once that is there, others use the store and its own name is not flushed any more.
    env.sync_above(path)?;
    Current::new(0, link).write(vfs.as_ref(), path)?;
    env.sync_folder("")?;
    drop(lock);
    Ok(())
}

/// A folder that is missing, empty, or holds what a creation that was cut short leaves behind.
fn check_empty(env: &Env, shown: &str) -> Result<(), CreateError> {
    let names = if_there(env.vfs().list(env.path())).map_err(Env::io("list", shown))?;
    let Some(names) = names else { return Ok(()) };
    if names.iter().any(|n| n == CURRENT) {
        return Err(CreateError::Exists(shown.to_owned()));
    }
    let ours = |n: &str| FOLDERS.contains(&n) || n == LOCK || n == "CURRENT.new";
    if let Some(found) = names.iter().find(|n| !ours(n)) {
        return Err(CreateError::NotEmpty { path: shown.to_owned(), found: found.clone() });
    }
    for folder in FOLDERS.iter().filter(|f| names.iter().any(|n| n == *f)) {
        let inside = env.vfs().list(&env.at(folder)).map_err(Env::io("list", folder))?;
        if let Some(found) = inside.iter().find(|n| *folder != "manifests" || !n.starts_with("root-0-")) {
            // A store that lost its CURRENT: the error of opening it says more.
            if let Err(e @ OpenError::Storage(_)) = Current::read_bytes(env.vfs(), env.path()) {
                return Err(e.into());
            }
            return Err(CreateError::NotEmpty { path: shown.to_owned(), found: format!("{folder}/{found}") });
        }
    }
    Ok(())
}
