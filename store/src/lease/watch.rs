//! Missing files of a snapshot, explained: lost, or garbage-collected.

use super::{has, is_there};
use crate::error::SnapshotCollected;
use crate::layout::Env;
use crate::manifest::{Current, Link, ManifestFiles, Root};
use crate::map::FileMap;

use crate::vfs::{Vfs, VfsFile, VfsLock, VfsRandom, VfsRead};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file system as the reader of one snapshot sees it: that a file is not there is explained by
/// what `CURRENT` says now.
#[derive(Debug)]
struct SnapshotVfs {
    inner: Arc<dyn Vfs>,
    store: PathBuf,
    snapshot: u64,
    link: Link,
}

/// The store's folder for readers of the snapshot with this root.
pub(crate) fn watched(env: &Env, snapshot: u64, link: &Link) -> Arc<Env> {
    let (inner, store) = (env.shared_vfs(), env.path().to_owned());
    let vfs = SnapshotVfs { inner, store, snapshot, link: link.clone() };
    Arc::new(Env::new(Arc::new(vfs), env.path()))
}

impl SnapshotVfs {
    fn explain(&self, e: io::Error) -> io::Error {
        if e.kind() == ErrorKind::NotFound && self.is_collected() {
            return io::Error::other(SnapshotCollected { snapshot: self.snapshot });
        }
        e
    }

    /// Only if the catalog that is current says so; where it cannot be read, the file is simply not there.
    fn is_collected(&self) -> bool {
        let current = || {
            let current = Current::parse(&Current::read_bytes(&*self.inner, &self.store).ok()?).ok()?;
            let manifests = ManifestFiles::new(Arc::clone(&self.inner), &self.store);
            let root: Root = manifests.read(&current.root).ok()?;
            let env = Env::new(Arc::clone(&self.inner), &self.store);
            let is_there = || is_there(&env, &self.link);
            Some(!has(&root, &current.root, self.snapshot, &self.link, is_there))
        };
        // The current root is itself removed if two more are published meanwhile.
        current().or_else(current).unwrap_or(false)
    }
}

impl Vfs for SnapshotVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        self.inner.open(path).map_err(|e| self.explain(e))
    }
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn VfsRead>>> {
        self.inner.open_direct(path).map_err(|e| self.explain(e))
    }
    fn disk(&self, path: &Path) -> Option<u64> {
        self.inner.disk(path)
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        self.inner.map(path, len).map_err(|e| self.explain(e))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.inner.create(path)
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        self.inner.open_random(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_link(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        self.inner.lock(path, wait)
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_locked(path)
    }
}
