//! A file system on which one operation fails.

use super::DirectFault;
use crate::disk::SimDisk;
use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io::{self, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Any operation, including reads, reports an error of the device and does nothing.
    Device,
    /// An operation that needs space reports that the disk is full.
    NoSpace,
    /// From some operation on, everything that needs space fails.
    Full,
    /// A write does half of the work and reports the number of bytes; where it cannot, it is an error.
    Short,
    /// A write does half of the work and reports an error.
    Torn,
    /// A sync fails, and what was not durable of the file is lost.
    Sync,
    /// A direct read fails; ordinary reads do not.
    Direct(DirectFault),
}

impl Fault {
    /// All faults that an operation may meet.
    pub const ALL: [Fault; 6] =
        [Fault::Device, Fault::NoSpace, Fault::Full, Fault::Short, Fault::Torn, Fault::Sync];

    fn error(self) -> Error {
        match self {
            Fault::Device | Fault::Sync | Fault::Direct(_) => Error::other("injected: input/output error"),
            Fault::NoSpace | Fault::Full | Fault::Short | Fault::Torn => {
                Error::new(ErrorKind::StorageFull, "injected: no space left on device")
            }
        }
    }
}

/// What an operation does, as far as faults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Direct,
    Change,
    Space,
    Write,
    Sync,
}

#[derive(Debug)]
struct Trigger {
    fault: Fault,
    armed: AtomicBool,
    /// Operations left until the one that fails.
    left: AtomicU64,
    fired: AtomicBool,
}

/// The disk with a fault.
#[derive(Debug, Clone)]
pub struct FailVfs {
    disk: SimDisk,
    trigger: Arc<Trigger>,
}

impl FailVfs {
    /// The operation after `n` others that this fault applies to will fail.
    pub fn new(disk: SimDisk, fault: Fault, n: u64) -> Self {
        let trigger = Trigger {
            fault,
            armed: AtomicBool::new(false),
            left: AtomicU64::new(n),
            fired: AtomicBool::new(false),
        };
        FailVfs { disk, trigger: Arc::new(trigger) }
    }

    /// Faults occur only while it is armed.
    pub fn arm(&self, armed: bool) {
        self.trigger.armed.store(armed, Ordering::SeqCst);
    }

    /// Whether the fault occurred.
    pub fn fired(&self) -> bool {
        self.trigger.fired.load(Ordering::SeqCst)
    }

    /// Counts an operation; returns whether it is to fail.
    fn fails(&self, kind: Kind) -> bool {
        let t = &self.trigger;
        if !t.armed.load(Ordering::SeqCst) {
            return false;
        }
        let concerned = match t.fault {
            Fault::Device => true,
            Fault::NoSpace | Fault::Full => matches!(kind, Kind::Space | Kind::Write),
            Fault::Short | Fault::Torn => kind == Kind::Write,
            Fault::Sync => kind == Kind::Sync,
            Fault::Direct(_) => kind == Kind::Direct,
        };
        if !concerned {
            return false;
        }
        let left = t.left.load(Ordering::SeqCst);
        if left > 0 {
            t.left.store(left - 1, Ordering::SeqCst);
            return false;
        }
        let first = !t.fired.swap(true, Ordering::SeqCst);
        first || t.fault == Fault::Full
    }

    fn step<T>(&self, kind: Kind, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.fails(kind) { Err(self.trigger.fault.error()) } else { operation() }
    }

    /// A write: all of it, or as much as the fault lets through.
    fn write(&self, data: &[u8], mut inner: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        if !self.fails(Kind::Write) {
            return inner(data);
        }
        let half = data.get(..data.len() / 2).unwrap_or_default();
        match self.trigger.fault {
            Fault::Short => inner(half),
            Fault::Torn => {
                inner(half)?;
                Err(self.trigger.fault.error())
            }
            fault => Err(fault.error()),
        }
    }
}

struct File(Box<dyn VfsFile>, FailVfs, PathBuf);

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let inner = &mut self.0;
        self.1.write(buf, |part| inner.write(part))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        if self.1.fails(Kind::Sync) {
            self.1.disk.fail_sync(&self.2);
            return Err(self.1.trigger.fault.error());
        }
        self.0.sync()
    }
}

struct Reading(Box<dyn VfsRead>, FailVfs);

impl VfsRead for Reading {
    fn len(&self) -> io::Result<u64> {
        self.1.step(Kind::Read, || self.0.len())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.step(Kind::Read, || self.0.read_at(buf, offset))
    }
}

/// A file that is read directly, past the page cache.
struct Direct(Box<dyn VfsRead>, FailVfs);

impl VfsRead for Direct {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self.1.trigger.fault {
            Fault::Direct(DirectFault::Missing) => self.0.read_at(buf, offset),
            Fault::Direct(fault) if self.1.fails(Kind::Direct) => fault.read(buf, &*self.0, offset),
            _ => self.1.step(Kind::Read, || self.0.read_at(buf, offset)),
        }
    }
}

#[derive(Debug)]
struct Changing(Box<dyn VfsRandom>, FailVfs, PathBuf);

impl VfsRead for Changing {
    fn len(&self) -> io::Result<u64> {
        self.1.step(Kind::Read, || self.0.len())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.step(Kind::Read, || self.0.read_at(buf, offset))
    }
}

impl VfsRandom for Changing {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let done = self.1.write(data, |part| self.0.write_at(part, offset).map(|()| part.len()))?;
        // This one must write everything, so a short write is an error here.
        if done == data.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step(Kind::Space, || self.0.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.1.fails(Kind::Sync) {
            self.1.disk.fail_sync(&self.2);
            return Err(self.1.trigger.fault.error());
        }
        self.0.sync_data()
    }
}

impl Vfs for FailVfs {
    steps! {
        Space: rename(from: &Path, to: &Path) -> ();
        Change: remove(path: &Path) -> ();
        Space: create_dir(path: &Path) -> ();
        Change: remove_dir(path: &Path) -> ();
        Read: list(path: &Path) -> Vec<String>;
        Sync: sync_dir(path: &Path) -> ();
        Read: exists(path: &Path) -> bool;
        Change: lock(path: &Path, wait: bool) -> Option<Box<dyn VfsLock>>;
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = self.step(Kind::Space, || self.disk.create(path))?;
        Ok(Box::new(File(file, self.clone(), path.to_owned())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        Ok(Box::new(Reading(self.step(Kind::Read, || self.disk.open(path))?, self.clone())))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let file = self.step(Kind::Space, || self.disk.open_random(path))?;
        Ok(Box::new(Changing(file, self.clone(), path.to_owned())))
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        if self.trigger.fault == Fault::Direct(DirectFault::Missing) && self.fails(Kind::Direct) {
            return Ok(None);
        }
        Ok(Some(Box::new(Direct(self.disk.open(path)?, self.clone()))))
    }
    /// What is mapped is reported as not resident, so that readers read it ahead.
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        Ok(self.step(Kind::Read, || self.disk.map(path, len))?.out_of_memory())
    }
}
