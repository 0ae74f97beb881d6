//! A file system whose files are never in memory.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::altered::{Alter, Altered};
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

/// Parts of files, as they were asked for.
type Spans = Vec<(PathBuf, Range<u64>)>;

/// How long reads of spans take on a disk of this number.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub disk: u64,
    pub direct: Duration,
    pub ordinary: Duration,
}

/// The system's file system, whose maps count as out of memory.
#[derive(Debug)]
pub struct Cold {
    direct: Direct,
    pace: Option<Pace>,
    spans: Arc<Mutex<Spans>>,
}

pub type ColdVfs = Altered<Cold>;

impl ColdVfs {
    pub fn new(direct: Direct) -> Arc<Self> {
        Arc::new(Altered(Cold { direct, pace: None, spans: Arc::default() }))
    }

    /// One whose disk is measured.
    pub fn paced(direct: Direct, pace: Pace) -> Arc<Self> {
        Arc::new(Altered(Cold { direct, pace: Some(pace), spans: Arc::default() }))
    }
}

impl Cold {
    /// Reads past the system's memory so far, those that failed among them.
    pub fn reads(&self) -> usize {
        self.spans().len()
    }

    /// Bytes that were asked for in them.
    pub fn bytes(&self) -> u64 {
        self.spans().iter().map(|(_, span)| span.end - span.start).sum()
    }

    /// What was asked for in them.
    pub fn spans(&self) -> Spans {
        self.spans.lock().unwrap().clone()
    }
}

struct Counted {
    path: PathBuf,
    file: Box<dyn VfsRead>,
    direct: Direct,
    flips: bool,
    takes: Duration,
    spans: Arc<Mutex<Spans>>,
}

impl VfsRead for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn read_span(&self, buffer: &mut AlignedBuffer, span: Range<u64>) -> io::Result<()> {
        let before = {
            let mut spans = self.spans.lock().unwrap();
            spans.push((self.path.clone(), span.clone()));
            spans.len() - 1
        };
        if self.direct == Direct::MostlyFails && !before.is_multiple_of(3) {
            return Err(io::Error::other("on purpose"));
        }
        std::thread::sleep(self.takes);
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

/// An ordinary file whose spans take so long.
struct Slow(Box<dyn VfsRead>, Duration);

impl VfsRead for Slow {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn read_span(&self, buffer: &mut AlignedBuffer, span: Range<u64>) -> io::Result<()> {
        std::thread::sleep(self.1);
        self.0.read_span(buffer, span)
    }
}

impl Alter for Cold {
    fn direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        if self.direct == Direct::Missing {
            return Ok(None);
        }
        // Some file systems in memory have no such reads, and with a pace it alone is to count.
        let direct = if self.pace.is_some() { None } else { OsVfs.open_direct(path)? };
        let file = match direct {
            Some(file) => file,
            None => OsVfs.open(path)?,
        };
        let direct = self.direct;
        let flips = path.iter().any(|part| matches!(direct, Direct::Flips(folder) if part == folder));
        let takes = self.pace.map_or(Duration::ZERO, |pace| pace.direct);
        let (path, spans) = (path.to_owned(), Arc::clone(&self.spans));
        Ok(Some(Box::new(Counted { path, file, direct, flips, takes, spans })))
    }
    fn disk_number(&self) -> Option<u64> {
        Some(self.pace?.disk)
    }
    fn mapped(&self, map: FileMap) -> FileMap {
        map.out_of_memory()
    }
    fn reading(&self, file: Box<dyn VfsRead>) -> Box<dyn VfsRead> {
        match self.pace {
            Some(pace) => Box::new(Slow(file, pace.ordinary)),
            None => file,
        }
    }
}
