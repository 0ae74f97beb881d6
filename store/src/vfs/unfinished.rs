//! Files under temporary names, with a lock that tells them from what a killed process left.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Result};
use std::path::Path;

/// The folder that a path is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// A file under a temporary name, with a lock that is held until it has its name or is gone. `make` makes it;
/// `parts` are its file and where it is.
///
/// # Errors
/// Those of `make`, and a file that other processes remove as soon as it is there.
pub fn unfinished_file<T>(
    mut make: impl FnMut() -> Result<T>,
    parts: impl Fn(&T) -> (&File, &Path),
) -> Result<T> {
    // A process that looks for leftovers may take the new file for one before its lock is held.
    const ATTEMPTS: usize = 10;
    for _ in 0..ATTEMPTS {
        let made = make()?;
        let (file, path) = parts(&made);
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) if !path.exists() => {}
            // Where there are no locks, no process takes it for a leftover.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(made),
        }
    }
    Err(ErrorKind::WouldBlock.into())
}

/// Removes what killed processes left of a file that they had not finished: those next to it whose name is a
/// temporary one of it, and that no process has locked. What cannot be removed, such as that of another user,
/// does no harm.
pub fn remove_leftovers(target: &Path, is_temporary: impl Fn(&[u8]) -> bool) {
    for entry in fs_err::read_dir(parent(target)).into_iter().flatten().flatten() {
        if !is_temporary(entry.file_name().as_encoded_bytes())
            || !entry.file_type().is_ok_and(|found| found.is_file())
        {
            continue;
        }
        // The lock is held until the file is gone: who makes one of this name sees that it is.
        let leftover = fs_err::OpenOptions::new().read(true).write(true).open(entry.path());
        if leftover.as_ref().is_ok_and(|file| file.file().try_lock().is_ok()) {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}
