//! Where the files of a store are, and how messages name them.

use crate::error::StorageError;
use crate::manifest::{ManifestFiles, SegmentEntry};
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug)]
pub(crate) struct Env {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    manifests: ManifestFiles,
}

impl Env {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, path: &Path) -> Self {
        Env { manifests: ManifestFiles::new(Arc::clone(&vfs), path), vfs, path: path.to_owned() }
    }

    pub(crate) fn vfs(&self) -> &dyn Vfs {
        &*self.vfs
    }

    pub(crate) fn shared_vfs(&self) -> Arc<dyn Vfs> {
        Arc::clone(&self.vfs)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn manifests(&self) -> &ManifestFiles {
        &self.manifests
    }

    /// A file or folder by its name relative to the store.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `what` done to a file, as an error of the operating system.
    pub(crate) fn io(what: &str, name: &str) -> impl FnOnce(std::io::Error) -> StorageError {
        // The store's own folder has no name relative to itself.
        let action = format!("{what} {}", if name.is_empty() { "." } else { name });
        move |e| StorageError::io(action, e)
    }

    /// Makes a folder inside one of the store's folders and flushes its name, so that what is renamed into it later
    /// cannot be lost with it. One that exists may come from a process that died before the flush, so it is flushed too.
    pub(crate) fn make_folder(&self, name: &str) -> Result<(), StorageError> {
        self.vfs.create_dir(&self.at(name)).map_err(Self::io("make the folder", name))?;
        let above = Path::new(name).parent().unwrap_or(Path::new(""));
        self.vfs.sync_dir(&self.path.join(above)).map_err(Self::io("flush the folder above", name))
    }

    /// Flushes the names in a folder.
    pub(crate) fn sync_folder(&self, name: &str) -> Result<(), StorageError> {
        let shown = if name.is_empty() { "of the store" } else { name };
        self.vfs.sync_dir(&self.at(name)).map_err(Self::io("flush the folder", shown))
    }

    /// Moves a finished file to its place. The folder is flushed by the caller, once for all files in it.
    pub(crate) fn rename(&self, from: &Path, to: &str) -> Result<(), StorageError> {
        self.vfs.rename(from, &self.at(to)).map_err(Self::io("move a file to", to))
    }

    /// Removes a folder of ours with the files in it. Folders inside it are left, and so is it then.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), StorageError> {
        let path = self.at(name);
        let list = match self.vfs.list(&path) {
            Ok(list) => list,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Self::io("list", name)(e)),
        };
        for file in list {
            self.vfs.remove(&path.join(&file)).map_err(Self::io("remove", &format!("{name}/{file}")))?;
        }
        self.vfs.remove_dir(&path).map_err(Self::io("remove", name))
    }
}

pub(crate) fn sample_folder(dataset: u32) -> String {
    format!("samples/{dataset}")
}

pub(crate) fn sample_file(dataset: u32, uuid: Uuid) -> String {
    format!("samples/{dataset}/{uuid}.parquet")
}

pub(crate) fn tombstone_folder(dataset: u32) -> String {
    format!("tombstones/{dataset}")
}

pub(crate) fn tombstone_file(dataset: u32, uuid: Uuid) -> String {
    format!("tombstones/{dataset}/{uuid}.roaring")
}

pub(crate) fn deleted_ids_folder(dataset: u32) -> String {
    format!("deleted/{dataset}")
}

pub(crate) fn deleted_ids_file(dataset: u32, uuid: Uuid) -> String {
    format!("deleted/{dataset}/{uuid}.ids")
}

pub(crate) fn encoding_file(encoding: u32, uuid: Uuid) -> String {
    format!("encodings/{encoding}/{uuid}.parquet")
}

pub(crate) fn segment_file(feature: u32, entry: &SegmentEntry) -> String {
    format!("segments/{feature}/{}.arrow", entry.uuid)
}
