//! `tmp/index-<uuid>/`: the held folder in which one index is built.

use crate::error::StorageError;
use crate::layout::{Env, HELD_LOCK, names};

/// Names of these folders start with this.
pub(super) const PREFIX: &str = "index-";

/// Whether a name in `tmp/` is that of such a folder.
pub(crate) fn is_build(name: &str) -> bool {
    names::is_work(PREFIX, name)
}

/// The folders in which indexes are being built. The caller holds the start lock.
pub(crate) fn live_builds(env: &Env) -> Result<Vec<String>, StorageError> {
    let mut live = Vec::new();
    for name in env.list("tmp")?.into_iter().filter(|n| is_build(n)) {
        if env.is_locked(&format!("tmp/{name}/{HELD_LOCK}"))? {
            live.push(format!("tmp/{name}"));
        }
    }
    Ok(live)
}
