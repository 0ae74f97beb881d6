//! A store in memory, read-only, in which one file can be made to read differently, and
//! which knows what was read.
//!
//! Everything that would change the medium fails, so a test on it also shows that readers write nothing.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// How a file reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The bits of a byte that are the other way.
    Flip { at: usize, mask: u8 },
    /// Only the first bytes are there.
    Cut(usize),
    /// Some bytes more.
    Longer,
    /// There is no such file.
    Gone,
}

impl Fault {
    /// What reading gives instead of `good`.
    fn apply(self, good: &[u8]) -> Option<Vec<u8>> {
        match self {
            Fault::Flip { at, mask } => {
                let mut bad = good.to_vec();
                bad[at] ^= mask;
                Some(bad)
            }
            Fault::Cut(n) => Some(good[..n].to_vec()),
            Fault::Longer => Some([good, b"more bytes"].concat()),
            Fault::Gone => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Overlay(Arc<State>);

#[derive(Debug)]
struct State {
    files: Arc<BTreeMap<PathBuf, Arc<Vec<u8>>>>,
    fault: Mutex<Option<(PathBuf, Fault)>>,
    reads: Mutex<Vec<(PathBuf, Range<u64>)>>,
    /// The part of a map that is shown; the rest reads as rubbish.
    window: Mutex<Option<Window>>,
}

/// From a file's name and bytes to a part of it.
pub type Window = fn(&Path, &[u8]) -> Range<usize>;

impl Overlay {
    /// The files below a folder as they are now.
    pub fn load(root: &Path) -> Self {
        let files = super::files(root).into_iter().map(|f| {
            let path = root.join(f);
            let bytes = fs_err::read(&path).unwrap();
            (path, Arc::new(bytes))
        });
        Self::of(Arc::new(files.collect()))
    }

    fn of(files: Arc<BTreeMap<PathBuf, Arc<Vec<u8>>>>) -> Self {
        Overlay(Arc::new(State {
            files,
            fault: Mutex::new(None),
            reads: Mutex::new(Vec::new()),
            window: Mutex::new(None),
        }))
    }

    /// Another one of the same files, with its own fault.
    pub fn fork(&self) -> Self {
        Self::of(Arc::clone(&self.0.files))
    }

    /// The files.
    pub fn files(&self) -> &BTreeMap<PathBuf, Arc<Vec<u8>>> {
        &self.0.files
    }

    /// From now on a file reads differently, also where it is open already.
    pub fn set(&self, fault: Option<(&Path, Fault)>) {
        *self.0.fault.lock().unwrap() = fault.map(|(p, f)| (p.to_owned(), f));
    }

    /// From now on maps show only a part of their files, so that only this part counts as read.
    pub fn show_in_maps(&self, window: Window) {
        *self.0.window.lock().unwrap() = Some(window);
    }

    /// What was read since the last call. Opening a file counts as reading nothing at its start.
    pub fn reads(&self) -> Vec<(PathBuf, Range<u64>)> {
        std::mem::take(&mut self.0.reads.lock().unwrap())
    }

    fn note(&self, path: &Path, range: Range<u64>) {
        let mut reads = self.0.reads.lock().unwrap();
        if reads.len() < 100_000 {
            reads.push((path.to_owned(), range));
        }
    }

    fn bytes(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        let missing = || io::Error::new(ErrorKind::NotFound, format!("no file {}", path.display()));
        let good = self.0.files.get(path).ok_or_else(missing)?;
        match &*self.0.fault.lock().unwrap() {
            Some((file, fault)) if file == path => fault.apply(good).map(Arc::new).ok_or_else(missing),
            _ => Ok(Arc::clone(good)),
        }
    }
}

struct MemoryRead(Overlay, PathBuf);

impl VfsRead for MemoryRead {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes(&self.1)?.len() as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.note(&self.1, offset..offset + buf.len() as u64);
        let bytes = self.0.bytes(&self.1)?;
        match usize::try_from(offset).ok().and_then(|o| bytes.get(o..o.checked_add(buf.len())?)) {
            Some(part) => {
                buf.copy_from_slice(part);
                Ok(())
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Vfs for Overlay {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.note(path, 0..0);
        self.bytes(path)?;
        Ok(Box::new(MemoryRead(self.clone(), path.to_owned())))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        let mut bytes = self.bytes(path)?;
        if bytes.len() as u64 != len {
            return Err(io::Error::new(ErrorKind::InvalidData, "another length"));
        }
        let shown = match *self.0.window.lock().unwrap() {
            None => 0..bytes.len(),
            Some(window) => {
                let shown = window(path, self.0.files.get(path).map_or(&[], |b| b));
                let bytes = Arc::make_mut(&mut bytes);
                bytes[..shown.start].fill(0x5a);
                bytes[shown.end..].fill(0x5a);
                shown
            }
        };
        self.note(path, shown.start as u64..shown.end as u64);
        Ok(FileMap::from_bytes(&bytes))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let below = self.0.files.keys().filter_map(|f| f.strip_prefix(path).ok());
        let mut names: Vec<String> = below
            .filter_map(|f| f.components().next())
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.files.keys().any(|f| f.starts_with(path)))
    }
}
