//! Removing the files that nothing needed refers to.
//!
//! Invariants
//! - the writer lock is held, so no process publishes, and an unreferenced file stays unreferenced
//! - a file goes only if its place and its name are ours; everything else is reported and left
//! - every state between two removals is one that a crash may leave: only files go that no kept snapshot
//!   needs
//! - while a needed data file is missing, unfinished files of its kind stay: a repair that was cut short may
//!   have left its content under such a name; they are reported

use super::needed::NeededFiles;
use super::report::Swept;
use crate::error::StorageError;
use crate::index::live_builds;
use crate::layout::Env;
use crate::layout::names::{self, FLAT, FileKind, NUMBERED, TopLevelName};
use crate::manifest::Current;
use crate::store::{Store, WriterLock};
use crate::vfs::{VfsLock, is_missing};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SweepOptions {
    /// Nothing is removed, only counted.
    pub dry_run: bool,
    /// Interrupted jobs go as well.
    pub drop_jobs: bool,
    /// Folders of compactions stay, also those that no process holds.
    pub leave_compactions: bool,
    /// Who keeps jobs from starting while they are looked at.
    pub starting: StartLockHolder,
}

/// A job that starts while its lock is looked at would find it taken, so none may start then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StartLockHolder {
    /// The caller holds the start lock, or has the store for itself.
    #[default]
    Caller,
    /// The sweep takes the start lock for that time.
    Sweep,
}

/// Removes what nothing in `keep` refers to, and what crashes left behind. Files of unfinished jobs stay.
///
/// The snapshot that is current must be in `keep`. Leases are not looked at: what they hold is in `keep`, or
/// goes. On return the removals are flushed. After an error some files are gone and the others are there;
/// nothing that is needed is touched.
///
/// Time is linear in the number of files; memory is that of `keep` and of the longest folder's list of names.
pub(crate) fn sweep(store: &Store, lock: &WriterLock, keep: NeededFiles) -> Result<Swept, StorageError> {
    sweep_with(store, lock, keep, HashSet::new(), SweepOptions::default())
}

/// The same. Files of jobs that are known to be `published` are not those of unfinished ones.
pub(crate) fn sweep_with(
    store: &Store,
    _lock: &WriterLock,
    keep: NeededFiles,
    published: HashSet<Uuid>,
    options: SweepOptions,
) -> Result<Swept, StorageError> {
    let mut sweeper = Sweeper { env: store.env(), needed: keep, published, options, swept: Swept::default() };
    sweeper.check_current()?;
    sweeper.jobs()?;
    sweeper.top()?;
    sweeper.manifests()?;
    for (top, kind, ending) in NUMBERED {
        sweeper.numbered(top, kind, ending)?;
    }
    for (top, kind) in FLAT {
        sweeper.flat(top, kind)?;
    }
    sweeper.work()?;
    sweeper.leases()?;
    sweeper.uploads()?;
    Ok(sweeper.swept)
}

pub(super) struct Sweeper<'a> {
    pub(super) env: &'a Arc<Env>,
    pub(super) needed: NeededFiles,
    pub(super) published: HashSet<Uuid>,
    pub(super) options: SweepOptions,
    pub(super) swept: Swept,
}

impl Sweeper<'_> {
    /// The last line of defence: whatever the caller put together, the current snapshot stays.
    fn check_current(&self) -> Result<(), StorageError> {
        let detail = match Current::read(self.env) {
            Ok(current) if self.needed.has_manifest(&current.root.file) => return Ok(()),
            Ok(current) => format!("snapshot {} is current and not among what is kept", current.snapshot),
            Err(e) => e.to_string(),
        };
        Err(StorageError::io("remove files", std::io::Error::other(detail)))
    }

    fn top(&mut self) -> Result<(), StorageError> {
        let mut removed = false;
        for name in self.list("")?.unwrap_or_default() {
            match names::top(&name) {
                TopLevelName::Ours => {}
                TopLevelName::Leftover => removed |= self.remove(FileKind::Leftovers, &name)?,
                TopLevelName::Foreign => self.swept.stranger(name),
            }
        }
        self.flush("", removed)
    }

    fn manifests(&mut self) -> Result<(), StorageError> {
        let mut removed = false;
        for file in self.list("manifests")?.unwrap_or_default() {
            let name = format!("manifests/{file}");
            let (stem, unfinished) = names::finished(&file);
            match names::manifest(stem) {
                None => self.swept.stranger(name),
                Some(_) if unfinished => removed |= self.remove(FileKind::Leftovers, &name)?,
                Some(_) if self.needed.has_manifest(&file) => {}
                Some(kind) => removed |= self.remove(kind, &name)?,
            }
        }
        self.flush("manifests", removed)
    }

    fn numbered(&mut self, top: &str, kind: FileKind, ending: &str) -> Result<(), StorageError> {
        let (mut gone, mut complete) = (false, None);
        for folder in self.list(top)?.unwrap_or_default() {
            let path = format!("{top}/{folder}");
            let files = match names::number(&folder) {
                Some(number) => self.list(&path)?.map(|files| (number, files)),
                None => None,
            };
            let Some((number, files)) = files else {
                self.swept.stranger(path);
                continue;
            };
            let (mut removed, mut left) = (false, false);
            for file in files {
                let name = format!("{path}/{file}");
                let (stem, unfinished) = names::finished(&file);
                let uuid = stem.strip_suffix(ending).and_then(|s| names::uuid(s.strip_suffix('.')?));
                let goes = match uuid {
                    None => {
                        self.swept.stranger(name.clone());
                        None
                    }
                    Some(_) if unfinished => {
                        if complete.is_none() {
                            complete = Some(self.is_complete(top, kind, ending)?);
                        }
                        let goes = complete == Some(true);
                        if !goes {
                            self.swept.unfinished(name.clone());
                        }
                        goes.then_some(FileKind::Leftovers)
                    }
                    Some(uuid) => (!self.needed.has_data(&(kind, number, uuid))).then_some(kind),
                };
                match goes {
                    Some(kind) if self.remove(kind, &name)? => removed = true,
                    _ => left = true,
                }
            }
            self.flush(&path, removed)?;
            gone |= !left && self.remove_folder(&path)?;
        }
        self.flush(top, gone)
    }

    /// Whether all needed files of a kind are there.
    fn is_complete(&self, top: &str, kind: FileKind, ending: &str) -> Result<bool, StorageError> {
        for (number, uuid) in self.needed.of_kind(kind) {
            if !self.env.exists(&format!("{top}/{number}/{uuid}.{ending}"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flat(&mut self, top: &str, kind: FileKind) -> Result<(), StorageError> {
        let mut removed = false;
        let files = self.list(top)?.unwrap_or_default();
        // An index is needed as long as its segment is.
        let segments = match kind {
            FileKind::Indexes if !files.is_empty() => {
                self.needed.of_kind(FileKind::Segments).map(|(_, uuid)| uuid).collect()
            }
            _ => HashSet::new(),
        };
        let there: HashSet<Uuid> = files.iter().filter_map(|file| names::artifact(file)).collect();
        let complete = self.needed.of_kind(kind).all(|(_, uuid)| there.contains(&uuid));
        let has_unfinished = files.iter().any(|file| names::finished(file).1);
        let is_indexing = kind == FileKind::Indexes && has_unfinished && self.is_indexing()?;
        for file in files {
            let name = format!("{top}/{file}");
            let (stem, unfinished) = names::finished(&file);
            match stem.split_once('.').and_then(|(u, _)| names::uuid(u)) {
                None => self.swept.stranger(name),
                Some(uuid)
                    if !unfinished
                        && (segments.contains(&uuid)
                            || self.needed.has_data(&(kind, 0, uuid))
                            || self.needed.mentions(uuid)) => {}
                Some(_) if unfinished && is_indexing => {}
                Some(_) if unfinished && !complete => self.swept.unfinished(name),
                Some(_) if unfinished => removed |= self.remove(FileKind::Leftovers, &name)?,
                Some(_) => removed |= self.remove(kind, &name)?,
            }
        }
        self.flush(top, removed)
    }

    /// Whether indexes are being built: where their folder is on another file system, an unfinished file there
    /// may be what a build copies, without the writer lock. Asked after the folder was listed: a build that
    /// begins later copies to another name.
    fn is_indexing(&self) -> Result<bool, StorageError> {
        let _starting = self.lock_start()?;
        Ok(!live_builds(self.env)?.is_empty())
    }

    /// The start lock, unless the caller holds it.
    pub(super) fn lock_start(&self) -> Result<Option<Box<dyn VfsLock>>, StorageError> {
        match self.options.starting {
            StartLockHolder::Caller => Ok(None),
            StartLockHolder::Sweep => self.env.lock_start().map(Some),
        }
    }

    /// The names in a folder; `None` if it is a file or not there.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, StorageError> {
        match self.env.vfs().list(&self.env.at(name)) {
            Ok(names) => Ok(Some(names)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(Env::io("list", name)(e)),
        }
    }

    /// Length of a file; 0 if it cannot be opened.
    pub(super) fn len(&self, name: &str) -> u64 {
        self.env.len_of(name).unwrap_or(0)
    }

    /// Removes and counts a file. Returns whether it is gone, or would be.
    pub(super) fn remove(&mut self, kind: FileKind, name: &str) -> Result<bool, StorageError> {
        let bytes = self.len(name);
        if !self.options.dry_run {
            match self.env.vfs().remove(&self.env.at(name)) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
                Err(e) if e.kind() == ErrorKind::IsADirectory => {
                    self.swept.stranger(name.to_owned());
                    return Ok(false);
                }
                Err(e) => return Err(Env::io("remove", name)(e)),
            }
        }
        self.swept.count(kind, bytes);
        Ok(true)
    }

    /// Removes a folder that has nothing left in it.
    pub(super) fn remove_folder(&mut self, name: &str) -> Result<bool, StorageError> {
        if !self.options.dry_run {
            match self.env.vfs().remove_dir(&self.env.at(name)) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                    return Ok(false);
                }
                Err(e) => return Err(Env::io("remove", name)(e)),
            }
        }
        self.swept.folders += 1;
        Ok(true)
    }

    /// Flushes the names of a folder from which something was removed.
    pub(super) fn flush(&self, name: &str, removed: bool) -> Result<(), StorageError> {
        if removed && !self.options.dry_run { self.env.sync_folder(name) } else { Ok(()) }
    }
}
