//! The folder of a store on a file system: paths, and errors that name them.

use super::names::{START_LOCK, unfinished};
use crate::error::StorageError;
use crate::vfs::{Vfs, VfsLock, hash_span, if_there, parent};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Env {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

/// A file, and what messages call it.
#[derive(Debug, Clone)]
pub(crate) struct NamedFile {
    pub vfs: Arc<dyn Vfs>,
    pub path: PathBuf,
    pub name: String,
}

impl NamedFile {
    /// A file outside of the store, which its path names.
    pub(crate) fn outside(vfs: Arc<dyn Vfs>, path: &Path) -> Self {
        NamedFile { vfs, path: path.to_owned(), name: path.display().to_string() }
    }
}

impl Env {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, path: &Path) -> Self {
        Env { vfs, path: path.to_owned() }
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

    /// A file or folder by its name relative to the store.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The same with its file system.
    pub(crate) fn file(&self, name: impl Into<String>) -> NamedFile {
        let name = name.into();
        NamedFile { vfs: self.shared_vfs(), path: self.at(&name), name }
    }

    /// Length of a file by its name relative to the store.
    pub(crate) fn len_of(&self, name: &str) -> std::io::Result<u64> {
        self.vfs.open(&self.at(name))?.len()
    }

    /// Whether something has a name relative to the store.
    pub(crate) fn exists(&self, name: &str) -> Result<bool, StorageError> {
        self.vfs.exists(&self.at(name)).map_err(Self::io("look for", name))
    }

    /// `what` done to a file, as an error of the operating system.
    pub(crate) fn io(what: &str, name: &str) -> impl FnOnce(std::io::Error) -> StorageError {
        // The store's own folder has no name relative to itself.
        let action = format!("{what} {}", if name.is_empty() { "." } else { name });
        move |e| StorageError::io(action, e)
    }

    /// Makes a folder, if it is not there.
    pub(crate) fn create_folder(&self, name: &str) -> Result<(), StorageError> {
        self.vfs.create_dir(&self.at(name)).map_err(Self::io("make the folder", name))
    }

    /// Makes a folder inside one of the store's folders and flushes its name, so that what is renamed into
    /// it later cannot be lost with it. One that exists may come from a process that died before the
    /// flush, so it is flushed too.
    pub(crate) fn make_folder(&self, name: &str) -> Result<(), StorageError> {
        self.create_folder(name)?;
        let above = Path::new(name).parent().unwrap_or(Path::new(""));
        self.vfs.sync_dir(&self.path.join(above)).map_err(Self::io("flush the folder above", name))
    }

    /// Flushes the name of a folder outside of the store, or of the store's own.
    pub(crate) fn sync_above(&self, path: &Path) -> Result<(), StorageError> {
        self.vfs
            .sync_dir(parent(path))
            .map_err(Self::io("flush the folder above", &path.display().to_string()))
    }

    /// Flushes the names in a folder.
    pub(crate) fn sync_folder(&self, name: &str) -> Result<(), StorageError> {
        let shown = if name.is_empty() { "of the store" } else { name };
        self.vfs.sync_dir(&self.at(name)).map_err(Self::io("flush the folder", shown))
    }

    /// Moves a finished file to its place. The folder is flushed by the caller, once for all files in it.
    pub(crate) fn rename(&self, from: &Path, to: &str) -> Result<(), StorageError> {
        // The name beside it is its own: two processes may write the same index.
        self.move_file(from, (&self.at(to), to), &self.at(&unfinished(to)))
    }

    /// Moves a finished file. To another file system, where a folder is a link to one, it is copied: the copy
    /// is `beside`, in the same folder, until it is flushed. The file itself goes when the name of
    /// the copy is durable, so that one of them is there at any instant.
    pub(crate) fn move_file(
        &self,
        from: &Path,
        (to, name): (&Path, &str),
        beside: &Path,
    ) -> Result<(), StorageError> {
        match self.vfs.rename(from, to) {
            Err(e) if e.kind() == ErrorKind::CrossesDevices => {}
            moved => return moved.map_err(Self::io("move a file to", name)),
        }
        let copied = self.copy_file(from, beside).and_then(|()| self.vfs.rename(beside, to));
        copied
            .inspect_err(|_| drop(self.vfs.remove(beside)))
            .and_then(|()| self.vfs.sync_dir(parent(to)))
            .and_then(|()| self.vfs.remove(from))
            .map_err(Self::io("copy a file to", name))
    }

    /// Copies a file and flushes the copy, which replaces what an earlier attempt left.
    fn copy_file(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        if_there(self.vfs.remove(to))?;
        let source = self.vfs.open(from)?;
        let mut target = self.vfs.create(to)?;
        hash_span(&*source, 0..source.len()?, &mut Vec::new(), |bytes| target.write_all(bytes))?;
        target.flush()?;
        target.sync()
    }

    /// The names in a folder; none where there is no such folder.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, StorageError> {
        let names = if_there(self.vfs.list(&self.at(name))).map_err(Self::io("list", name))?;
        Ok(names.unwrap_or_default())
    }

    /// Moves finished files to their places, in folders that are made where there are none, and flushes
    /// these.
    pub(crate) fn move_all(&self, files: &[(PathBuf, String)]) -> Result<(), StorageError> {
        let folder_of =
            |to: &str| to.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned());
        let folders: BTreeSet<String> = files.iter().map(|(_, to)| folder_of(to)).collect();
        folders.iter().try_for_each(|folder| self.make_folder(folder))?;
        files.iter().try_for_each(|(from, to)| self.rename(from, to))?;
        folders.iter().try_for_each(|folder| self.sync_folder(folder))
    }

    /// The same; after an error none is there, as far as that is possible. The caller holds the writer lock.
    pub(crate) fn place(&self, files: &[(PathBuf, String)]) -> Result<(), StorageError> {
        self.move_all(files).inspect_err(|_| self.unplace(files))
    }

    /// Removes files from their places: nothing refers to them.
    pub(crate) fn unplace(&self, files: &[(PathBuf, String)]) {
        self.remove_unreferenced(files.iter().map(|(_, to)| to.clone()));
    }

    /// Removes a folder of ours with the files in it. Folders inside it are left, and so is it then.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), StorageError> {
        let path = self.at(name);
        let list = if_there(self.vfs.list(&path)).map_err(Self::io("list", name))?;
        let Some(list) = list else { return Ok(()) };
        for file in list {
            self.vfs.remove(&path.join(&file)).map_err(Self::io("remove", &format!("{name}/{file}")))?;
        }
        self.vfs.remove_dir(&path).map_err(Self::io("remove", name))
    }

    /// Removes files that nothing refers to, as far as that is possible: what stays is collected later.
    pub(crate) fn remove_unreferenced(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let _ = self.vfs.remove(&self.at(&name));
        }
    }

    /// Takes the lock of a file, which is made if needed; `None` if it is held and `wait` is not set.
    pub(crate) fn lock(&self, name: &str, wait: bool) -> Result<Option<Box<dyn VfsLock>>, StorageError> {
        self.vfs.lock(&self.at(name), wait).map_err(Self::io("lock", name))
    }

    /// The same of a file whose folder may be gone: there is nothing to be locked then.
    pub(crate) fn lock_there(
        &self,
        name: &str,
        wait: bool,
    ) -> Result<Option<Option<Box<dyn VfsLock>>>, StorageError> {
        if_there(self.vfs.lock(&self.at(name), wait)).map_err(Self::io("lock", name))
    }

    /// Whether the lock of a file is held.
    pub(crate) fn is_locked(&self, name: &str) -> Result<bool, StorageError> {
        self.vfs.is_locked(&self.at(name)).map_err(Self::io("look at the lock of", name))
    }

    /// The lock that is held while a job starts.
    pub(crate) fn lock_start(&self) -> Result<Box<dyn VfsLock>, StorageError> {
        self.create_folder("tmp")?;
        let lock = self.lock(START_LOCK, true)?;
        lock.ok_or_else(|| Self::io("lock", START_LOCK)(ErrorKind::WouldBlock.into()))
    }
}
