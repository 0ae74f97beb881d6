//! Lock of the folder in which factors are fitted: of one fit, or of the jobs of an array together.
//!
//! Invariants
//! - the system gives a lock back where its process ends, however it does; the file that is locked may stay
//! - who removes the file has it locked alone, and removes it after all else in the folder: who has locked it
//!   and still finds it under its name works where others find the lock

use std::fs::TryLockError;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gstore_core::if_there;

use super::error::FactorJobError;
use super::stamp::{LOCK, STAMP};

/// The right to work in a folder. Where the folder was made for it and nothing is written there, both go.
pub(super) struct FitLock {
    folder: PathBuf,
    file: fs_err::File,
    /// The folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl FitLock {
    /// The lock of a folder, which is made if it is not there. Jobs that compute `only` a partition share it.
    pub(super) fn of(folder: &Path, only: Option<usize>) -> Result<Self, FactorJobError> {
        let path = folder.join(LOCK);
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = folder.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        loop {
            // A fit that has just ended removed a folder.
            let gone = |error: &Error| error.kind() == ErrorKind::NotFound;
            match fs_err::create_dir_all(folder) {
                Err(error) if gone(&error) => continue,
                made => made?,
            }
            let mut options = fs_err::OpenOptions::new();
            let file = match options.read(true).write(true).create(true).truncate(false).open(&path) {
                Err(error) if gone(&error) => continue,
                file => file?,
            };
            let locked = match only {
                Some(_) => file.file().try_lock_shared(),
                None => file.file().try_lock(),
            };
            match locked {
                Ok(()) if has_name(&file, &path)? => {
                    return Ok(Self { folder: folder.to_owned(), file, made });
                }
                // It removed the file before this was locked.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FactorJobError::Busy(folder.to_owned())),
                Err(TryLockError::Error(error)) => {
                    let why = format!("{} cannot be locked: {error}", path.display());
                    return Err(Error::new(error.kind(), why).into());
                }
            }
        }
    }

    /// Removes the folder of a whole fit. The file by which it is known goes after all else that was written:
    /// what a kill leaves still has it.
    pub(super) fn remove(self) -> std::io::Result<()> {
        for entry in fs_err::read_dir(&self.folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                _ if entry.file_name() == STAMP || entry.file_name() == LOCK => {}
                true => fs_err::remove_dir_all(entry.path())?,
                false => fs_err::remove_file(entry.path())?,
            }
        }
        for name in [STAMP, LOCK] {
            fs_err::remove_file(self.folder.join(name))?;
        }
        // Another fit may begin there.
        let _ = fs_err::remove_dir(&self.folder);
        Ok(())
    }

    /// Removes the folders that were made, unless something else was written there or others share the lock.
    fn remove_unused(&self) {
        let path = self.folder.join(LOCK);
        let is_alone = || self.file.file().try_lock().is_ok() && has_name(&self.file, &path).unwrap_or(false);
        let is_lock =
            |entry: std::io::Result<fs_err::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == LOCK);
        let is_unused = || fs_err::read_dir(&self.folder).is_ok_and(|mut entries| entries.all(is_lock));
        // Locked only where there is something to remove, so that no other run finds the folder busy; and
        // looked at once more then, since others may have written before.
        if !self.made.is_empty() && is_unused() && is_alone() && is_unused() {
            let _ = fs_err::remove_file(&path);
            // Removal ends at the first folder that is not empty.
            let _ = self.made.iter().try_for_each(fs_err::remove_dir);
        }
    }
}

impl Drop for FitLock {
    /// Unlocks explicitly: a child that was forked a moment ago has the file open until it runs its program,
    /// so that closing it here would not unlock it. The second time since the removal may have locked it again.
    fn drop(&mut self) {
        let _ = self.file.file().unlock();
        self.remove_unused();
        let _ = self.file.file().unlock();
    }
}

/// Whether an open file still has this name.
fn has_name(file: &fs_err::File, path: &Path) -> std::io::Result<bool> {
    let number = |found: std::fs::Metadata| (found.dev(), found.ino());
    let there = if_there(fs_err::metadata(path))?;
    Ok(there.map(number) == Some(number(file.metadata()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_works_alone_and_the_jobs_of_an_array_together() {
        let place = tempfile::tempdir().unwrap();
        let shared = place.path().join("shared");
        let folder = shared.join("factors_f");
        let is_busy =
            |only| matches!(FitLock::of(&folder, only), Err(FactorJobError::Busy(at)) if at == folder);
        let alone = FitLock::of(&folder, None).unwrap();
        assert!(is_busy(None) && is_busy(Some(0)));
        drop(alone);
        assert!(!shared.exists(), "nothing was written there");

        let first = FitLock::of(&folder, Some(0)).unwrap();
        let second = FitLock::of(&folder, Some(1)).unwrap();
        drop(first);
        assert!(is_busy(None), "the other is at work");
        fs_err::write(folder.join(STAMP), "").unwrap();
        drop(second);
        assert!(folder.join(STAMP).exists());
        FitLock::of(&folder, None).unwrap().remove().unwrap();
        assert!(shared.exists() && !folder.exists());
    }
}
