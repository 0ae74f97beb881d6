//! Publishing: from changed parts to a new `CURRENT`.
//!
//! Order
//! 1. the writer lock is held, and the base is what `CURRENT` says under it
//! 2. data files are in place and flushed, with their folders (the caller's part)
//! 3. changed parts and the root are written, flushed, renamed into `manifests/`, and the folder is flushed
//! 4. `CURRENT` is written beside its place, flushed and renamed: the commit point
//! 5. the store's folder is flushed; only then is anything acknowledged

use super::Store;
use super::create::LOCK;
use super::load::now;
use super::snapshot::Snapshot;
use crate::error::{CommitError, StorageError};
use crate::manifest::{
    Counters, Current, DatasetPart, FeaturePart, Link, Part, PartLink, Root, RunPart, VERSION,
};
use crate::vfs::VfsLock;
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
            Some(lock) => Ok(lock),
            None => Err(StorageError::io(format!("lock {LOCK}"), std::io::ErrorKind::WouldBlock.into())),
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn attempt(store: &Store, wait: bool) -> Result<Option<WriterLock>, StorageError> {
        let lock =
            store.env().vfs().lock(&store.env().at(LOCK), wait).map_err(super::Env::io("lock", LOCK))?;
        Ok(lock.map(|lock| WriterLock { lock }))
    }
}

/// What a publish changes: parts that are new or replaced.
#[derive(Debug)]
pub(crate) struct Change {
    pub datasets: Vec<DatasetPart>,
    pub runs: Vec<RunPart>,
    pub features: Vec<FeaturePart>,
    pub next: Counters,
    pub command: String,
    pub changes: Vec<String>,
}

/// An empty change of a snapshot.
pub(crate) fn change_of(base: &Snapshot, command: &str) -> Change {
    Change {
        datasets: Vec::new(),
        runs: Vec::new(),
        features: Vec::new(),
        next: base.root().next.clone(),
        command: command.to_owned(),
        changes: Vec::new(),
    }
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
    let mut root = Root {
        version: VERSION,
        requires: base.root().requires.clone(),
        store: base.root().store,
        snapshot: base.number() + 1,
        created: now(),
        command: change.command,
        changes: change.changes,
        parent: Some(base.link().clone()),
        next: change.next,
        datasets: base.root().datasets.clone(),
        runs: base.root().runs.clone(),
        features: base.root().features.clone(),
        extra: base.root().extra.clone(),
    };
    for part in &change.datasets {
        put(&mut root.datasets, part.number, &part.name, write_part(store, part)?);
    }
    for part in &change.runs {
        put(&mut root.runs, part.number, &part.name, write_part(store, part)?);
    }
    for part in &change.features {
        put(&mut root.features, part.number, &part.display_name(), write_part(store, part)?);
    }
    let link = write_part(store, &root)?;
    env.manifests().sync()?;
    let current = Current::new(root.snapshot, link.clone());
    let committed = current.write(env.vfs(), env.path()).and_then(|()| env.sync_folder(""));
    match committed {
        Ok(()) => store.snapshot().map_err(|e| {
            let source = match e {
                crate::error::OpenError::Storage(e) => e,
                other => StorageError::io("read the new snapshot", std::io::Error::other(other)),
            };
            CommitError::Unclear { snapshot: root.snapshot, visible: true, source }
        }),
        Err(source) => Err(unclear(store, &link, root.snapshot, source)),
    }
}

/// An error at the commit point: what `CURRENT` says now decides what is reported.
fn unclear(store: &Store, link: &Link, snapshot: u64, source: StorageError) -> CommitError {
    let visible = Current::read_bytes(store.env().vfs(), store.path())
        .and_then(|bytes| Current::parse(&bytes))
        .map(|current| current.root == *link);
    match visible {
        Ok(false) => CommitError::Storage(source),
        Ok(true) => CommitError::Unclear { snapshot, visible: true, source },
        Err(_) => CommitError::Unclear { snapshot, visible: false, source },
    }
}

/// Writes a part and checks it as a reader would, so that nothing is published that cannot be loaded.
fn write_part<T: Part>(store: &Store, part: &T) -> Result<Link, StorageError> {
    if let Some((what, expected, found)) = part.problem() {
        let detail = format!("{what}: expected {expected}, found {found}");
        return Err(StorageError::io(format!("publish {}", part.stem()), std::io::Error::other(detail)));
    }
    store.env().manifests().write(part)
}

fn put(links: &mut Vec<PartLink>, number: u32, name: &str, link: Link) {
    let entry = PartLink { number, name: name.to_owned(), link };
    match links.binary_search_by_key(&number, |l| l.number) {
        Ok(i) => {
            if let Some(slot) = links.get_mut(i) {
                *slot = entry;
            }
        }
        Err(i) => links.insert(i, entry),
    }
}

impl Change {
    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.datasets.is_empty() && self.runs.is_empty() && self.features.is_empty()
    }
}
