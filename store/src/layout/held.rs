//! `tmp/<kind>-<uuid>/`: a folder of files that are being written, held by the process that writes them.
//!
//! The folder and its lock are made under the start lock (those of compactions and purges: under their own),
//! and others look under it as well: so a folder whose lock is free is a leftover, and a process that holds
//! the start lock and finds no lock held knows that nothing of the kind is being written.

use super::Env;
use crate::error::StorageError;
use crate::vfs::VfsLock;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Name of the file in it that is locked.
pub(crate) const HELD_LOCK: &str = "lock";

/// A folder of ours, held. It goes away when this is dropped.
#[derive(Debug)]
pub(crate) struct HeldFolder {
    pub(crate) env: Arc<Env>,
    name: String,
    _lock: Box<dyn VfsLock>,
}

impl HeldFolder {
    /// Makes one whose name starts with `kind`, under the lock that the caller holds.
    pub(crate) fn make(env: &Arc<Env>, kind: &str) -> Result<HeldFolder, StorageError> {
        let name = format!("tmp/{kind}{}", Uuid::new_v4());
        let lock_name = format!("{name}/{HELD_LOCK}");
        env.create_folder(&name)?;
        match env.lock(&lock_name, false) {
            Ok(Some(lock)) => Ok(HeldFolder { env: Arc::clone(env), name, _lock: lock }),
            Ok(None) => Err(Env::io("lock", &lock_name)(ErrorKind::WouldBlock.into())),
            Err(e) => {
                let _ = env.remove_folder(&name);
                Err(e)
            }
        }
    }

    /// A file of the folder, and how messages name it.
    pub(crate) fn file(&self, file: &str) -> (PathBuf, String) {
        let name = format!("{}/{file}", self.name);
        (self.env.at(&name), name)
    }

    /// A file of the folder.
    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.file(file).0
    }

    /// Removes a file of the folder that is not needed, as far as that is possible.
    pub(crate) fn discard(&self, file: &str) {
        let _ = self.env.vfs().remove(&self.path_of(file));
    }
}

impl Drop for HeldFolder {
    fn drop(&mut self) {
        // A leftover does no harm; gc removes it.
        let _ = self.env.remove_folder(&self.name);
    }
}
