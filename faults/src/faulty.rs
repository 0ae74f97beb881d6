//! A file system whose operations may fail, each as its faults decide.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::fmt::Debug;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What an operation does, as far as faults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    /// A read past the page cache.
    Direct,
    /// A change that needs no space.
    Change,
    /// One that needs space.
    Space,
    /// A write to a file, which needs space too.
    Write,
    Sync,
    /// A change that never reaches the medium.
    Lock,
}

/// Faults, which see every operation before it is done.
pub(crate) trait Faults: Clone + Debug + Send + Sync + 'static {
    fn step<T>(&self, kind: Kind, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    /// A write, of which `inner` does as much as the faults let through.
    fn write(&self, data: &[u8], inner: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.step(Kind::Write, || inner(data))
    }
    /// A flush of the file with this name.
    fn sync(&self, path: &Path, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _ = path;
        self.step(Kind::Sync, operation)
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        let _ = path;
        Ok(None)
    }
    /// A map as readers get it.
    fn mapped(&self, map: FileMap) -> FileMap {
        map
    }
}

/// A disk with faults.
#[derive(Debug, Clone)]
pub(crate) struct FaultyVfs<D, F> {
    pub(crate) disk: D,
    pub(crate) faults: F,
}

impl<D, F: Faults> FaultyVfs<D, F> {
    fn opened<T: ?Sized>(
        &self,
        kind: Kind,
        path: &Path,
        open: impl FnOnce() -> io::Result<Box<T>>,
    ) -> io::Result<Box<Opened<T, F>>> {
        let file = self.faults.step(kind, open)?;
        Ok(Box::new(Opened { file, faults: self.faults.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct Opened<T: ?Sized, F> {
    file: Box<T>,
    faults: F,
    path: PathBuf,
}

impl<F: Faults> Write for Opened<dyn VfsFile, F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.faults.write(buf, |part| self.file.write(part))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<F: Faults> VfsFile for Opened<dyn VfsFile, F> {
    fn sync(&mut self) -> io::Result<()> {
        self.faults.sync(&self.path, || self.file.sync())
    }
}

impl<T: VfsRead + ?Sized, F: Faults> VfsRead for Opened<T, F> {
    fn len(&self) -> io::Result<u64> {
        self.faults.step(Kind::Read, || self.file.len())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.faults.step(Kind::Read, || self.file.read_at(buf, offset))
    }
    fn forget(&self, offset: u64, len: u64) {
        self.file.forget(offset, len);
    }
}

impl<F: Faults> VfsRandom for Opened<dyn VfsRandom, F> {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let done = self.faults.write(data, |part| self.file.write_at(part, offset).map(|()| part.len()))?;
        // This one must write everything, so a short write is an error here.
        if done == data.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.step(Kind::Space, || self.file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.faults.sync(&self.path, || self.file.sync_data())
    }
}

/// Operations that are forwarded to the disk, each a step of its kind.
macro_rules! steps {
    ($($kind:ident: $method:ident($($arg:ident: $type:ty),+) -> $result:ty;)+) => {
        $(fn $method(&self, $($arg: $type),+) -> io::Result<$result> {
            self.faults.step(Kind::$kind, || self.disk.$method($($arg),+))
        })+
    };
}

impl<D: Vfs, F: Faults> Vfs for FaultyVfs<D, F> {
    steps! {
        Space: rename(from: &Path, to: &Path) -> ();
        Change: remove(path: &Path) -> ();
        Space: create_dir(path: &Path) -> ();
        Change: remove_dir(path: &Path) -> ();
        Read: list(path: &Path) -> Vec<String>;
        Sync: sync_dir(path: &Path) -> ();
        Read: exists(path: &Path) -> bool;
        Lock: lock(path: &Path, wait: bool) -> Option<Box<dyn VfsLock>>;
        Read: is_locked(path: &Path) -> bool;
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(self.opened(Kind::Space, path, || self.disk.create(path))?)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        Ok(self.opened(Kind::Read, path, || self.disk.open(path))?)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        Ok(self.opened(Kind::Space, path, || self.disk.open_random(path))?)
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        self.faults.open_direct(path)
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        Ok(self.faults.mapped(self.faults.step(Kind::Read, || self.disk.map(path, len))?))
    }
}
