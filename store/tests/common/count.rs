//! A file system that counts: operations, bytes written by folder, and the time that flushes take.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was counted since the last [`CountVfs::take`].
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Files opened for reading.
    pub opened: Vec<PathBuf>,
    /// Reads of them, and the bytes.
    pub reads: u64,
    pub read: u64,
    /// Bytes written, by file.
    pub written: Vec<(PathBuf, u64)>,
    pub syncs: u64,
    pub sync_time: Duration,
}

impl Counts {
    /// Bytes written to files whose path contains a text.
    pub fn bytes_to(&self, what: &str) -> u64 {
        let matching = |p: &Path| p.to_string_lossy().contains(what);
        self.written.iter().filter(|(p, _)| matching(p)).map(|(_, n)| n).sum()
    }

    /// Files read whose path contains a text.
    pub fn reads_of(&self, what: &str) -> usize {
        self.opened.iter().filter(|p| p.to_string_lossy().contains(what)).count()
    }
}

#[derive(Debug, Clone, Default)]
pub struct CountVfs {
    os: OsVfs,
    counts: Arc<Mutex<Counts>>,
    /// Whether flushes are only counted.
    skip: bool,
}

impl CountVfs {
    /// Counts flushes without doing them: for building large temporary stores.
    pub fn without_syncs() -> Self {
        CountVfs { skip: true, ..Self::default() }
    }

    /// What was counted; resets the counts.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn sync(&self, f: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let start = Instant::now();
        let result = if self.skip { Ok(()) } else { f() };
        self.count(|c| {
            c.syncs += 1;
            c.sync_time += start.elapsed();
        });
        result
    }
}

struct File(Box<dyn VfsFile>, PathBuf, CountVfs);

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.0.write(buf)?;
        self.2.count(|c| match c.written.last_mut() {
            Some((path, bytes)) if *path == self.1 => *bytes += n as u64,
            _ => c.written.push((self.1.clone(), n as u64)),
        });
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        let File(file, _, vfs) = self;
        vfs.sync(|| file.sync())
    }
}

struct Reading(Box<dyn VfsRead>, CountVfs);

impl VfsRead for Reading {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.count(|c| {
            c.reads += 1;
            c.read += buf.len() as u64;
        });
        self.0.read_at(buf, offset)
    }
    fn forget(&self, offset: u64, len: u64) {
        self.0.forget(offset, len);
    }
}

#[derive(Debug)]
struct Random(Box<dyn VfsRandom>, CountVfs);

impl VfsRead for Random {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
}

impl VfsRandom for Random {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.sync(|| self.0.sync_data())
    }
}

impl Vfs for CountVfs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(File(self.os.create(path)?, path.to_owned(), self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.count(|c| c.opened.push(path.to_owned()));
        Ok(Box::new(Reading(self.os.open(path)?, self.clone())))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        Ok(Box::new(Random(self.os.open_random(path)?, self.clone())))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.os.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.os.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.os.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.os.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.os.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.os.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync(|| self.os.sync_dir(path))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.os.exists(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.os.lock(path, wait)
    }
}
