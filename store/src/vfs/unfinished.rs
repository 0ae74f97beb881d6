//! Files under temporary names, with a lock that tells them from what a killed process left.

use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

/// What the extension of a file begins with that is being written; a number follows.
const UNFINISHED: &str = "unfinished-";

/// The folder that a path is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Puts the names in a folder on the medium, as far as that can be: who may write to it may not be allowed to
/// open it, and not every file system does it for folders.
///
/// # Errors
/// Those of the medium, and a folder that is not there.
pub fn sync_folder(folder: &Path) -> Result<()> {
    use ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match fs_err::File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Makes a folder and those above it, and puts the names of those that were missing on the medium.
///
/// # Errors
/// A folder that cannot be made, and those of the medium.
pub fn create_flushed(folder: &Path) -> Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let made: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    if made.is_empty() {
        return Ok(());
    }
    fs_err::create_dir_all(folder)?;
    made.into_iter().try_for_each(|made| sync_folder(parent(made)))
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

/// Whether a name is the temporary one of a [`PendingFile`].
pub fn is_unfinished(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default().as_encoded_bytes();
    extension.strip_prefix(UNFINISHED.as_bytes()).is_some_and(is_number)
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// A file that is written next to its place, and gets its name when it is complete. Its temporary one ends in
/// a number that no other has: processes on several machines, or in several containers, may have one number
/// and one file system. It goes away when this is dropped before. Errors name the place: the temporary name
/// says nothing to a user.
#[derive(Debug)]
pub struct PendingFile {
    place: PathBuf,
    file: File,
    /// Where it is until it has its name.
    path: PathBuf,
}

impl PendingFile {
    /// Begins one. What killed processes left of such a file is removed.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn new(place: &Path) -> Result<Self> {
        let begin = place.with_extension(UNFINISHED);
        let begin = begin.file_name().unwrap_or_default().as_encoded_bytes();
        remove_leftovers(place, |name| name.strip_prefix(begin).is_some_and(is_number));
        let make = || {
            let (number, _) = Uuid::new_v4().as_u64_pair();
            let path = place.with_extension(format!("{UNFINISHED}{number}"));
            Ok((File::options().write(true).create_new(true).open(&path)?, path))
        };
        let made = unfinished_file(make, |(file, path)| (file, path.as_path()));
        let (file, path) = made.map_err(|error| unwritten(place, &error))?;
        Ok(Self { place: place.to_owned(), file, path })
    }

    /// Puts its bytes on the medium, and gives it its name, in the place of what had that.
    ///
    /// # Errors
    /// A full disk; a place that cannot be taken.
    pub fn finish(self) -> Result<()> {
        let renamed = self.file.sync_all().and_then(|()| Ok(rename(&self.path, &self.place)?));
        renamed.map_err(|error| unwritten(&self.place, &error))?;
        sync_folder(parent(&self.place))
    }

    /// The same, but what has the name stays: of several processes the first gives the file its content.
    /// Returns whether it is this one.
    ///
    /// # Errors
    /// A full disk; a place that cannot be taken.
    pub fn finish_new(self) -> Result<bool> {
        let is_first = match self.file.sync_all().and_then(|()| rename_new(&self.path, &self.place)) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(unwritten(&self.place, &error)),
        };
        // Also where another process has just named it.
        sync_folder(parent(&self.place))?;
        Ok(is_first)
    }
}

/// Writes a file in one step: under its name there is the old one or the new one.
///
/// # Errors
/// As of [`PendingFile`].
pub fn write_whole(place: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = PendingFile::new(place)?;
    file.write_all(bytes)?;
    file.finish()
}

/// Gives a file a name that nothing has. Where the file system cannot rename it so, it has both names.
fn rename_new(from: &Path, to: &Path) -> Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => std::fs::hard_link(from, to),
        renamed => Ok(renamed?),
    }
}

/// The error of a file by its place.
fn unwritten(place: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{} cannot be written: {error}", place.display()))
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file.write(bytes).map_err(|error| unwritten(&self.place, &error))
    }
    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| unwritten(&self.place, &error))
    }
}

impl Drop for PendingFile {
    /// What was not completed takes room for nothing; where it was, the name is gone already.
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn several_write_the_same_file_and_each_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("values.bin");
        let [mut first, mut second, dropped] = [(); 3].map(|()| PendingFile::new(&place).unwrap());
        for (file, bytes) in [(&mut first, b"first "), (&mut second, b"second")] {
            file.write_all(bytes).unwrap();
        }
        drop(dropped);
        assert_eq!(names(folder.path()).len(), 2);
        second.finish().unwrap();
        assert_eq!(fs_err::read(&place).unwrap(), b"second");
        first.finish().unwrap();
        assert_eq!(fs_err::read(&place).unwrap(), b"first ");
        assert_eq!(names(folder.path()), ["values.bin"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        for left in ["values.unfinished-1", "values.unfinished-22"] {
            fs_err::write(folder.path().join(left), "").unwrap();
        }
        // Of a process that runs, of another file, of none.
        let kept =
            ["other.unfinished-1", "values.unfinished-", "values.unfinished-333", "values.unfinished-x"];
        let written = kept.map(|name| fs_err::File::create(folder.path().join(name)).unwrap());
        written[2].file().lock().unwrap();
        drop(PendingFile::new(&folder.path().join("values.bin")).unwrap());
        assert_eq!(names(folder.path()), kept);
        assert_eq!(kept.map(is_unfinished), [true, false, true, false]);
    }

    #[test]
    fn of_several_new_ones_the_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("values.bin");
        let [first, second] = [b"first ", b"second"].map(|bytes| {
            let mut file = PendingFile::new(&place).unwrap();
            file.write_all(bytes).unwrap();
            file
        });
        assert!(first.finish_new().unwrap() && !second.finish_new().unwrap());
        assert_eq!(fs_err::read(&place).unwrap(), b"first ");
        assert_eq!(names(folder.path()), ["values.bin"]);
    }

    #[test]
    fn errors_have_the_name_of_the_file_and_the_words_of_the_system() {
        let around = tempfile::tempdir().unwrap();
        let said = |folder: &str| {
            write_whole(&around.path().join(folder).join("taken"), b"").unwrap_err().to_string()
        };
        assert!(
            said("none").ends_with("none/taken cannot be written: No such file or directory (os error 2)")
        );
        fs_err::create_dir(around.path().join("taken")).unwrap();
        assert!(said("").ends_with("/taken cannot be written: Is a directory (os error 21)"));
    }
}
