//! Leases: how a reader keeps its snapshot from being collected while it reads.
//!
//! Invariants
//! - a lease is a file `leases/<uuid>.json` that names a snapshot and whose exclusive lock the reader holds; the system frees the
//!   lock when the reader ends, whatever way it ends
//! - under its final name a lease is complete and locked from the first instant on: it is written and locked beside its place
//! - a lease counts once `CURRENT` was read again after it was made, and still had the snapshot in its history
//! - where nothing can be written there is no lease: then a reader finds out that its snapshot was collected, and says so

mod file;
mod watch;

pub use file::Lease;
pub(crate) use file::{FOLDER, Held, held, is_lease};
pub(crate) use watch::watched;

use crate::error::{OpenError, StorageError};
use crate::manifest::{Current, Link, Root};
use crate::store::{Snapshot, SnapshotName, Store};
use serde::Serialize;
use std::sync::Arc;

/// A lease that a process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeldLease {
    /// The snapshot that it keeps.
    pub snapshot: u64,
    /// The process.
    pub pid: u32,
    /// Its program and subcommand.
    pub command: String,
    /// The lease's file, relative to the store.
    pub file: String,
}

impl Store {
    /// A snapshot, the current one for `None`, that is kept as long as the lease is held. Of `command` the lease has two words,
    /// program and subcommand.
    ///
    /// There is no lease where the medium or its permissions do not let us write, or where it is full. Then `gc` may collect the
    /// snapshot while it is read, and reading it ends with an error that says so (`is_collected`).
    pub fn snapshot_leased(
        &self,
        name: Option<&SnapshotName>,
        command: &str,
    ) -> Result<(Arc<Snapshot>, Option<Lease>), OpenError> {
        // It takes a gc in between to fail once.
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            let snapshot = match name {
                None => self.snapshot()?,
                Some(name) => self.snapshot_named(name)?,
            };
            let Some(lease) = Lease::take(self.env(), snapshot.number(), snapshot.link(), command)? else {
                return Ok((snapshot, None));
            };
            let now = self.snapshot()?;
            if has(now.root(), now.link(), snapshot.number(), snapshot.link()) {
                return Ok((snapshot, Some(lease)));
            }
        }
        let detail = "it was collected each time it was found; try again";
        Err(StorageError::io("hold the snapshot", std::io::Error::other(detail)).into())
    }

    /// A lease of what `CURRENT` names, which may be too damaged to be loaded; `None` where there can be none.
    pub(crate) fn lease_current(&self, command: &str) -> Option<Lease> {
        const ATTEMPTS: usize = 10;
        let current = || Current::parse(&Current::read_bytes(self.env().vfs(), self.path()).ok()?).ok();
        let mut now = current()?;
        for _ in 0..ATTEMPTS {
            let lease = Lease::take(self.env(), now.snapshot, &now.root, command).ok()??;
            let again = current()?;
            if again == now {
                return Some(lease);
            }
            now = again;
        }
        None
    }

    /// The leases that processes hold.
    pub fn leases(&self) -> Result<Vec<HeldLease>, StorageError> {
        Ok(held(self.env())?.into_iter().map(|h| h.info).collect())
    }
}

/// Whether a snapshot is part of the history of `root`, or tagged there.
pub(crate) fn has(root: &Root, own: &Link, snapshot: u64, link: &Link) -> bool {
    let in_history = match snapshot.cmp(&root.snapshot) {
        std::cmp::Ordering::Less => snapshot >= root.oldest,
        std::cmp::Ordering::Equal => own == link,
        std::cmp::Ordering::Greater => false,
    };
    in_history || root.tags.iter().any(|t| t.root == *link)
}
