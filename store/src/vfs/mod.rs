//! The file system as a store needs it: a small trait, so that tests can count, fail or lose operations.
//!
//! Invariants
//! - everything the store reads or writes goes through one `Vfs`
//! - bytes and names are two things: `VfsFile::sync` makes the bytes of a file durable, `Vfs::sync_dir` of
//!   its folder its name. Until both have returned, a loss of power may leave the file without its name, or
//!   the name with any part of the bytes
//! - an error of a flush is final for that file: it is abandoned and written again under another
//!   name, never flushed again

mod created_folder;
mod direct;
mod file_lock;
mod os;
mod resolve;
mod room;
mod span;
mod unfinished;

pub use crate::buffer::AlignedBuffer;
pub use created_folder::CreatedFolder;
pub use file_lock::{FileLock, has_name};
pub(crate) use gstore_core::if_there;
pub use os::OsVfs;
pub use resolve::resolve;
pub use room::{NoRoom, check_room, free_space};
pub(crate) use span::{SpanFailure, hash_span};
pub use unfinished::{
    PendingFile, create_flushed, is_unfinished, parent, remove_leftovers, sync_folder, unfinished_file,
    write_whole,
};

use crate::map::FileMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// Whether an error says that there is no file or folder of the name, or that a part of the path is a file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

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

/// Refuses a change.
fn read_only<T>(_: impl Sized) -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

/// The file system. A change that it does not say how to make is refused, as on a read-only medium.
pub trait Vfs: Debug + Send + Sync {
    /// Makes a new file; one that exists is an error. Nothing is durable: the bytes are after
    /// [`VfsFile::sync`], the name after [`Vfs::sync_dir`] of the folder.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        read_only(path)
    }
    /// Opens a file for reading. What is none is not waited for, and an error of kind `IsADirectory` that says
    /// what it is: a folder, or a pipe or device, which have no kind of their own.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>>;
    /// Opens a file for spans that are read past the system's memory, which need not keep what is needed
    /// once. `None` where there is no such way; a read may fail as well, and then an ordinary one has to be
    /// tried.
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        let _ = path;
        Ok(None)
    }
    /// A number of the file system that a path is on, which stays while it is mounted: for each it is
    /// measured whether reads past the system's memory are faster than others. `None`: nothing is measured,
    /// and what [`Vfs::open_direct`] opens is taken.
    fn disk(&self, path: &Path) -> Option<u64> {
        let _ = path;
        None
    }
    /// Opens or makes a file that is changed in place. The name of a new one is durable
    /// after [`Vfs::sync_dir`].
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        read_only(path)
    }
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
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        read_only((from, to))
    }
    /// Removes a file. Readers that have it open or mapped keep it. Until [`Vfs::sync_dir`] of the
    /// folder, it may come back.
    fn remove(&self, path: &Path) -> io::Result<()> {
        read_only(path)
    }
    /// Makes a folder and those above it; one that exists is fine. Its name is durable after
    /// [`Vfs::sync_dir`] of the folder above. [`OsVfs`] flushes the names of missing folders above, which are
    /// outside of a store.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        read_only(path)
    }
    /// Removes an empty folder. Until [`Vfs::sync_dir`] of the folder above, it may come back.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        read_only(path)
    }
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Flushes the names in a folder: on return, what was made, renamed and removed in it is durable. It says
    /// nothing of the bytes of the files, and nothing of the folder's own name.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        read_only(path)
    }
    /// Whether something has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Whether a name is a link to another one, which has the content.
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }
    /// Takes the exclusive lock of a file, making the file if needed. Waits if `wait`, else `None`
    /// says that it is held. The file has this name when it is locked, also where who had the lock before has
    /// removed it. A lock is never durable: it ends with the process, and a file that was made for it may be
    /// lost. Where files cannot be locked, this is an error of kind `Unsupported`.
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        read_only((path, wait))
    }
    /// Whether the lock of a file is held. Makes no file: the lock of a missing file is not held.
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        Ok(self.exists(path)? && self.lock(path, false)?.is_none())
    }
}
