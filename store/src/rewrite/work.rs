//! Work folder in `tmp/` for files that are being written, and the lock of all rewriting.
//!
//! The lock lets only one process at a time write again what is published.

use crate::error::StorageError;
use crate::layout::Env;

use crate::vfs::VfsLock;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Held by a compaction or purge.
pub(crate) const COMPACT_LOCK: &str = "tmp/compact.lock";
const PREFIX: &str = "compact-";
const LOCK: &str = "lock";

/// Takes the lock of compactors; `None` if another process has it. Folders that earlier
/// ones left are removed.
pub(crate) fn lock_compact(env: &Env) -> Result<Option<Box<dyn VfsLock>>, StorageError> {
    env.vfs().create_dir(&env.at("tmp")).map_err(Env::io("make the folder", "tmp"))?;
    let lock = env.vfs().lock(&env.at(COMPACT_LOCK), false).map_err(Env::io("lock", COMPACT_LOCK))?;
    if lock.is_some() {
        let names = env.vfs().list(&env.at("tmp")).map_err(Env::io("list", "tmp"))?;
        for name in names.iter().filter(|n| n.strip_prefix(PREFIX).is_some_and(|u| u.parse::<Uuid>().is_ok()))
        {
            env.remove_folder(&format!("tmp/{name}"))?;
        }
    }
    Ok(lock)
}

/// A file of the folder and its place in the store.
pub(crate) struct FileMove {
    pub from: String,
    pub to: String,
}

/// `tmp/compact-<uuid>/`, held. It goes away when this is dropped.
pub(crate) struct WorkFolder {
    env: Arc<Env>,
    name: String,
    #[allow(dead_code)]
    lock: Box<dyn VfsLock>,
}

impl WorkFolder {
    pub(crate) fn create(env: &Arc<Env>) -> Result<WorkFolder, StorageError> {
        let name = format!("tmp/{PREFIX}{}", Uuid::new_v4());
        let lock_name = format!("{name}/{LOCK}");
        env.vfs().create_dir(&env.at(&name)).map_err(Env::io("make the folder", &name))?;
        match env.vfs().lock(&env.at(&lock_name), false) {
            Ok(Some(lock)) => Ok(WorkFolder { env: Arc::clone(env), name, lock }),
            Ok(None) => Err(Env::io("lock", &lock_name)(std::io::ErrorKind::WouldBlock.into())),
            Err(e) => {
                let _ = env.remove_folder(&name);
                Err(Env::io("lock", &lock_name)(e))
            }
        }
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    /// A file of the folder.
    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.env.at(&format!("{}/{file}", self.name))
    }

    /// Moves files to their places (names in the store) and flushes the folders there. After an error none is
    /// there, as far as that is possible. The caller holds the writer lock.
    pub(crate) fn place(&self, files: &[FileMove]) -> Result<(), StorageError> {
        let placed = self.move_all(files);
        if placed.is_err() {
            self.unplace(files);
        }
        placed
    }

    fn move_all(&self, files: &[FileMove]) -> Result<(), StorageError> {
        let folder_of = |name: &str| name.rsplit_once('/').map_or_else(String::new, |(f, _)| f.to_owned());
        let folders: BTreeSet<String> = files.iter().map(|f| folder_of(&f.to)).collect();
        for folder in &folders {
            self.env.make_folder(folder)?;
        }
        for file in files {
            self.env.rename(&self.path_of(&file.from), &file.to)?;
        }
        folders.iter().try_for_each(|folder| self.env.sync_folder(folder))
    }

    /// Removes files from their places: nothing refers to them.
    pub(crate) fn unplace(&self, files: &[FileMove]) {
        for file in files {
            let _ = self.env.vfs().remove(&self.env.at(&file.to));
        }
    }

    /// Removes a file of the folder that is not needed, as far as that is possible.
    pub(crate) fn discard(&self, file: &str) {
        let _ = self.env.vfs().remove(&self.path_of(file));
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // A leftover does no harm; gc and the next compactor remove it.
        let _ = self.env.remove_folder(&self.name);
    }
}
