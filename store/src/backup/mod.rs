//! Backups: one snapshot copied into a folder that is a store itself, and back.
//!
//! Invariants
//! - every byte is compared with its digest while it is copied: damage stops a backup and never gets into one
//! - a file appears under its name only when it is complete and flushed; `CURRENT` of the copy comes last,
//!   and what its old snapshot needed goes after that: at any instant the folder holds the old backup, the
//!   new one, or (the first time) none
//! - a folder is written to only if it is empty or its marker says that it is a backup of this store
//! - the snapshot is held by a lease as long as it is copied, so ingests, compactions and
//!   `gc` may run meanwhile

mod copy;
mod files;
mod target;

use crate::error::BackupError;
use crate::gc::{NeededFiles, Swept, sweep};
use crate::layout::Env;
use crate::lease::held;
use crate::manifest::{Current, Link, Root};
use crate::store::{FOLDERS, Snapshot, SnapshotName, Store};
use crate::vfs::{OsVfs, Vfs};
use copy::Copier;
pub(crate) use files::{DataFile, data_files, missing_files};
use gstore_core::Cancel;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use target::{BackupFolder, Purpose};
use uuid::Uuid;

/// How a backup is made.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// The command, for the lease.
    pub command: String,
    /// The snapshot; `None` for the one that is current.
    pub at: Option<SnapshotName>,
}

/// How far copying is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// Files done.
    pub files_done: u64,
    /// Files there are.
    pub files_total: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes there are.
    pub bytes_total: u64,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopyReport {
    /// Id of the store.
    pub store: Uuid,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// Files written.
    pub files_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Files that were there already. Their bytes were compared with the digests.
    pub files_kept: u64,
    /// Their bytes.
    pub bytes_kept: u64,
    /// What an earlier copy in the folder needed and this one does not.
    pub swept: Swept,
}

impl Store {
    /// Copies a snapshot into a folder, which is then a separate store: it can be opened,
    /// verified, and restored from.
    ///
    /// A folder with an earlier backup of this store is brought up to date: existing complete files are kept
    /// (they are read), others are written again, and what is no longer needed is removed at the end. An
    /// interrupted backup goes on where it stopped. Memory: one buffer of 1 MiB and the list of files.
    pub fn backup(
        &self,
        to: &Path,
        options: &BackupOptions,
        progress: &mut dyn FnMut(CopyProgress),
        cancel: &Cancel,
    ) -> Result<CopyReport, BackupError> {
        let (snapshot, lease) = self.snapshot_leased(options.at.as_ref(), &options.command)?;
        let target = (self.env().shared_vfs(), to);
        let report = copy_snapshot(&snapshot, target, Purpose::Backup, progress, cancel);
        drop(lease);
        report
    }

    /// Copies a backup into a missing or empty folder, where work goes on.
    pub fn restore(
        from: &Path,
        to: &Path,
        progress: &mut dyn FnMut(CopyProgress),
        cancel: &Cancel,
    ) -> Result<CopyReport, BackupError> {
        Self::restore_on(Arc::new(OsVfs), from, to, progress, cancel)
    }

    /// The same on another file system.
    pub fn restore_on(
        vfs: Arc<dyn Vfs>,
        from: &Path,
        to: &Path,
        progress: &mut dyn FnMut(CopyProgress),
        cancel: &Cancel,
    ) -> Result<CopyReport, BackupError> {
        let backup = Store::open_on(vfs, from)?;
        let (snapshot, lease) = backup.snapshot_leased(None, "gstore restore")?;
        let target = (backup.env().shared_vfs(), to);
        let report = copy_snapshot(&snapshot, target, Purpose::Restore, progress, cancel);
        drop(lease);
        report
    }
}

impl Snapshot {
    /// The backup in a folder that one of this snapshot would take the place of; `None` if none can be read.
    ///
    /// # Errors
    /// A folder that a backup of this store must not be written to.
    pub fn replaced_backup(&self, to: &Path) -> Result<Option<Arc<Snapshot>>, BackupError> {
        let folder = BackupFolder::checked(self.env().shared_vfs(), self, to, Purpose::Backup)?;
        // A damaged one is repaired.
        Ok(folder.snapshot().ok())
    }
}

fn copy_snapshot(
    snapshot: &Snapshot,
    (vfs, to): (Arc<dyn Vfs>, &Path),
    purpose: Purpose,
    progress: &mut dyn FnMut(CopyProgress),
    cancel: &Cancel,
) -> Result<CopyReport, BackupError> {
    let from = snapshot.env();
    let target = BackupFolder::prepare(vfs, snapshot, to, purpose)?;
    let files = files::of(snapshot);
    let mut copier = Copier::new(from, target.store.env(), &files, progress, cancel);
    for folder in FOLDERS {
        target.store.env().make_folder(folder)?;
    }
    for folder in &files.folders {
        target.store.env().make_folder(folder)?;
    }
    for file in &files.data {
        copier.data(snapshot, file)?;
    }
    for folder in &files.folders {
        target.store.env().sync_folder(folder)?;
    }
    for link in &files.manifests {
        copier.manifest(link)?;
    }
    let (copied, kept) = copier.finish();
    // The same snapshot, with nothing before it.
    let root = snapshot.root();
    let root = Root { parent: None, oldest: root.snapshot, tags: Vec::new(), ..root.clone() };
    let swept = finish(&target, root, purpose)?;
    Ok(CopyReport {
        store: snapshot.root().store,
        snapshot: snapshot.number(),
        files_copied: copied.0,
        bytes_copied: copied.1,
        files_kept: kept.0,
        bytes_kept: kept.1,
        swept,
    })
}

/// Publishes the copy and removes what it does not need.
fn finish(target: &BackupFolder, root: Root, purpose: Purpose) -> Result<Swept, BackupError> {
    let env = target.store.env();
    let (number, store) = (root.snapshot, root.store);
    let (link, _) = env.manifests().write(root)?;
    env.manifests().sync()?;
    if purpose == Purpose::Backup {
        target.announce(store, &link)?;
    }
    Current::new(number, link.clone()).write(env.vfs(), env.path())?;
    env.sync_folder("")?;
    if purpose == Purpose::Restore {
        target.finish()?;
    }
    // One that was cut short may have copied files of another snapshot.
    tidy(target, env, &link).map_err(|source| BackupError::Untidy { snapshot: number, source })
}

/// Removes what the copy does not need. Readers of the old backup keep what they hold.
fn tidy(target: &BackupFolder, env: &Env, link: &Link) -> Result<Swept, crate::error::StorageError> {
    let mut needed = NeededFiles::of(env, link)?;
    for lease in held(env)? {
        needed.add_rest(env, &lease.root)?;
    }
    sweep(&target.store, &target.lock, needed)
}
