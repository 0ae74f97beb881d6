//! The server's folder in a store: files that only their owner may read, replaced as a whole.

use std::io::{ErrorKind, Write};
use std::path::Path;

use fs_err::{File, OpenOptions};
use gstore_core::if_there;
use gstore_store::vfs::sync_folder;
use uuid::Uuid;

use super::owner;

/// The key of signatures.
pub(super) const KEY: &str = "key";
/// The file that is locked while others are changed.
const LOCK: &str = "lock";

/// The key that signs handles. Made when it is missing; where nothing can be written, one that lasts as long
/// as the server.
pub(crate) fn signing_key(folder: &Path) -> Vec<u8> {
    let made = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let read = || fs_err::read(folder.join(KEY)).ok().filter(|key| key.len() >= 64);
    if let Some(key) = read() {
        return key;
    }
    let key = made();
    match with_lock(folder, || match read() {
        Some(key) => Ok(key),
        None => replace(folder, KEY, key.as_bytes()).map(|()| key.clone().into_bytes()),
    }) {
        Ok(key) => key,
        Err(error) => {
            tracing::warn!(%error, "the key of handles cannot be kept: handles do not outlive this server");
            key.into_bytes()
        }
    }
}

/// What `change` gives while no other process changes files of the folder, which is made if it is missing.
pub(crate) fn with_lock<T, E: From<std::io::Error>>(
    folder: &Path,
    change: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match fs_err::create_dir(folder) {
        Ok(()) => owner::give_folder(folder)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => owner::give_own(folder, LOCK)?,
        Err(error) => return Err(error.into()),
    }
    let lock = opened_lock(folder)?;
    lock.file().lock()?;
    change()
}

fn opened_lock(folder: &Path) -> std::io::Result<File> {
    let (path, mut options) = (folder.join(LOCK), OpenOptions::new());
    options.write(true);
    match options.clone().create_new(true).open(&path) {
        Ok(made) => owner::give(made.file(), folder).map(|()| made),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(&path),
        Err(error) => Err(error),
    }
}

/// A file of the folder, replaced at once and flushed. It is its owner's, whom root gives it to.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = folder.join(format!("{name}.new"));
    // One that was left behind may have other rights.
    if_there(fs_err::remove_file(&fresh))?;
    let mut file = create_private(&fresh)?;
    owner::give(file.file(), folder)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(&fresh, folder.join(name))?;
    sync_folder(folder)
}

/// A new file that only its owner may read.
pub(crate) fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
