//! Missing files of a snapshot, explained: lost, or garbage-collected.

use super::{has, is_there};
use crate::error::SnapshotCollected;
use crate::layout::Env;
use crate::manifest::{Current, Link, ManifestFiles, Root};
use crate::map::FileMap;
use crate::vfs::{Vfs, VfsRead};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file system as the reader of one snapshot sees it: that a file is not there is explained by
/// what `CURRENT` says now. Readers change nothing, so changes are refused.
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
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_link(path)
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_locked(path)
    }
}

#[cfg(test)]
mod tests {
    use crate::Store;
    use std::io::{ErrorKind, Result};

    #[test]
    fn a_snapshot_is_read_and_nothing_is_changed_by_way_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let snapshot = Store::create(&path).unwrap().snapshot().unwrap();
        let (vfs, current, new) = (snapshot.env().vfs(), path.join("CURRENT"), path.join("new"));
        let before = vfs.list(&path).unwrap();
        let changes: [Result<()>; 8] = [
            vfs.create(&new).map(drop),
            vfs.open_random(&current).map(drop),
            vfs.rename(&current, &new),
            vfs.remove(&current),
            vfs.create_dir(&new),
            vfs.remove_dir(&path.join("tmp")),
            vfs.sync_dir(&path),
            vfs.lock(&new, false).map(drop),
        ];
        for change in changes {
            assert_eq!(change.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(vfs.list(&path).unwrap(), before);
        assert!(vfs.exists(&current).unwrap() && !vfs.is_locked(&new).unwrap());
    }
}
