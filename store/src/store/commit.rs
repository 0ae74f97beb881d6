//! Publishing: from changed parts to a new `CURRENT`.
//!
//! Order
//! 1. the writer lock is held, and the base is what `CURRENT` says under it
//! 2. data files are in place and flushed, with their folders (the caller's part)
//! 3. changed parts, with the pages that they need, and the root are written, flushed, renamed into
//!    `manifests/`, and the folder is flushed
//! 4. `CURRENT` is written under a temporary name, flushed and renamed: the commit point
//! 5. the store's folder is flushed; only then is anything acknowledged

use super::Store;
use super::load::{Numbered, assemble, check_references};
use super::snapshot::{Snapshot, SnapshotParts};
use crate::error::{CommitError, StorageError};
use crate::layout::names::LOCK;
use crate::layout::{Env, now};
use crate::manifest::{
    ArtifactPart, Counters, Current, DatasetPart, EnsemblePart, FeaturePart, Link, Part, PartLink, Root,
    RunPart, Tag, VERSION, View,
};
use crate::vfs::VfsLock;
use std::io::ErrorKind;
use std::sync::Arc;

/// Held by the one writer that may change `CURRENT`.
#[derive(Debug)]
pub(crate) struct WriterLock {
    #[allow(dead_code)]
    lock: Box<dyn VfsLock>,
}

impl WriterLock {
    /// Waits for the lock.
    pub(crate) fn take(store: &Store) -> Result<WriterLock, StorageError> {
        match Self::attempt(store, true)? {
            Some(lock) => {
                // CURRENT may come from a writer that died before it was flushed; whatever is said
                // from here on, also that there is nothing to do, must not rest on a name that a
                // loss of power takes away.
                settle(store)?;
                Ok(lock)
            }
            None => Err(StorageError::io(format!("lock {LOCK}"), std::io::ErrorKind::WouldBlock.into())),
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn attempt(store: &Store, wait: bool) -> Result<Option<WriterLock>, StorageError> {
        let lock = store.env().vfs().lock(&store.env().at(LOCK), wait).map_err(|e| {
            // What is missing is not the lock.
            let action = match e.kind() {
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                    "change the store, which is read-only here".to_owned()
                }
                _ => format!("lock {LOCK}"),
            };
            StorageError::io(action, e)
        })?;
        Ok(lock.map(|lock| WriterLock { lock }))
    }
}

/// Flushes what `CURRENT` says. A flush that failed is not tried again, as the system may say that it
/// succeeded and have dropped the name: then the file is written again, with the same content.
fn settle(store: &Store) -> Result<(), StorageError> {
    let env = store.env();
    let flushed = if store.is_unsettled() {
        // One that cannot be read, or is damaged, is for the caller to report.
        let written = match Current::read(env) {
            Ok(current) => current.write(env.vfs(), env.path()).map(drop),
            Err(_) => Ok(()),
        };
        written.and_then(|()| env.sync_folder(""))
    } else {
        env.sync_folder("")
    };
    store.set_unsettled(flushed.is_err());
    flushed
}

/// What a publish changes: parts that are new or replaced.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub datasets: Vec<DatasetPart>,
    pub runs: Vec<RunPart>,
    pub ensembles: Vec<EnsemblePart>,
    pub features: Vec<FeaturePart>,
    pub artifacts: Vec<ArtifactPart>,
    /// Numbers of parts that are no longer there.
    pub removed: RemovedParts,
    /// The tags from now on; `None` leaves them as they are.
    pub tags: Option<Vec<Tag>>,
    /// The views from now on; `None` leaves them as they are.
    pub views: Option<Vec<View>>,
    pub history: History,
    pub next: Counters,
    pub command: String,
    pub changes: Vec<String>,
}

/// Parts that a publish takes out of the root.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RemovedParts {
    pub datasets: Vec<u32>,
    pub runs: Vec<u32>,
    pub ensembles: Vec<u32>,
    pub features: Vec<u32>,
    pub artifacts: Vec<u32>,
}

/// Treatment of the earlier snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum History {
    /// They stay.
    #[default]
    Keep,
    /// Those before this one are no longer part of it; their files may be collected.
    From(u64),
    /// None stays, tagged ones neither: the new root has no parent.
    Cut,
}

/// An empty change of a snapshot.
pub(crate) fn change_of(base: &Snapshot, command: &str) -> Change {
    Change { next: base.root().next.clone(), command: command.to_owned(), ..Change::default() }
}

/// Publishes a change of `base`, which must be what `CURRENT` named under this lock.
///
/// Any error but [`CommitError::Unclear`] means that `CURRENT` does not name the change.
pub(crate) fn publish(
    store: &Store,
    _lock: &WriterLock,
    base: &Snapshot,
    change: Change,
) -> Result<Arc<Snapshot>, CommitError> {
    let env = store.env();
    let number = base.number() + 1;
    let mut root = root_without_changes(base, number, &change);
    root.next_rows.extend(change.datasets.iter().map(|part| (part.number, part.next_row)));
    let parts = SnapshotParts {
        datasets: write_parts(env, &mut root.datasets, change.datasets, base.datasets())?,
        runs: write_parts(env, &mut root.runs, change.runs, base.runs())?,
        ensembles: write_parts(env, &mut root.ensembles, change.ensembles, base.ensembles())?,
        features: write_parts(env, &mut root.features, change.features, base.features())?,
        ..SnapshotParts::default()
    };
    for part in change.artifacts {
        let (number, name, files) = (part.number, part.name.clone(), part.links());
        insert_link(&mut root.artifacts, PartLink { number, name, link: write_part(env, part)?.0, files });
    }
    check_references("the new root", &parts).map_err(refused)?;
    let (link, root) = write_part(env, root)?;
    env.manifests().sync()?;
    let snapshot = assemble(env, link.clone(), root, parts, Some(base)).map_err(refused)?;
    match commit(env, number, &link) {
        // What was written is what is in memory; nothing is read again.
        Ok(bytes) => Ok(store.adopt(bytes, snapshot)),
        Err(e) => {
            store.set_unsettled(true);
            Err(e)
        }
    }
}

/// The next root without the changed parts: the fields of the root, and links to the parts of
/// `base` that stay.
fn root_without_changes(base: &Snapshot, number: u64, change: &Change) -> Root {
    let before = base.root();
    let (parent, oldest) = match change.history {
        History::Keep => (Some(base.link().clone()), base.oldest()),
        History::From(oldest) => (Some(base.link().clone()), oldest.max(base.oldest())),
        History::Cut => (None, number),
    };
    let tags = match change.history {
        History::Cut => Vec::new(),
        _ => change.tags.clone().unwrap_or_else(|| before.tags.clone()),
    };
    let removed = &change.removed;
    let left = |links: &[PartLink], gone: &[u32]| {
        links.iter().filter(|link| !gone.contains(&link.number)).cloned().collect()
    };
    Root {
        version: VERSION,
        requires: before.requires.clone(),
        store: before.store,
        snapshot: number,
        created: now(),
        command: change.command.clone(),
        changes: change.changes.clone(),
        parent,
        oldest,
        tags,
        views: change.views.clone().unwrap_or_else(|| before.views.clone()),
        next: change.next.clone(),
        // Of dropped datasets too: one that comes back goes on from there.
        next_rows: before.next_rows.clone(),
        datasets: left(&before.datasets, &removed.datasets),
        runs: left(&before.runs, &removed.runs),
        ensembles: left(&before.ensembles, &removed.ensembles),
        features: left(&before.features, &removed.features),
        artifacts: left(&before.artifacts, &removed.artifacts),
        extra: before.extra.clone(),
    }
}

/// The commit point and the flush after it: `CURRENT` names a root from now on. Returns its bytes.
///
/// Any error but [`CommitError::Unclear`] means that it does not name the root.
pub(crate) fn commit(env: &Env, snapshot: u64, root: &Link) -> Result<Vec<u8>, CommitError> {
    Current::new(snapshot, root.clone())
        .write(env.vfs(), env.path())
        .and_then(|bytes| env.sync_folder("").map(|()| bytes))
        .map_err(|source| commit_point_error(env, root, snapshot, source))
}

/// Writes parts of one kind and puts their links into a root. Gives all parts that it has then: those written
/// now as a reader would load them, all others as they were `before`.
fn write_parts<T: Numbered>(
    env: &Env,
    links: &mut Vec<PartLink>,
    changed: Vec<T>,
    before: &[Arc<T>],
) -> Result<Vec<Arc<T>>, StorageError> {
    let mut written: Vec<Arc<T>> = Vec::with_capacity(changed.len());
    for part in changed {
        let (number, name) = (part.number(), part.name());
        let (link, loaded) = write_part(env, part)?;
        insert_link(links, PartLink::new(number, name, link));
        written.push(Arc::new(loaded));
    }
    written.sort_unstable_by_key(|p| p.number());
    let find = |parts: &[Arc<T>], number: u32| {
        let i = parts.binary_search_by_key(&number, |p| p.number()).ok()?;
        parts.get(i).cloned()
    };
    Ok(links.iter().filter_map(|l| find(&written, l.number).or_else(|| find(before, l.number))).collect())
}

/// A change that would make a snapshot which cannot be loaded.
fn refused(e: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::io("publish the change", std::io::Error::other(e))
}

/// An error at the commit point: what `CURRENT` says now decides what is reported.
fn commit_point_error(env: &Env, link: &Link, snapshot: u64, source: StorageError) -> CommitError {
    match Current::read(env) {
        Ok(current) if current.root != *link => source.into(),
        current => CommitError::Unclear { snapshot, visible: current.is_ok(), source },
    }
}

/// Writes a part and checks it as a reader would, so that nothing is published that cannot be loaded.
pub(crate) fn write_part<T: Part>(env: &Env, part: T) -> Result<(Link, T), StorageError> {
    if let Some((what, expected, found)) = part.problem() {
        let detail = format!("{what}: expected {expected}, found {found}");
        return Err(StorageError::io(format!("publish {}", part.stem()), std::io::Error::other(detail)));
    }
    env.manifests().write(part)
}

/// Puts a link in its place, for that of the same number if there is one.
pub(crate) fn insert_link(links: &mut Vec<PartLink>, entry: PartLink) {
    links.retain(|l| l.number != entry.number);
    links.insert(links.partition_point(|l| l.number < entry.number), entry);
}

impl Change {
    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let (next, command, changes) = (self.next.clone(), self.command.clone(), self.changes.clone());
        *self == Change { next, command, changes, ..Change::default() }
    }
}
