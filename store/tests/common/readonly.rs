//! A file system on which nothing below one folder can be changed, or locked.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct ReadOnly {
    os: OsVfs,
    folder: PathBuf,
}

impl ReadOnly {
    pub fn new(folder: &Path) -> Self {
        ReadOnly { os: OsVfs, folder: folder.to_owned() }
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if path.starts_with(&self.folder) {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, path.display().to_string()));
        }
        Ok(())
    }
}

impl Vfs for ReadOnly {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.check(path)?;
        self.os.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.os.open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        self.check(path)?;
        self.os.open_random(path)
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.os.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.os.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.os.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.os.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.os.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.os.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.os.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.os.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.check(path)?;
        self.os.lock(path, wait)
    }
}
