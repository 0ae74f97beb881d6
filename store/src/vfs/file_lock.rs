//! Locks whose files go with them.

use std::fs::TryLockError;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::if_there;

/// The exclusive lock of a file that is there for it alone, and goes when this is dropped. The system gives
/// the lock back where the process ends, however it does: the file that stays then goes with the next lock.
///
/// Invariant: who removes the file has it locked, so who has locked it and still finds it under its name has
/// the lock that others find. On a file system without locks it excludes no one else.
#[derive(Debug)]
pub struct FileLock(fs_err::File);

impl FileLock {
    /// The lock of a file, which is made if it is not there; none where it is held.
    ///
    /// # Errors
    /// A folder that cannot be written to, and a file that cannot be locked though its file system has locks.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        loop {
            let mut options = fs_err::OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.file().try_lock() {
                Ok(()) if has_name(&file, path)? => return Ok(Some(Self(file))),
                // It was removed before this was locked.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Some(Self(file)));
                }
                Err(TryLockError::Error(error)) => {
                    let what = format!("{} cannot be locked: {error}", path.display());
                    return Err(Error::new(error.kind(), what));
                }
            }
        }
    }
}

impl Drop for FileLock {
    /// Unlocks explicitly: a child that was forked a moment ago has the file open until it runs its program.
    fn drop(&mut self) {
        let _ = fs_err::remove_file(self.0.path());
        let _ = self.0.file().unlock();
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
        // What a killed process left is no lock.
        fs_err::write(&path, "").unwrap();
        let lock = FileLock::of(&path).unwrap().unwrap();
        assert!(!has_name(&opened, &path).unwrap());
        drop(lock);
        assert!(!path.exists());
    }
}
