//! The simulated disk as a `Vfs`: the view of processes, with every change recorded.

use super::{FileId, Image, Node, Op, write_into};
use gstore_store::FileMap;
use gstore_store::vfs::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A disk in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    unlocked: Condvar,
    hook: Mutex<Option<Hook>>,
}

/// Called before a lock is taken.
struct Hook(Box<dyn FnMut(&Path) + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<PathBuf, Node>,
    files: HashMap<FileId, Arc<Vec<u8>>>,
    /// Contents as of the last sync.
    synced: HashMap<FileId, Arc<Vec<u8>>>,
    next: FileId,
    locked: HashSet<FileId>,
    trace: Vec<Op>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with the content of an image, all of it durable, and no lock held.
    pub fn from_image(image: &Image) -> Self {
        let disk = SimDisk::new();
        {
            let mut inner = disk.inner();
            inner.names = image.names.clone();
            inner.files = image.files.clone();
            inner.synced = image.files.clone();
            inner.next = image.files.keys().max().map_or(0, |n| n + 1);
        }
        disk
    }

    /// What processes see now.
    pub fn image(&self) -> Image {
        let inner = self.inner();
        let named: HashSet<FileId> = inner
            .names
            .values()
            .filter_map(|n| if let Node::File(id) = n { Some(*id) } else { None })
            .collect();
        let files = inner.files.iter().filter(|(id, _)| named.contains(id));
        Image { names: inner.names.clone(), files: files.map(|(id, c)| (*id, Arc::clone(c))).collect() }
    }

    /// Records that that many steps are acknowledged.
    pub fn mark(&self, steps: usize) {
        self.inner().trace.push(Op::Mark(steps));
    }

    /// The changes so far.
    pub fn trace(&self) -> Vec<Op> {
        self.inner().trace.clone()
    }

    /// Calls something before any lock is taken, through any clone, except locks that the call itself takes.
    pub fn before_lock(&self, hook: impl FnMut(&Path) + Send + 'static) {
        *self.hook() = Some(Hook(Box::new(hook)));
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.0.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is not durable of a file, as the system does after a failed sync.
    fn forget(&self, id: FileId) {
        let mut inner = self.inner();
        let old = inner.synced.get(&id).cloned().unwrap_or_default();
        inner.files.insert(id, old);
        inner.trace.push(Op::Forget(id));
    }
}

impl Inner {
    fn file(&self, path: &Path) -> io::Result<FileId> {
        match self.names.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Folder) => Err(Error::new(ErrorKind::IsADirectory, "a folder")),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None if path.parent().is_none() => Ok(()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn above(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |p| self.folder(p))
    }

    fn create(&mut self, path: &Path) -> io::Result<FileId> {
        self.above(path)?;
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = self.next;
        self.next += 1;
        self.names.insert(path.to_owned(), Node::File(id));
        self.files.insert(id, Arc::default());
        self.trace.push(Op::Create { path: path.to_owned(), id });
        Ok(id)
    }

    fn open_or_create(&mut self, path: &Path) -> io::Result<FileId> {
        match self.file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => self.create(path),
            other => other,
        }
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8], stream: bool) {
        write_into(Arc::make_mut(self.files.entry(id).or_default()), offset, data);
        self.trace.push(Op::Write { id, offset, data: data.into(), stream });
    }

    fn sync(&mut self, id: FileId) {
        let now = self.files.entry(id).or_default().clone();
        self.synced.insert(id, now);
        self.trace.push(Op::Sync(id));
    }

    fn inside(&self, path: &Path) -> impl Iterator<Item = &PathBuf> {
        let path = path.to_owned();
        self.names.keys().filter(move |n| n.parent() == Some(&path))
    }
}

/// An open file, whatever becomes of its name.
#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    id: FileId,
    /// Where the next sequential write goes.
    at: u64,
}

impl Handle {
    fn content(&self) -> Arc<Vec<u8>> {
        self.disk.inner().files.get(&self.id).cloned().unwrap_or_default()
    }
}

impl Write for Handle {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.disk.inner().write(self.id, self.at, buf, true);
        self.at += buf.len() as u64;
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl VfsFile for Handle {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.inner().sync(self.id);
        Ok(())
    }
}

impl VfsRead for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len() as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content();
        let start = offset as usize;
        match content.get(start..start.saturating_add(buf.len())) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl VfsRandom for Handle {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.disk.inner().write(self.id, offset, data, false);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        Arc::make_mut(inner.files.entry(self.id).or_default()).resize(len as usize, 0);
        inner.trace.push(Op::SetLen { id: self.id, len });
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.inner().sync(self.id);
        Ok(())
    }
}

#[derive(Debug)]
struct Lock(SimDisk, FileId);

impl VfsLock for Lock {
    fn fill(&self, content: &[u8]) -> io::Result<()> {
        let file = self.0.handle(self.1);
        file.set_len(0)?;
        file.write_at(content, 0)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.inner().locked.remove(&self.1);
        self.0.0.unlocked.notify_all();
    }
}

impl SimDisk {
    fn handle(&self, id: FileId) -> Handle {
        Handle { disk: self.clone(), id, at: 0 }
    }

    /// Drops what is not durable of the file with this name.
    pub fn fail_sync(&self, path: &Path) {
        let id = self.inner().file(path);
        if let Ok(id) = id {
            self.forget(id);
        }
    }
}

impl Vfs for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let id = self.inner().create(path)?;
        Ok(Box::new(self.handle(id)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
        let id = self.inner().file(path)?;
        Ok(Box::new(self.handle(id)))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn VfsRandom>> {
        let id = self.inner().open_or_create(path)?;
        Ok(Box::new(self.handle(id)))
    }
    fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
        let id = self.inner().file(path)?;
        let content = self.handle(id).content();
        if content.len() as u64 != len || len == 0 {
            let text = format!("the file has {} bytes, expected {len}", content.len());
            return Err(Error::new(ErrorKind::InvalidData, text));
        }
        Ok(FileMap::from_bytes(&content))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let id = inner.file(from)?;
        inner.above(to)?;
        if inner.names.get(to) == Some(&Node::Folder) {
            return Err(ErrorKind::IsADirectory.into());
        }
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), Node::File(id));
        inner.trace.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.file(path)?;
        inner.names.remove(path);
        inner.trace.push(Op::Remove(path.to_owned()));
        Ok(())
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let mut above: Vec<&Path> = path.ancestors().filter(|a| a.parent().is_some()).collect();
        above.reverse();
        for folder in above {
            match inner.names.get(folder) {
                Some(Node::Folder) => {}
                Some(Node::File(_)) => return Err(ErrorKind::AlreadyExists.into()),
                None => {
                    inner.names.insert(folder.to_owned(), Node::Folder);
                    inner.trace.push(Op::MakeFolder(folder.to_owned()));
                }
            }
        }
        Ok(())
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.folder(path)?;
        if inner.inside(path).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        inner.names.remove(path);
        inner.trace.push(Op::RemoveFolder(path.to_owned()));
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        inner.folder(path)?;
        let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut names: Vec<String> = inner.inside(path).filter_map(name).collect();
        names.sort();
        Ok(names)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.folder(path)?;
        inner.trace.push(Op::SyncFolder(path.to_owned()));
        Ok(())
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.inner().names.contains_key(path))
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Box<dyn VfsLock>>> {
        let hook = self.hook().take();
        if let Some(mut hook) = hook {
            hook.0(path);
            self.hook().get_or_insert(hook);
        }
        let mut inner = self.inner();
        let id = inner.open_or_create(path)?;
        while inner.locked.contains(&id) {
            if !wait {
                return Ok(None);
            }
            inner = self.0.unlocked.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.locked.insert(id);
        drop(inner);
        Ok(Some(Box::new(Lock(self.clone(), id))))
    }
}
