//! `gc`: retained snapshots, the root that lists them, and the sweep.

use super::history;
use super::needed::{NeededFiles, published_files};
use super::options::GcOptions;
use super::report::Swept;
use super::sweep::{StartLockHolder, SweepOptions, sweep_with};
use crate::error::{CommitError, GcError, StorageError, StoreError};
use crate::layout::names::COMPACT_LOCK;
use crate::layout::{Env, now};
use crate::lease::{LeasedSnapshot, has, held};
use crate::manifest::Link;
use crate::store::{History, Snapshot, Store, WriterLock, change_of, publish};
use crate::vfs::VfsLock;
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a snapshot that is older than the history is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeptBecause {
    /// It has this tag.
    Tag(String),
    /// A process reads it.
    #[non_exhaustive]
    Lease {
        /// The process.
        pid: u32,
        /// Its command.
        command: String,
    },
}

/// A snapshot that is kept although it is older than the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeptSnapshot {
    /// Its number.
    pub snapshot: u64,
    /// The reason.
    pub because: KeptBecause,
}

/// What `gc` did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GcReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The snapshot that records it; `None` if the history stayed as it was.
    pub snapshot: Option<u64>,
    /// The first snapshot of the history from now on.
    pub oldest: u64,
    /// Snapshots that can no longer be read.
    pub snapshots_removed: u64,
    /// Older ones that are kept.
    pub kept: Vec<KeptSnapshot>,
    /// The files.
    #[serde(flatten)]
    pub swept: Swept,
}

impl Store {
    /// Shortens the history and removes the files that are not needed any more. Waits for the writer lock.
    ///
    /// Kept are the snapshots of [`GcOptions`], those with tags, those that readers hold a lease of, and the
    /// files of unfinished jobs. If what those need cannot be read, nothing is changed. After an error the
    /// store is as good as before, and the next `gc` goes on.
    ///
    /// Memory: for the kept snapshots together 50 bytes for each data file, 150 for each manifest and 150 for
    /// each snapshot; the catalog of one snapshot (620 bytes for each of its data files); the names of the
    /// longest folder. Time: the manifests of the kept snapshots and the store's folders are read once.
    pub fn collect(&self, options: GcOptions) -> Result<GcReport, GcError> {
        let lock = WriterLock::take(self)?;
        let before = self.snapshot()?;
        let env = self.env();
        let kept = history::kept_history(env, &before, &options, now())?;
        let mut needed = NeededFiles::default();
        for (snapshot, link) in &kept.roots {
            require(env, &mut needed, *snapshot, link)?;
        }
        for tag in &before.root().tags {
            require(env, &mut needed, tag.snapshot, &tag.root)?;
        }
        // Leases that are there already are looked at before anything changes, so that a
        // damaged one stops us in time.
        leased(env, &mut needed, &before, held(env)?)?;
        let compaction = lock_compaction(env)?;
        // Asked while the snapshots that jobs announced are still in the history.
        let published = published_files(self, &before);
        let cut = kept.oldest > before.oldest();
        let snapshot = match cut && !options.dry_run {
            true => Some(shorten(self, &lock, &before, kept.oldest, &options.command, &mut needed)?),
            false => None,
        };
        let leases = held(env)?;
        let oldest = kept.oldest.max(before.oldest());
        let (snapshots_removed, kept) = kept_besides(&before, oldest, &leases);
        leased(env, &mut needed, &before, leases)?;
        let options = SweepOptions {
            dry_run: options.dry_run,
            drop_jobs: options.drop_jobs,
            leave_compactions: compaction.is_none(),
            starting: StartLockHolder::Sweep,
        };
        let swept = sweep_with(self, &lock, needed, published, options)?;
        drop(compaction);
        Ok(GcReport { dry_run: options.dry_run, snapshot, oldest, snapshots_removed, kept, swept })
    }
}

fn require(env: &Env, needed: &mut NeededFiles, snapshot: u64, link: &Link) -> Result<(), GcError> {
    needed.add(env, link).map_err(|source| GcError::Unknown { snapshot, source })
}

/// Adds what readers hold. A snapshot that was collected before its reader looked again is one
/// that the reader gives up.
fn leased(
    env: &Env,
    needed: &mut NeededFiles,
    before: &Snapshot,
    leases: Vec<LeasedSnapshot>,
) -> Result<(), GcError> {
    for lease in leases {
        let snapshot = lease.snapshot;
        // A root that is lost is an error, not a reason to remove what it has.
        if has(before.root(), before.link(), snapshot, &lease.root, || true) {
            require(env, needed, snapshot, &lease.root)?;
        } else {
            needed.add_rest(env, &lease.root).map_err(|source| GcError::Unknown { snapshot, source })?;
        }
    }
    Ok(())
}

/// Publishes the shorter history.
fn shorten(
    store: &Store,
    lock: &WriterLock,
    before: &Snapshot,
    oldest: u64,
    command: &str,
    needed: &mut NeededFiles,
) -> Result<u64, GcError> {
    let mut change = change_of(before, command);
    change.history = History::From(oldest);
    let has_tags = before.root().tags.iter().any(|tag| (before.oldest()..oldest).contains(&tag.snapshot));
    let stay = if has_tags { "; older ones with tags stay" } else { "" };
    change.changes.push(format!("the history begins with snapshot {oldest}{stay}"));
    let published = publish(store, lock, before, change).map_err(|e| match e {
        CommitError::Store(StoreError::Storage(ref why)) if why.is_full() => GcError::Full(e),
        other => other.into(),
    })?;
    require(store.env(), needed, published.number(), published.link())?;
    Ok(published.number())
}

/// Held while folders of compactions are looked at. They are left alone while a compaction runs, and where a
/// full disk has no room for the lock.
fn lock_compaction(env: &Env) -> Result<Option<Box<dyn VfsLock>>, StorageError> {
    match env.create_folder("tmp").and_then(|()| env.lock(COMPACT_LOCK, false)) {
        Err(e) if e.is_full() => Ok(None),
        lock => lock,
    }
}

/// How many snapshots before `oldest` go, and those that stay.
fn kept_besides(before: &Snapshot, oldest: u64, leases: &[LeasedSnapshot]) -> (u64, Vec<KeptSnapshot>) {
    let mut kept: BTreeMap<u64, Vec<KeptBecause>> = BTreeMap::new();
    for tag in before.root().tags.iter().filter(|t| t.snapshot < oldest) {
        kept.entry(tag.snapshot).or_default().push(KeptBecause::Tag(tag.name.clone()));
    }
    for lease in leases.iter().filter(|l| l.snapshot < oldest) {
        let because = KeptBecause::Lease { pid: lease.pid, command: lease.command.clone() };
        kept.entry(lease.snapshot).or_default().push(because);
    }
    let gone = before.oldest()..oldest;
    let still = kept.keys().filter(|n| gone.contains(n)).count() as u64;
    let one = |(snapshot, why): (u64, Vec<KeptBecause>)| {
        why.into_iter().map(move |because| KeptSnapshot { snapshot, because })
    };
    (gone.end - gone.start - still, kept.into_iter().flat_map(one).collect())
}
