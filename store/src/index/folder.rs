//! `tmp/index-<uuid>/`: the folder in which one index is built.
//!
//! The folder and its lock are made under the start lock, and others look under it as well: so a folder
//! whose lock is free is a leftover, and a process that holds the start lock and finds no lock held knows
//! that no index is being built.

use crate::error::StorageError;
use crate::layout::Env;
use crate::layout::names;

use crate::vfs::VfsLock;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Names of these folders start with this.
pub(crate) const PREFIX: &str = "index-";
const LOCK: &str = "lock";

/// Whether a name in `tmp/` is that of such a folder.
pub(crate) fn is_build(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|u| names::uuid(u).is_some())
}

/// The folders in which indexes are being built. The caller holds the start lock.
pub(crate) fn live_builds(env: &Env) -> Result<Vec<String>, StorageError> {
    let names = match env.vfs().list(&env.at("tmp")) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Env::io("list", "tmp")(e)),
    };
    let mut live = Vec::new();
    for name in names.into_iter().filter(|n| is_build(n)) {
        let lock = format!("tmp/{name}/{LOCK}");
        if env.vfs().is_locked(&env.at(&lock)).map_err(Env::io("look at the lock of", &lock))? {
            live.push(format!("tmp/{name}"));
        }
    }
    Ok(live)
}

/// A folder of ours, held. It goes away when this is dropped.
#[derive(Debug)]
pub(super) struct BuildFolder {
    env: Arc<Env>,
    name: String,
    _lock: Box<dyn VfsLock>,
}

impl BuildFolder {
    /// Makes one, if `wanted` says so once no purge can be at work any more.
    pub fn create(
        env: &Arc<Env>,
        wanted: impl FnOnce() -> Result<bool, StorageError>,
    ) -> Result<Option<BuildFolder>, StorageError> {
        let _starting = env.lock_start()?;
        if !wanted()? {
            return Ok(None);
        }
        let name = format!("tmp/{PREFIX}{}", Uuid::new_v4());
        let lock_name = format!("{name}/{LOCK}");
        env.vfs().create_dir(&env.at(&name)).map_err(Env::io("make the folder", &name))?;
        match env.vfs().lock(&env.at(&lock_name), false) {
            Ok(Some(lock)) => Ok(Some(BuildFolder { env: Arc::clone(env), name, _lock: lock })),
            Ok(None) => Err(Env::io("lock", &lock_name)(ErrorKind::WouldBlock.into())),
            Err(e) => {
                let _ = env.remove_folder(&name);
                Err(Env::io("lock", &lock_name)(e))
            }
        }
    }

    /// A file of the folder, and how messages name it.
    pub fn file(&self, file: &str) -> (PathBuf, String) {
        let name = format!("{}/{file}", self.name);
        (self.env.at(&name), name)
    }
}

impl Drop for BuildFolder {
    fn drop(&mut self) {
        // A leftover does no harm; gc removes it.
        let _ = self.env.remove_folder(&self.name);
    }
}
