//! A file system that counts: operations, bytes written by folder, and the time that flushes take.

use super::altered::{Alter, Altered};
use gstore_core::locked;
use gstore_store::vfs::*;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was counted since the last [`Count::take`].
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Files opened for reading.
    pub opened: Vec<PathBuf>,
    /// Reads of them, and the bytes.
    pub reads: u64,
    pub read: u64,
    /// Bytes read of files that are written at any place.
    pub read_random: u64,
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
pub struct Count {
    counts: Arc<Mutex<Counts>>,
    /// Whether flushes are only counted.
    skip: bool,
}

pub type CountVfs = Altered<Count>;

impl CountVfs {
    /// Counts flushes without doing them: for building large temporary stores.
    pub fn without_syncs() -> Self {
        Altered(Count { skip: true, ..Count::default() })
    }
}

impl Count {
    /// What was counted; resets the counts.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut locked(&self.counts))
    }

    fn count(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut locked(&self.counts));
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

struct File(Box<dyn VfsFile>, PathBuf, Count);

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

struct Reading(Box<dyn VfsRead>, Count);

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
struct Random(Box<dyn VfsRandom>, Count);

impl VfsRead for Random {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.count(|c| c.read_random += buf.len() as u64);
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

impl Alter for Count {
    fn before(&self, operation: &str, path: &Path) -> io::Result<()> {
        if operation == "open" {
            self.count(|c| c.opened.push(path.to_owned()));
        }
        Ok(())
    }
    fn file(&self, file: Box<dyn VfsFile>, path: &Path) -> Box<dyn VfsFile> {
        Box::new(File(file, path.to_owned(), self.clone()))
    }
    fn reading(&self, file: Box<dyn VfsRead>) -> Box<dyn VfsRead> {
        Box::new(Reading(file, self.clone()))
    }
    fn random(&self, file: Box<dyn VfsRandom>) -> Box<dyn VfsRandom> {
        Box::new(Random(file, self.clone()))
    }
    fn synced(&self, folder: &Path) -> io::Result<()> {
        self.sync(|| OsVfs.sync_dir(folder))
    }
}
