//! Locks whose files go with them.

use std::io::{ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::if_there;
use super::os::{self, OsLock};

/// The exclusive lock of a file that is there for it alone, and goes when this is dropped. The system gives
/// the lock back where the process ends, however it does: the file that stays then goes with the next lock.
///
/// Invariant: who removes the file has it locked, so who has locked it and still finds it under its name has
/// the lock that others find. On a file system without locks it excludes no one else.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    /// Given back after the file is gone.
    lock: Option<OsLock>,
}

impl FileLock {
    /// The lock of a file, which is made if it is not there; none where it is held.
    ///
    /// # Errors
    /// A folder that cannot be written to, and a file that cannot be locked though its file system has locks.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        let lock = match os::lock(path, false) {
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            lock => lock?,
        };
        Ok(Some(Self { path: path.to_owned(), lock }))
    }
}

impl Drop for FileLock {
    /// What has the name by now may be the lock of another.
    fn drop(&mut self) {
        let is_own = |lock: &OsLock| has_name(&lock.0, &self.path).unwrap_or(false);
        if self.lock.as_ref().is_none_or(is_own) {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Whether an open file still has this name.
///
/// # Errors
/// What is there cannot be looked at.
pub fn has_name(file: &fs_err::File, path: &Path) -> Result<bool> {
    let number = |found: std::fs::Metadata| (found.dev(), found.ino());
    let there = if_there(fs_err::metadata(path))?;
    Ok(there.map(number) == Some(number(file.metadata()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_its_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = FileLock::of(&path).unwrap().unwrap();
        assert!(FileLock::of(&path).unwrap().is_none());
        // As one has it who opens it before it goes.
        let opened = fs_err::File::open(&path).unwrap();
        assert!(has_name(&opened, &path).unwrap());
        drop(lock);
        assert!(!path.exists() && !has_name(&opened, &path).unwrap());
        // Of another that has the name, where someone removed the first.
        let lock = FileLock::of(&path).unwrap().unwrap();
        fs_err::remove_file(&path).unwrap();
        let other = FileLock::of(&path).unwrap().unwrap();
        drop(lock);
        assert!(path.exists());
        drop(other);
        // What a killed process left is no lock.
        fs_err::write(&path, "").unwrap();
        let lock = FileLock::of(&path).unwrap().unwrap();
        assert!(!has_name(&opened, &path).unwrap());
        drop(lock);
        assert!(!path.exists());
    }
}
