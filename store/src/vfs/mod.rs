//! The file system as a store needs it: a small trait, so that tests can count, fail or lose operations.
//!
//! Invariants
//! - everything the store reads or writes goes through one `Vfs`
//! - bytes and names are two things: `VfsFile::sync` makes the bytes of a file durable, `Vfs::sync_dir` of
//!   its folder its name. Until both have returned, a loss of power may leave the file without its name, or
//!   the name with any part of the bytes
//! - an error of a flush is final for that file: it is abandoned and written again under another
//!   name, never flushed again

mod buffer;
mod direct;

pub use buffer::AlignedBuffer;

use crate::map::FileMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// A file being written for the first time, from start to end.
pub trait VfsFile: Write + Send {
    /// Flushes the bytes and the length. On return they are durable, the name is not: see [`Vfs::sync_dir`].
    fn sync(&mut self) -> io::Result<()>;
}

/// A file being read.
pub trait VfsRead: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset`; an end of file before that is an error of kind `UnexpectedEof`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Reads a span of the file, which `buffer` has afterwards. More may be read on both sides of it.
    fn read_span(&self, buffer: &mut AlignedBuffer, span: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(span.end.saturating_sub(span.start)).map_err(io::Error::other)?;
        self.read_at(buffer.resize(len), span.start)
    }
    /// Says that these bytes will not be read again soon, so that the system need not keep them in memory. A
    /// hint: nothing depends on it.
    fn forget(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file being changed in place. Only the ledger is.
pub trait VfsRandom: VfsRead + Debug {
    /// Writes all of `data` at `offset`. Durable after [`VfsRandom::sync_data`].
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends the file; new bytes are zero. Durable after [`VfsRandom::sync_data`].
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Flushes bytes and length. On return they are durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock, held until it is dropped or the process ends. It belongs to the file, not to its name: it
/// stays when that changes.
pub trait VfsLock: Send + Sync + Debug {
    /// Replaces the content of the locked file; nothing is flushed. Where files cannot be written through
    /// their lock, this is an error of kind `Unsupported`.
    fn fill(&self, _content: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The file system.
pub trait Vfs: Debug + Send + Sync {
    /// Makes a new file; one that exists is an error. Nothing is durable: the bytes are after
    /// [`VfsFile::sync`], the name after [`Vfs::sync_dir`] of the folder.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>>;
    /// Opens a file for spans that are read past the system's memory, which need not keep what is needed
    /// once. `None` where there is no such way; a read may fail as well, and then an ordinary one has to be
    /// tried.
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        let _ = path;
        Ok(None)
    }
    /// Opens or makes a file that is changed in place. The name of a new one is durable
    /// after [`Vfs::sync_dir`].
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>>;
    /// Maps a file that has exactly `len` bytes.
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap>;
    /// The whole file, which must not be longer than `limit`.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file has {len} bytes, more than {limit}"),
            ));
        }
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
    /// Gives a file another name in one step, replacing what had it: every reader, and every state after a
    /// loss of power, has the old file or the new one under that name. Durable after [`Vfs::sync_dir`] of the
    /// folder, of both folders if they differ. The bytes must have been flushed before, or the name may lead
    /// to a file without them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Readers that have it open or mapped keep it. Until [`Vfs::sync_dir`] of the
    /// folder, it may come back.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and those above it; one that exists is fine. Each name is durable after
    /// [`Vfs::sync_dir`] of the folder above.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder. Until [`Vfs::sync_dir`] of the folder above, it may come back.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Flushes the names in a folder: on return, what was made, renamed and removed in it is durable. It says
    /// nothing of the bytes of the files, and nothing of the folder's own name.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether something has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Takes the exclusive lock of a file, making the file if needed. Waits if `wait`, else `None`
    /// says that it is held. A lock is never durable: it ends with the process, and a file that was
    /// made for it may be lost.
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>>;
    /// Whether the lock of a file is held. Makes no file: the lock of a missing file is not held.
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        Ok(self.exists(path)? && self.lock(path, false)?.is_none())
    }
}

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
        Ok(self.0.metadata()?.len())
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

#[derive(Debug)]
struct OsLock(fs_err::File);

impl VfsLock for OsLock {
    fn fill(&self, content: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.set_len(0)?;
        self.0.file().write_all_at(content, 0)
    }
}

impl Drop for OsLock {
    /// A child that this process has just forked holds the file until it runs its program, and with it a lock that is
    /// not given back in so many words.
    fn drop(&mut self) {
        let _ = self.0.file().unlock();
    }
}

impl Vfs for OsVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(OsFile(file)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        Ok(Box::new(OsRead(fs_err::File::open(path)?)))
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        direct::open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let file =
            fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(OsRead(file)))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        FileMap::open(fs_err::File::open(path)?.file(), len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::create_dir_all(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::File::open(path)?.sync_all()
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs_err::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(e) => Err(e),
        }
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        let file =
            fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if wait {
            file.file().lock()?;
        } else {
            match file.file().try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(e)) => return Err(e),
            }
        }
        Ok(Some(Box::new(OsLock(file))))
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match fs_err::File::open(path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
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

/// Bytes that may be written on the disk of a path, or of the nearest folder above it that is there; `None`
/// where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let place = path.ancestors().find(|place| fs_err::metadata(place).is_ok())?;
    let disk = rustix::fs::statvfs(place).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_whoever_else_has_the_file_open() {
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
