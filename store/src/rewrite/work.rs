//! Work folder in `tmp/` for files that are being written, and the lock of all rewriting.
//!
//! The lock lets only one process at a time write again what is published.

use crate::error::StorageError;
use crate::layout::names::{self, COMPACT_LOCK};
use crate::layout::{Env, HeldFolder};
use crate::vfs::VfsLock;
use std::sync::Arc;

/// Names of work folders in `tmp/` start with this.
const PREFIX: &str = "compact-";

/// Whether a name in `tmp/` is that of such a folder.
pub(crate) fn is_work(name: &str) -> bool {
    names::is_work(PREFIX, name)
}

/// Takes the lock of compactors; `None` if another process has it. Folders that earlier
/// ones left are removed.
pub(crate) fn lock_compact(env: &Env) -> Result<Option<Box<dyn VfsLock>>, StorageError> {
    env.create_folder("tmp")?;
    let lock = env.lock(COMPACT_LOCK, false)?;
    if lock.is_some() {
        let names = env.vfs().list(&env.at("tmp")).map_err(Env::io("list", "tmp"))?;
        for name in names.iter().filter(|n| is_work(n)) {
            env.remove_folder(&format!("tmp/{name}"))?;
        }
    }
    Ok(lock)
}

/// `tmp/compact-<uuid>/`. The caller holds the lock of compactors.
pub(crate) fn work_folder(env: &Arc<Env>) -> Result<HeldFolder, StorageError> {
    HeldFolder::make(env, PREFIX)
}
