//! A file system whose files are never in memory.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gstore_store::FileMap;
use gstore_store::vfs::*;

/// What reads past the system's memory do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// They read.
    Works,
    /// Every third one reads, the others fail.
    MostlyFails,
    /// There are none.
    Missing,
    /// Of files in a folder of this name they give a bit that the file does not have.
    Flips(&'static str),
}

/// The system's file system, whose maps count as out of memory.
#[derive(Debug)]
pub struct ColdVfs {
    direct: Direct,
    reads: Arc<AtomicUsize>,
    bytes: Arc<AtomicU64>,
}

impl ColdVfs {
    pub fn new(direct: Direct) -> Arc<Self> {
        Arc::new(Self { direct, reads: Arc::default(), bytes: Arc::default() })
    }

    /// Reads past the system's memory so far, those that failed among them.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Bytes that were asked for in them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

struct Counted {
    file: Box<dyn VfsRead>,
    direct: Direct,
    flips: bool,
    reads: Arc<AtomicUsize>,
    bytes: Arc<AtomicU64>,
}

impl VfsRead for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn read_span(&self, buffer: &mut AlignedBuffer, span: Range<u64>) -> io::Result<()> {
        let before = self.reads.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(span.end - span.start, Ordering::SeqCst);
        if self.direct == Direct::MostlyFails && !before.is_multiple_of(3) {
            return Err(io::Error::other("on purpose"));
        }
        if !self.flips {
            return self.file.read_span(buffer, span);
        }
        let bytes = buffer.resize((span.end - span.start) as usize);
        self.file.read_at(bytes, span.start)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        Ok(())
    }
}

impl Vfs for ColdVfs {
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        if self.direct == Direct::Missing {
            return Ok(None);
        }
        // Some file systems in memory have no such reads.
        let file = match OsVfs.open_direct(path)? {
            Some(file) => file,
            None => OsVfs.open(path)?,
        };
        let (direct, reads, bytes) = (self.direct, Arc::clone(&self.reads), Arc::clone(&self.bytes));
        let flips = path.iter().any(|part| matches!(direct, Direct::Flips(folder) if part == folder));
        Ok(Some(Box::new(Counted { file, direct, flips, reads, bytes })))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        Ok(OsVfs.map(path, len)?.out_of_memory())
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        OsVfs.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        OsVfs.create(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        OsVfs.open_random(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsVfs.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        OsVfs.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsVfs.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsVfs.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        OsVfs.lock(path, wait)
    }
}
