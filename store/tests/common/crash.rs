//! A file system that stops working after a number of operations, as if the process had
//! died there, or fails once.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Debug, Clone)]
pub struct CrashVfs {
    os: OsVfs,
    left: Arc<AtomicI64>,
    once: bool,
}

impl CrashVfs {
    /// Works for `operations` changes of the medium, then fails everything.
    pub fn new(operations: i64) -> Self {
        CrashVfs { os: OsVfs, left: Arc::new(AtomicI64::new(operations)), once: false }
    }

    /// Fails one change of the medium after `operations` others, and works again after that.
    pub fn once(operations: i64) -> Self {
        CrashVfs { once: true, ..Self::new(operations) }
    }

    /// Operations that are left.
    pub fn left(&self) -> i64 {
        self.left.load(Ordering::SeqCst)
    }

    /// Changes how many operations are left.
    pub fn set_left(&self, operations: i64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let works = if self.once { left != 0 } else { left > 0 };
        if works { Ok(()) } else { Err(io::Error::new(io::ErrorKind::StorageFull, "injected")) }
    }

    fn alive(&self) -> io::Result<()> {
        if self.once || self.left() > 0 { Ok(()) } else { Err(io::Error::other("crashed")) }
    }
}

struct File(Box<dyn VfsFile>, CrashVfs);

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.1.step() {
            // Half of the write reached the file.
            let _ = self.0.write(&buf[..buf.len() / 2]);
            return Err(e);
        }
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync()
    }
}

#[derive(Debug)]
struct Random(Box<dyn VfsRandom>, CrashVfs);

impl VfsRead for Random {
    fn len(&self) -> io::Result<u64> {
        self.1.alive()?;
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.alive()?;
        self.0.read_at(buf, offset)
    }
}

impl VfsRandom for Random {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.write_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync_data()
    }
}

#[derive(Debug)]
struct Lock(Box<dyn VfsLock>, CrashVfs);

impl VfsLock for Lock {
    fn fill(&self, content: &[u8]) -> io::Result<()> {
        self.1.step()?;
        self.0.fill(content)
    }
}

impl Vfs for CrashVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.step()?;
        Ok(Box::new(File(self.os.create(path)?, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.alive()?;
        self.os.open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        self.step()?;
        Ok(Box::new(Random(self.os.open_random(path)?, self.clone())))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.alive()?;
        self.os.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.os.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.os.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.os.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.os.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        self.os.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.os.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.alive()?;
        self.os.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.alive()?;
        let lock = self.os.lock(path, wait)?;
        Ok(lock.map(|lock| -> Box<dyn VfsLock> { Box::new(Lock(lock, self.clone())) }))
    }
}
