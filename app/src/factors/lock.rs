//! Lock of the folder in which factors are fitted: of one fit, or of the jobs of an array together, each of
//! which has its partition for itself.
//!
//! Invariants
//! - the system gives a lock back where its process ends, however it does; the file that is locked may stay
//! - who removes the file has it locked alone, and removes it after all else in the folder: who has locked it
//!   and still finds it under its name works where others find the lock

use std::fs::TryLockError;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use gstore_core::if_there;
use gstore_store::vfs::{FileLock, has_name};

use super::error::FactorJobError;
use super::stamp::{LOCK, STAMP, is_lock};

/// How often a folder is made that others remove before it is locked.
const ATTEMPTS: usize = 10;

/// The right to work in a folder. Where the folder was made for it and nothing is written there, both go.
pub(super) struct FitLock {
    folder: PathBuf,
    file: fs_err::File,
    /// The file of the partition, of a job that computes one.
    partition: Option<FileLock>,
    /// The folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl FitLock {
    /// The lock of a folder, which is made if it is not there. Jobs that compute `only` a partition share it.
    pub(super) fn of(folder: &Path, only: Option<usize>) -> Result<Self, FactorJobError> {
        let path = folder.join(LOCK);
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = folder.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        let mut why = FactorJobError::Busy(folder.to_owned());
        for _ in 0..ATTEMPTS {
            let file = match fs_err::create_dir_all(folder).and_then(|()| open(&path)) {
                // A fit that has just ended removed a folder; or none can be made there.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    why = error.into();
                    continue;
                }
                file => file?,
            };
            let locked = match only {
                Some(_) => file.file().try_lock_shared(),
                None => file.file().try_lock(),
            };
            match locked {
                Ok(()) if has_name(&file, &path)? => {
                    let mut lock = Self { folder: folder.to_owned(), file, partition: None, made };
                    lock.partition = only.map(|only| of_partition(folder, only)).transpose()?;
                    return Ok(lock);
                }
                // It removed the file before this was locked.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FactorJobError::Busy(folder.to_owned())),
                Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
            }
        }
        Err(why)
    }

    /// Whether no other job has a share in the lock; none gets one then. A share that others have too may be
    /// lost.
    pub(super) fn is_alone(&self) -> bool {
        let path = self.folder.join(LOCK);
        self.file.file().try_lock().is_ok() && has_name(&self.file, &path).unwrap_or(false)
    }

    /// Removes the files in the folder whose names are of those that a fit writes, but no locks: other jobs
    /// may have them. The stamp goes after all others, so that what a kill leaves still has it; and only if
    /// nothing else stays, since a fit begins in no folder that has files and no stamp.
    pub(super) fn clear(&self, is_written: impl Fn(&str) -> bool) -> std::io::Result<()> {
        let mut others_stay = false;
        for entry in fs_err::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match entry.file_type()?.is_dir() {
                _ if name == STAMP || is_lock(&name) => {}
                _ if !is_written(&name.to_string_lossy()) => others_stay = true,
                true => fs_err::remove_dir_all(entry.path())?,
                false => fs_err::remove_file(entry.path())?,
            }
        }
        match others_stay {
            true => Ok(()),
            false => if_there(fs_err::remove_file(self.folder.join(STAMP))).map(drop),
        }
    }

    /// Removes the folder of a whole fit.
    pub(super) fn remove(self) -> std::io::Result<()> {
        self.clear(|_| true)?;
        self.remove_locks()?;
        // Another fit may begin there.
        let _ = fs_err::remove_dir(&self.folder);
        Ok(())
    }

    /// Removes the locks, of which no other job has one. The one of the folder goes last.
    fn remove_locks(&self) -> std::io::Result<()> {
        for entry in fs_err::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() != LOCK && is_lock(&entry.file_name()) {
                fs_err::remove_file(entry.path())?;
            }
        }
        fs_err::remove_file(self.folder.join(LOCK))
    }

    /// Removes the folders that were made, unless something else was written there or others share the lock.
    fn remove_unused(&self) {
        let is_of_locks =
            |entry: std::io::Result<fs_err::DirEntry>| entry.is_ok_and(|entry| is_lock(&entry.file_name()));
        let is_unused = || fs_err::read_dir(&self.folder).is_ok_and(|mut entries| entries.all(is_of_locks));
        // Locked only where there is something to remove, so that no other run finds the folder busy; and
        // looked at once more then, since others may have written before.
        if !self.made.is_empty() && is_unused() && self.is_alone() && is_unused() {
            let _ = self.remove_locks();
            // Removal ends at the first folder that is not empty.
            let _ = self.made.iter().try_for_each(fs_err::remove_dir);
        }
    }
}

impl Drop for FitLock {
    /// Unlocks explicitly: a child that was forked a moment ago has the file open until it runs its program,
    /// so that closing it here would not unlock it. The second time since the removal may have locked it
    /// again.
    fn drop(&mut self) {
        self.partition = None;
        let _ = self.file.file().unlock();
        self.remove_unused();
        let _ = self.file.file().unlock();
    }
}

/// Locks a partition, numbered from 0.
fn of_partition(folder: &Path, only: usize) -> Result<FileLock, FactorJobError> {
    let number = only + 1;
    let lock = FileLock::of(&folder.join(format!("{LOCK}-{number}")))?;
    lock.ok_or_else(|| FactorJobError::BusyPartition { folder: folder.to_owned(), number })
}

/// Opens a file that is locked, or makes it.
fn open(path: &Path) -> std::io::Result<fs_err::File> {
    fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn failed(path: &Path, error: &Error) -> FactorJobError {
    Error::new(error.kind(), format!("{} cannot be locked: {error}", path.display())).into()
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
        let again = FitLock::of(&folder, Some(1));
        assert!(matches!(again, Err(FactorJobError::BusyPartition { number: 2, .. })));
        drop(first);
        assert!(is_busy(None), "the other is at work");
        drop(FitLock::of(&folder, Some(0)).unwrap());
        fs_err::write(folder.join(STAMP), "").unwrap();
        drop(second);
        assert!(folder.join(STAMP).exists());
        FitLock::of(&folder, None).unwrap().remove().unwrap();
        assert!(shared.exists() && !folder.exists());
        drop(FitLock::of(&folder, Some(0)).unwrap());
        assert!(shared.exists() && !folder.exists(), "nothing was written there");
    }

    #[test]
    fn a_place_where_no_file_can_be_is_refused_with_its_path() {
        let place = tempfile::tempdir().unwrap();
        fs_err::os::unix::fs::symlink(place.path().join("nowhere/lock"), place.path().join(LOCK)).unwrap();
        let error = FitLock::of(place.path(), None).err().unwrap().to_string();
        assert!(error.contains(&place.path().join(LOCK).display().to_string()), "{error}");
    }
}
