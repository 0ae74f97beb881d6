//! A file system that asks before each operation: a test can fail it, or do something else first.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

type Ask = dyn Fn(&str, &Path) -> io::Result<()> + Send + Sync;

#[derive(Clone)]
pub struct HookVfs(Arc<Ask>);

impl HookVfs {
    /// `ask` gets the operation's name and its (first) path.
    pub fn new(ask: impl Fn(&str, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(HookVfs(Arc::new(ask)))
    }
}

impl fmt::Debug for HookVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookVfs")
    }
}

impl Vfs for HookVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        (self.0)("create", path)?;
        OsVfs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        (self.0)("open", path)?;
        OsVfs.open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        (self.0)("open_random", path)?;
        OsVfs.open_random(path)
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        (self.0)("map", path)?;
        OsVfs.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)("rename", from)?;
        OsVfs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)("remove", path)?;
        OsVfs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)("create_dir", path)?;
        OsVfs.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)("remove_dir", path)?;
        OsVfs.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        (self.0)("list", path)?;
        OsVfs.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)("sync_dir", path)?;
        OsVfs.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        (self.0)("exists", path)?;
        OsVfs.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        (self.0)("lock", path)?;
        OsVfs.lock(path, wait)
    }
}
