//! A store: a folder, the snapshot that is current in it, and the one writer at a time that may change that.
//!
//! Invariants
//! - readers take no lock and write nothing; they read `CURRENT`, then immutable files
//! - every change goes through [`commit::publish`] under the writer lock
//! - loaded snapshots share the parts that did not change

mod commit;
mod coverage;
mod create;
mod history;
mod leases;
mod load;
mod name;
mod seen;
mod snapshot;

pub use coverage::{Coverage, CoverageState};
pub use name::{SnapshotName, SnapshotNameError, TagName};
pub use snapshot::{Snapshot, SnapshotInfo, TagInfo};

pub(crate) use snapshot::unknown;

pub(crate) use commit::{Change, History, WriterLock, change_of, commit, insert_link, publish, write_part};
pub(crate) use create::FOLDERS;
pub(crate) use history::{Chain, adds_rows};
pub(crate) use load::{Numbered, load as load_snapshot};

use crate::error::{CreateError, IndexError, OpenError};
use crate::index::IndexWriter;
use crate::layout::Env;
use crate::layout::names::{SERVER, UPLOADS};
use crate::manifest::{Current, Link};
use crate::segment::SegmentRef;
use crate::vfs::{OsVfs, Vfs};
use gstore_core::locked;
use snapshot::first_few;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A store. Clones share what is loaded.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    env: Arc<Env>,
    /// The current snapshot as last seen, with the bytes of `CURRENT` that named it.
    loaded: Mutex<Option<(Vec<u8>, Arc<Snapshot>)>>,
    /// Whether writing or flushing `CURRENT` failed the last time.
    unsettled: AtomicBool,
}

impl Store {
    /// Makes an empty store in a missing or empty folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Store, CreateError> {
        Self::create_on(Arc::new(OsVfs), path.as_ref())
    }

    /// The same on another file system.
    pub fn create_on(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Store, CreateError> {
        create::create(&vfs, path)?;
        Ok(Self::open_on(vfs, path)?)
    }

    /// Opens a store and its current snapshot.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, OpenError> {
        Self::open_on(Arc::new(OsVfs), path.as_ref())
    }

    /// The same on another file system.
    pub fn open_on(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Store, OpenError> {
        let store = Self::unopened(vfs, path);
        store.snapshot()?;
        Ok(store)
    }

    /// A store that may not be one.
    pub(crate) fn unopened(vfs: Arc<dyn Vfs>, path: &Path) -> Store {
        let env = Arc::new(Env::new(vfs, path));
        Store(Arc::new(Inner { env, loaded: Mutex::new(None), unsettled: AtomicBool::new(false) }))
    }

    /// Opens a store; `None` where there is none.
    pub fn open_if_there(path: impl AsRef<Path>) -> Result<Option<Store>, OpenError> {
        match Self::open(path) {
            Ok(store) => Ok(Some(store)),
            Err(OpenError::NotFound(_) | OpenError::NotAStore(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a store, or makes one where there is nothing.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Store, CreateError> {
        let path = path.as_ref();
        if let Some(store) = Self::open_if_there(path)? {
            return Ok(store);
        }
        match Self::create(path) {
            // Another process was faster.
            Err(CreateError::Exists(_)) => Ok(Self::open(path)?),
            other => other,
        }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.0.env.path()
    }

    /// The folder for a server's files other than the data. It is no part of a snapshot or a
    /// backup, and may be missing.
    pub fn server_folder(&self) -> PathBuf {
        self.env().at(SERVER)
    }

    /// The folder for temporary copies of uploads: `<uuid>.arrow`, each locked as long as it is in use.
    /// `lock` in it is held from the creation of a copy until that is locked. [`Store::collect`] removes copies
    /// that are not locked.
    pub fn uploads_folder(&self) -> PathBuf {
        self.env().at(UPLOADS)
    }

    /// Starts an index of a segment, of some kind: 1 to 32 of `a-z` and `0-9`. Publishes nothing; the index
    /// counts from the moment it is finished, for every snapshot that has the segment. One that is there
    /// already is replaced. Several may be built at once.
    ///
    /// A build holds a lease, as every long reader does: segments that are collected
    /// meanwhile cannot get an index.
    ///
    /// # Errors
    /// A segment that is not in the store any more; a store that cannot be written.
    pub fn write_index(&self, segment: &SegmentRef, kind: &str) -> Result<IndexWriter, IndexError> {
        IndexWriter::create(self.env(), segment, kind)
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.0.env
    }

    /// The current snapshot. Reads `CURRENT`; loads only what changed since the last call.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, OpenError> {
        self.with_current(|bytes| self.load(bytes))
    }

    /// What is found by way of the bytes of `CURRENT`. What it leads to can go away before it is read; then
    /// `CURRENT` names another root: an error counts only if it still says the same.
    pub(crate) fn with_current<T>(
        &self,
        find: impl Fn(&[u8]) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        const ATTEMPTS: usize = 5;
        let read = || Current::read_bytes(self.env().vfs(), self.path());
        let mut bytes = read()?;
        for _ in 1..ATTEMPTS {
            let found = find(&bytes);
            if found.is_ok() {
                return found;
            }
            let again = read()?;
            if again == bytes {
                return found;
            }
            bytes = again;
        }
        find(&bytes)
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<Snapshot>, OpenError> {
        let before = locked(&self.0.loaded).clone();
        if let Some((old, snapshot)) = &before
            && old == bytes
        {
            return Ok(Arc::clone(snapshot));
        }
        let current = Current::parse(bytes)?;
        // A later one is of a store that was in the folder before, and knows nothing of this one.
        let previous = before.as_ref().map(|b| &*b.1).filter(|old| old.number() < current.snapshot);
        let snapshot = Arc::new(load::load(&self.0.env, &current.root, previous)?);
        if snapshot.number() != current.snapshot {
            let d = crate::error::Damage::new(
                "CURRENT",
                "number of the snapshot",
                snapshot.number(),
                current.snapshot,
            );
            return Err(d.into());
        }
        *locked(&self.0.loaded) = Some((bytes.to_vec(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Makes a snapshot that was just published the one that is loaded. `bytes` are those of `CURRENT`.
    pub(crate) fn adopt(&self, bytes: Vec<u8>, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        *locked(&self.0.loaded) = Some((bytes, Arc::clone(&snapshot)));
        snapshot
    }

    pub(crate) fn is_unsettled(&self) -> bool {
        self.0.unsettled.load(Ordering::SeqCst)
    }

    pub(crate) fn set_unsettled(&self, unsettled: bool) {
        self.0.unsettled.store(unsettled, Ordering::SeqCst);
    }

    /// A snapshot of the history, or one that a tag keeps.
    pub fn snapshot_at(&self, number: u64) -> Result<Arc<Snapshot>, OpenError> {
        self.settled(|current| {
            if current.number() == number {
                return Ok(Arc::clone(current));
            }
            let link = match current.all_tags().iter().find(|t| t.snapshot == number) {
                Some(tag) => Some(tag.root.clone()),
                None => self.find_in_history(current, number)?,
            };
            let tagged =
                || first_few(current.all_tags().iter().map(|t| format!("{} ({})", t.name, t.snapshot)));
            match link {
                Some(link) => self.load_older(&link, current),
                None => Err(OpenError::NoSnapshot {
                    wanted: number,
                    oldest: current.oldest(),
                    newest: current.number(),
                    tagged: tagged(),
                }),
            }
        })
    }

    /// The snapshot that a user names.
    pub fn snapshot_named(&self, name: &SnapshotName) -> Result<Arc<Snapshot>, OpenError> {
        match name {
            SnapshotName::Number(number) => self.snapshot_at(*number),
            SnapshotName::Tag(tag) => {
                self.settled(|current| self.load_older(&current.tag_entry(tag)?.root.clone(), current))
            }
        }
    }

    /// Whether a snapshot is still in the folder. It is not once it was collected, and where another store
    /// took the place of this one, as one that was restored: there its number may belong to another state.
    /// Reads `CURRENT` and looks for the root.
    pub fn still_has(&self, snapshot: &Snapshot) -> Result<bool, OpenError> {
        let current = self.snapshot()?;
        Ok(match snapshot.number().cmp(&current.number()) {
            std::cmp::Ordering::Less => self.env().exists(&format!("manifests/{}", snapshot.link().file))?,
            _ => snapshot.link() == current.link(),
        })
    }

    /// What is found by way of the current snapshot. What is older may be collected meanwhile.
    fn settled<T>(&self, find: impl Fn(&Arc<Snapshot>) -> Result<T, OpenError>) -> Result<T, OpenError> {
        self.with_current(|bytes| find(&self.load(bytes)?))
    }

    fn find_in_history(&self, current: &Snapshot, number: u64) -> Result<Option<Link>, OpenError> {
        if number < current.oldest() {
            return Ok(None);
        }
        for found in Chain::new(&self.0.env, current) {
            let (link, root) = found?;
            if root.snapshot <= number {
                return Ok((root.snapshot == number).then_some(link));
            }
        }
        Ok(None)
    }

    fn load_older(&self, link: &Link, current: &Snapshot) -> Result<Arc<Snapshot>, OpenError> {
        Ok(Arc::new(load::load(&self.0.env, link, Some(current))?))
    }

    /// The snapshots, newest first; those older than the history that tags keep come last.
    pub fn history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        self.settled(|current| current.history())
    }
}
