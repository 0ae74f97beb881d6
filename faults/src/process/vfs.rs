//! The operating system's file system with a fault: the process dies at a chosen change, or changes fail for
//! some time.

use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens to changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process kills itself with SIGKILL at the n-th change.
    Die {
        /// Which one, from 1.
        at: u64,
        /// Whether it dies after it, instead of before.
        after: bool,
    },
    /// Some changes fail.
    Fail {
        /// The first of them, from 1.
        at: u64,
        /// How many.
        changes: u64,
        /// Only those that need space, as on a full disk; otherwise all, with an error of the device.
        full: bool,
    },
}

/// Counts changes, and injects a fault at some of them.
#[derive(Debug, Clone)]
pub(crate) struct FaultyVfs {
    disk: OsVfs,
    fault: Option<Fault>,
    done: Arc<AtomicU64>,
}

/// What a change costs the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It needs space.
    Space,
    /// It needs none.
    Other,
    /// It never reaches the medium.
    Lock,
}

impl FaultyVfs {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        FaultyVfs { disk: OsVfs, fault, done: Arc::default() }
    }

    fn step<T>(&self, kind: Kind, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let now = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Some(Fault::Die { at, after }) if now == at => {
                if after {
                    drop(change());
                }
                die()
            }
            Some(Fault::Fail { at, changes, full: true })
                if kind == Kind::Space && within(now, at, changes) =>
            {
                Err(io::Error::new(ErrorKind::StorageFull, "injected: no space left on device"))
            }
            Some(Fault::Fail { at, changes, full: false })
                if kind != Kind::Lock && within(now, at, changes) =>
            {
                Err(io::Error::other("injected: input/output error"))
            }
            _ => change(),
        }
    }
}

fn within(now: u64, at: u64, changes: u64) -> bool {
    now.checked_sub(at).is_some_and(|since| since < changes)
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

struct File(Box<dyn VfsFile>, FaultyVfs);

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.step(Kind::Space, || self.0.write(buf))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.1.step(Kind::Other, || self.0.sync())
    }
}

#[derive(Debug)]
struct Changing(Box<dyn VfsRandom>, FaultyVfs);

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
        self.1.step(Kind::Space, || self.0.write_at(data, offset))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step(Kind::Space, || self.0.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step(Kind::Other, || self.0.sync_data())
    }
}

impl Vfs for FaultyVfs {
    steps! {
        Space: rename(from: &Path, to: &Path) -> ();
        Other: remove(path: &Path) -> ();
        Space: create_dir(path: &Path) -> ();
        Other: remove_dir(path: &Path) -> ();
        Other: sync_dir(path: &Path) -> ();
        Lock: lock(path: &Path, wait: bool) -> Option<Box<dyn VfsLock>>;
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = self.step(Kind::Space, || self.disk.create(path))?;
        Ok(Box::new(File(file, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.disk.open(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let file = self.step(Kind::Space, || self.disk.open_random(path))?;
        Ok(Box::new(Changing(file, self.clone())))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.disk.map(path, len)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.disk.is_locked(path)
    }
}
