//! The system's file system with what a test alters of it.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::fmt::Debug;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// What a test alters. What it leaves out is as in the system's file system.
pub trait Alter: Debug + Send + Sync {
    /// Comes before each operation, with its name and (first) path; its error is that of the operation.
    fn before(&self, _operation: &str, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn file(&self, file: Box<dyn VfsFile>, _path: &Path) -> Box<dyn VfsFile> {
        file
    }
    fn reading(&self, file: Box<dyn VfsRead>) -> Box<dyn VfsRead> {
        file
    }
    fn random(&self, file: Box<dyn VfsRandom>) -> Box<dyn VfsRandom> {
        file
    }
    fn locked(&self, lock: Box<dyn VfsLock>) -> Box<dyn VfsLock> {
        lock
    }
    fn mapped(&self, map: FileMap) -> FileMap {
        map
    }
    fn direct(&self, _path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        Ok(None)
    }
    fn disk_number(&self) -> Option<u64> {
        None
    }
    fn renamed(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }
    fn synced(&self, folder: &Path) -> io::Result<()> {
        OsVfs.sync_dir(folder)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Altered<A>(pub A);

impl<A> Deref for Altered<A> {
    type Target = A;
    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Alter> Vfs for Altered<A> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.0.before("create", path)?;
        Ok(self.0.file(OsVfs.create(path)?, path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.0.before("open", path)?;
        Ok(self.0.reading(OsVfs.open(path)?))
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        self.0.direct(path)
    }
    fn disk(&self, _: &Path) -> Option<u64> {
        self.0.disk_number()
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        self.0.before("open_random", path)?;
        Ok(self.0.random(OsVfs.open_random(path)?))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.0.before("map", path)?;
        Ok(self.0.mapped(OsVfs.map(path, len)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.before("rename", from)?;
        self.0.renamed(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.before("remove", path)?;
        OsVfs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before("create_dir", path)?;
        OsVfs.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before("remove_dir", path)?;
        OsVfs.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.before("list", path)?;
        OsVfs.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before("sync_dir", path)?;
        self.0.synced(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.before("exists", path)?;
        OsVfs.exists(path)
    }
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        self.0.before("is_link", path)?;
        OsVfs.is_link(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.0.before("lock", path)?;
        Ok(OsVfs.lock(path, wait)?.map(|lock| self.0.locked(lock)))
    }
}
