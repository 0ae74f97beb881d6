//! Snapshots that are kept while they are read.

use super::{Snapshot, SnapshotName, Store};
use crate::error::{OpenError, SnapshotCollected, StorageError};
use crate::lease::{Lease, has, is_there};
use crate::manifest::Current;
use std::sync::Arc;

impl Store {
    /// A snapshot, the current one for `None`, that is kept as long as the lease is held. Of `command` the
    /// lease has two words, program and subcommand.
    ///
    /// There is no lease where the medium or its permissions do not let us write, or where it is full.
    /// Then `gc` may collect the snapshot while it is read, and reading it ends with an error that
    /// says so (`is_collected`).
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
            match self.lease(&snapshot, command) {
                Err(OpenError::Storage(e)) if e.is_collected() => {}
                held => return Ok((snapshot, held?)),
            }
        }
        let detail = "it was collected each time it was found; try again";
        Err(StorageError::io("hold the snapshot", std::io::Error::other(detail)).into())
    }

    /// A lease of a snapshot that was opened before. There is none where [`Store::snapshot_leased`] gives
    /// none.
    ///
    /// # Errors
    /// A snapshot that the store does not have any more (`is_collected`); a lease that cannot be made.
    pub fn lease(&self, snapshot: &Snapshot, command: &str) -> Result<Option<Lease>, OpenError> {
        let Some(lease) = Lease::take(self.env(), snapshot.number(), snapshot.link(), command)? else {
            return Ok(None);
        };
        let now = self.snapshot()?;
        let (number, link) = (snapshot.number(), snapshot.link());
        if has(now.root(), now.link(), number, link, || is_there(self.env(), link)) {
            return Ok(Some(lease));
        }
        let gone = SnapshotCollected { snapshot: number };
        Err(StorageError::io("hold the snapshot", std::io::Error::other(gone)).into())
    }

    /// A lease of what `CURRENT` names, which may be too damaged to be loaded; `None`
    /// where there can be none.
    pub(crate) fn lease_current(&self, command: &str) -> Option<Lease> {
        const ATTEMPTS: usize = 10;
        let current = || Current::read(self.env()).ok();
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
}
