//! A file system that stops working after a number of operations, as if the process had
//! died there, or fails once.

use super::altered::{Alter, Altered};
use gstore_store::vfs::*;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Debug, Clone)]
pub struct Crash {
    left: Arc<AtomicI64>,
    once: bool,
    apart: bool,
}

pub type CrashVfs = Altered<Crash>;

impl CrashVfs {
    /// Works for `operations` changes of the medium, then fails everything.
    pub fn new(operations: i64) -> Self {
        Altered(Crash { left: Arc::new(AtomicI64::new(operations)), once: false, apart: false })
    }

    /// Fails one change of the medium after `operations` others, and works again after that.
    pub fn once(operations: i64) -> Self {
        Altered(Crash { once: true, ..Self::new(operations).0 })
    }

    /// The same where each folder is on another disk.
    pub fn apart(self) -> Self {
        Altered(Crash { apart: true, ..self.0 })
    }
}

impl Crash {
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

struct File(Box<dyn VfsFile>, Crash);

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
struct Random(Box<dyn VfsRandom>, Crash);

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
struct Lock(Box<dyn VfsLock>, Crash);

impl VfsLock for Lock {
    fn fill(&self, content: &[u8]) -> io::Result<()> {
        self.1.step()?;
        self.0.fill(content)
    }
}

impl Alter for Crash {
    fn before(&self, operation: &str, _: &Path) -> io::Result<()> {
        match operation {
            "open" | "map" | "list" | "exists" | "is_link" | "lock" => self.alive(),
            _ => self.step(),
        }
    }
    fn renamed(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.apart && from.parent() != to.parent() {
            true => Err(io::ErrorKind::CrossesDevices.into()),
            false => OsVfs.rename(from, to),
        }
    }
    fn file(&self, file: Box<dyn VfsFile>, _: &Path) -> Box<dyn VfsFile> {
        Box::new(File(file, self.clone()))
    }
    fn random(&self, file: Box<dyn VfsRandom>) -> Box<dyn VfsRandom> {
        Box::new(Random(file, self.clone()))
    }
    fn locked(&self, lock: Box<dyn VfsLock>) -> Box<dyn VfsLock> {
        Box::new(Lock(lock, self.clone()))
    }
}
