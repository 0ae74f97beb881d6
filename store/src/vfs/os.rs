//! The operating system's files and locks.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{
    Vfs, VfsFile, VfsLock, VfsRandom, VfsRead, create_flushed, direct, has_name, is_missing, parent,
};
use crate::map::FileMap;

/// How often a file is locked that others remove before.
const ATTEMPTS: usize = 100;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsVfs;

struct OsFile(fs_err::File);

impl Write for OsFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for OsFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[derive(Debug)]
struct OsRead(fs_err::File);

impl VfsRead for OsRead {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.file().metadata()?.len())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.file().read_exact_at(buf, offset)
    }
    #[cfg(target_os = "linux")]
    fn forget(&self, offset: u64, len: u64) {
        use rustix::fs::{Advice, fadvise};
        // It is as well if the system does not listen.
        let _ = fadvise(self.0.file(), offset, std::num::NonZeroU64::new(len), Advice::DontNeed);
    }
}

impl VfsRandom for OsRead {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.file().write_all_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A file that is locked as long as this is there.
#[derive(Debug)]
pub(super) struct OsLock(pub(super) fs_err::File);

impl VfsLock for OsLock {
    fn fill(&self, content: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.set_len(0)?;
        self.0.file().write_all_at(content, 0)
    }
}

impl Drop for OsLock {
    /// A child that this process has just forked holds the file until it runs its program, and with it a lock
    /// that is not given back in so many words.
    fn drop(&mut self) {
        let _ = self.0.file().unlock();
    }
}

/// An error of the system in the words of `fs_err`, with the system's as its source: by the number of that,
/// one of the medium is known.
#[derive(Debug, thiserror::Error)]
#[error("failed to {job} `{}`: {source}", path.display())]
struct PlaceError {
    job: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Says what was to be done where.
fn failed_to(job: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |source| io::Error::new(source.kind(), PlaceError { job, path: path.to_owned(), source })
}

/// Opens a file for reading. What is none is refused.
fn open(path: &Path) -> io::Result<fs_err::File> {
    let file = open_at_once(path)?;
    check_kind(&file)?;
    Ok(file)
}

/// Opens for reading without waiting: a named pipe would wait until somebody writes to it.
fn open_at_once(path: &Path) -> io::Result<fs_err::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let open = |flags: i32| std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let opened = match open(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()) {
        // Another host that has the file has to give it back first.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => open(0),
        opened => opened,
    };
    opened.map(|file| fs_err::File::from_parts(file, path)).map_err(failed_to("open file", path))
}

/// An error that says what is in the place of a file and is none. Systems open folders for reading, too.
fn check_kind(file: &fs_err::File) -> io::Result<()> {
    let kind = file.file().metadata()?.file_type();
    let found = match kind.is_file() {
        true => return Ok(()),
        false if kind.is_dir() => "a folder",
        false => "a named pipe or a device",
    };
    Err(io::Error::new(io::ErrorKind::IsADirectory, found))
}

impl Vfs for OsVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(OsFile(file)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        Ok(Box::new(OsRead(open(path)?)))
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        direct::open(path)
    }
    #[cfg(unix)]
    fn disk(&self, path: &Path) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        Some(fs_err::metadata(path).ok()?.dev())
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let opened =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = fs_err::File::from_parts(opened.map_err(failed_to("open file", path))?, path);
        check_kind(&file)?;
        Ok(Box::new(OsRead(file)))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        FileMap::open(open(path)?.file(), len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_flushed(parent(path))?;
        fs_err::create_dir_all(path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                io::Error::new(e.kind(), format!("{} is not a folder; move it away", path.display()))
            }
            _ => e,
        })
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let failed = failed_to("read directory", path);
        let mut names = Vec::new();
        for entry in path.read_dir().map_err(&failed)? {
            names.push(entry.map_err(&failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::File::open(path)?.sync_all()
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs_err::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if is_missing(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        Ok(fs_err::symlink_metadata(path)?.is_symlink())
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        Ok(lock(path, wait)?.map(|lock| -> Box<dyn VfsLock> { Box::new(lock) }))
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match open_at_once(path) {
            Ok(file) => file,
            Err(e) if is_missing(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        // Shared, so that two who look do not see each other.
        match file.file().try_lock_shared() {
            Ok(()) => {
                file.file().unlock()?;
                Ok(false)
            }
            Err(std::fs::TryLockError::WouldBlock) => Ok(true),
            Err(std::fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

/// The lock of a file, as of [`Vfs::lock`].
pub(super) fn lock(path: &Path, wait: bool) -> io::Result<Option<OsLock>> {
    let mut attempts = 0;
    loop {
        let Some(file) = open_locked(path, wait)? else { return Ok(None) };
        attempts += 1;
        // Who had it may have removed the file before it was locked here: others do not find this lock then.
        // Where files have no lasting numbers that cannot be told.
        if attempts == ATTEMPTS || has_name(&file, path)? {
            return Ok(Some(OsLock(file)));
        }
    }
}

/// A file that is made if it is not there, and locked; `None` if it is held and `wait` is not set.
fn open_locked(path: &Path, wait: bool) -> io::Result<Option<fs_err::File>> {
    let opened = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = opened.map_err(|e| match is_missing(&e) && OsVfs.exists(path).unwrap_or(false) {
        true => io::Error::new(e.kind(), format!("{} is a link to nothing; remove it", path.display())),
        false => e,
    })?;
    if wait {
        file.file().lock().map_err(|e| not_locked(path, &e))?;
        return Ok(Some(file));
    }
    match file.file().try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(not_locked(path, &e)),
    }
}

/// An error of a lock, with its file: of kind `Unsupported` wherever files cannot be locked. What NFS says
/// whose server locks nothing has no kind of its own.
fn not_locked(path: &Path, e: &io::Error) -> io::Error {
    let kind = match e.raw_os_error() {
        Some(libc::ENOLCK) => io::ErrorKind::Unsupported,
        _ => e.kind(),
    };
    io::Error::new(kind, format!("{} cannot be locked: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{is_medium, is_unreadable};
    use std::error::Error as _;

    #[test]
    fn a_lock_is_of_the_file_that_has_the_name_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = OsVfs.lock(&path, false).unwrap().unwrap();
        let waiting = path.clone();
        let waiter = std::thread::spawn(move || OsVfs.lock(&waiting, true).unwrap().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs_err::remove_file(&path).unwrap();
        drop(held);
        let lock = waiter.join().unwrap();
        assert!(OsVfs.lock(&path, false).unwrap().is_none(), "others find it");
        drop(lock);
    }

    #[test]
    fn an_error_names_its_place_and_keeps_the_number_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("file"), dir.path().join("missing"));
        fs_err::write(&file, "").unwrap();
        let below = file.join("below");
        let errors = [
            (OsVfs.open(&missing).err().unwrap(), fs_err::File::open(&missing).unwrap_err(), libc::ENOENT),
            (OsVfs.map(&below, 1).err().unwrap(), fs_err::File::open(&below).unwrap_err(), libc::ENOTDIR),
            (
                OsVfs.open_random(&below).err().unwrap(),
                fs_err::File::open(&below).unwrap_err(),
                libc::ENOTDIR,
            ),
            (OsVfs.list(&missing).unwrap_err(), fs_err::read_dir(&missing).unwrap_err(), libc::ENOENT),
            (OsVfs.list(&file).unwrap_err(), fs_err::read_dir(&file).unwrap_err(), libc::ENOTDIR),
        ];
        for (error, as_fs_err, number) in errors {
            assert_eq!((error.kind(), error.to_string()), (as_fs_err.kind(), as_fs_err.to_string()));
            let of_system = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(of_system.raw_os_error(), Some(number), "{error}");
            assert!(!is_unreadable(&error), "{error}");
        }
        for job in ["open file", "read directory"] {
            let error = failed_to(job, &file)(io::Error::from_raw_os_error(libc::EIO));
            assert!(is_unreadable(&error) && is_medium(&error), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_locked_anywhere_are_of_one_kind() {
        let path = Path::new("a/lock");
        let failed = |code| not_locked(path, &io::Error::from_raw_os_error(code));
        for code in [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS] {
            let e = failed(code);
            assert_eq!(e.kind(), io::ErrorKind::Unsupported, "{code}");
            assert!(e.to_string().starts_with("a/lock cannot be locked: "), "{e}");
        }
        for code in [libc::EBADF, libc::EIO, libc::EACCES] {
            assert_eq!(failed(code).kind(), io::Error::from_raw_os_error(code).kind(), "{code}");
        }
    }

    #[test]
    fn a_dropped_lock_is_free_while_another_descriptor_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = fs_err::File::create(&path).unwrap();
        file.file().lock().unwrap();
        // As a forked child has it.
        let inherited = file.file().try_clone().unwrap();
        let lock = OsLock(file);
        assert!(OsVfs.is_locked(&path).unwrap());
        drop(lock);
        assert!(!OsVfs.is_locked(&path).unwrap());
        assert!(OsVfs.lock(&path, false).unwrap().is_some());
        drop(inherited);
    }
}
