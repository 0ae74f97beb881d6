//! The operating system's file system, on which the process dies at a chosen change.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts changes, and kills the process with SIGKILL at one of them.
#[derive(Debug, Clone)]
pub(super) struct DyingVfs {
    os: OsVfs,
    left: Option<Arc<AtomicU64>>,
    /// After the change instead of before it.
    after: bool,
}

impl DyingVfs {
    pub(super) fn new(at: Option<u64>, after: bool) -> Self {
        DyingVfs { os: OsVfs, left: at.map(|n| Arc::new(AtomicU64::new(n))), after }
    }

    fn step<T>(&self, change: impl FnOnce() -> T) -> T {
        let now = self.left.as_ref().is_some_and(|left| left.fetch_sub(1, Ordering::SeqCst) == 1);
        if now && !self.after {
            die();
        }
        let out = change();
        if now {
            die();
        }
        out
    }
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

struct File(Box<dyn VfsFile>, DyingVfs);

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.step(|| self.0.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.1.step(|| self.0.sync())
    }
}

#[derive(Debug)]
struct Changing(Box<dyn VfsRandom>, DyingVfs);

impl VfsRead for Changing {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
}

impl VfsRandom for Changing {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.step(|| self.0.write_at(data, offset))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step(|| self.0.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step(|| self.0.sync_data())
    }
}

impl Vfs for DyingVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = self.step(|| self.os.create(path))?;
        Ok(Box::new(File(file, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.os.open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let file = self.step(|| self.os.open_random(path))?;
        Ok(Box::new(Changing(file, self.clone())))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.os.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| self.os.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| self.os.remove(path))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| self.os.create_dir(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| self.os.remove_dir(path))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.os.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| self.os.sync_dir(path))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.os.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.step(|| self.os.lock(path, wait))
    }
}
