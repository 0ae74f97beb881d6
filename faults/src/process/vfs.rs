//! The operating system's file system with a fault: the process dies at a chosen change, or changes fail for
//! some time.

use crate::faulty::{Faults, FaultyVfs, Kind};
use gstore_store::vfs::{OsVfs, Vfs};
use std::io::{self, ErrorKind};
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

/// The operating system's file system with a fault.
pub(crate) fn faulty(fault: Option<Fault>) -> Arc<dyn Vfs> {
    Arc::new(FaultyVfs { disk: OsVfs, faults: Changes { fault, done: Arc::default() } })
}

/// Counts changes, and injects a fault at some of them.
#[derive(Debug, Clone)]
struct Changes {
    fault: Option<Fault>,
    done: Arc<AtomicU64>,
}

impl Faults for Changes {
    fn step<T>(&self, kind: Kind, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if kind == Kind::Read {
            return change();
        }
        let now = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Some(Fault::Die { at, after }) if now == at => {
                if after {
                    drop(change());
                }
                die()
            }
            Some(Fault::Fail { at, changes, full: true })
                if matches!(kind, Kind::Space | Kind::Write) && within(now, at, changes) =>
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
