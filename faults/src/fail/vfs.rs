//! A file system on which one operation fails.

use super::DirectFault;
use crate::disk::SimDisk;
use crate::faulty::{Faults, FaultyVfs, Kind};
use gstore_store::FileMap;
use gstore_store::vfs::{Vfs, VfsRead};
use std::io::{self, Error, ErrorKind};
use std::path::Path;
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

/// The disk with a fault.
pub(super) type FailVfs = FaultyVfs<SimDisk, Arc<Trigger>>;

#[derive(Debug)]
pub(super) struct Trigger {
    /// The same disk.
    disk: SimDisk,
    fault: Fault,
    armed: AtomicBool,
    /// Operations left until the one that fails.
    left: AtomicU64,
    fired: AtomicBool,
}

impl FailVfs {
    /// The operation after `n` others that this fault applies to will fail.
    pub(super) fn new(disk: SimDisk, fault: Fault, n: u64) -> Self {
        let trigger = Trigger {
            disk: disk.clone(),
            fault,
            armed: AtomicBool::new(false),
            left: AtomicU64::new(n),
            fired: AtomicBool::new(false),
        };
        FaultyVfs { disk, faults: Arc::new(trigger) }
    }

    /// Faults occur only while it is armed.
    pub(super) fn arm(&self, armed: bool) {
        self.faults.armed.store(armed, Ordering::SeqCst);
    }

    /// Whether the fault occurred.
    pub(super) fn fired(&self) -> bool {
        self.faults.fired.load(Ordering::SeqCst)
    }
}

impl Trigger {
    /// Counts an operation; returns whether it is to fail.
    fn fails(&self, kind: Kind) -> bool {
        if !self.armed.load(Ordering::SeqCst) {
            return false;
        }
        let concerned = match self.fault {
            Fault::Device => true,
            Fault::NoSpace | Fault::Full => matches!(kind, Kind::Space | Kind::Write),
            Fault::Short | Fault::Torn => kind == Kind::Write,
            Fault::Sync => kind == Kind::Sync,
            Fault::Direct(_) => kind == Kind::Direct,
        };
        if !concerned {
            return false;
        }
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            return false;
        }
        let first = !self.fired.swap(true, Ordering::SeqCst);
        first || self.fault == Fault::Full
    }
}

impl Faults for Arc<Trigger> {
    fn step<T>(&self, kind: Kind, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.fails(kind) { Err(self.fault.error()) } else { operation() }
    }

    fn write(&self, data: &[u8], inner: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        if !self.fails(Kind::Write) {
            return inner(data);
        }
        let half = data.get(..data.len() / 2).unwrap_or_default();
        match self.fault {
            Fault::Short => inner(half),
            Fault::Torn => {
                inner(half)?;
                Err(self.fault.error())
            }
            fault => Err(fault.error()),
        }
    }

    fn sync(&self, path: &Path, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.fails(Kind::Sync) {
            self.disk.fail_sync(path);
            return Err(self.fault.error());
        }
        operation()
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        if self.fault == Fault::Direct(DirectFault::Missing) && self.fails(Kind::Direct) {
            return Ok(None);
        }
        Ok(Some(Box::new(Direct(self.disk.open(path)?, self.clone()))))
    }

    /// Reported as not resident, so that readers read it ahead.
    fn mapped(&self, map: FileMap) -> FileMap {
        map.out_of_memory()
    }
}

/// A file that is read directly, past the page cache.
struct Direct(Box<dyn VfsRead>, Arc<Trigger>);

impl VfsRead for Direct {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self.1.fault {
            Fault::Direct(DirectFault::Missing) => self.0.read_at(buf, offset),
            Fault::Direct(fault) if self.1.fails(Kind::Direct) => fault.read(buf, &*self.0, offset),
            _ => self.1.step(Kind::Read, || self.0.read_at(buf, offset)),
        }
    }
}
