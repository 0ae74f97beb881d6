//! Sweep of what processes at work keep in the store: jobs, appends, compactions, leases, copies of uploads.

use super::report::JobNote;
use super::sweep::Sweeper;
use crate::artifacts;
use crate::error::StorageError;
use crate::index;
use crate::job::{
    Content, Intents, JOB, JobFile, JobFolder, PUBLISH, intents_of, is_held, is_job, read_json_of,
};
use crate::layout::HELD_LOCK;
use crate::layout::names::{self, FileKind, LEASES, LOCKS, UPLOADS};
use crate::lease;
use crate::rewrite;
use crate::samples::is_append;
use crate::vfs::VfsLock;
use uuid::Uuid;

impl Sweeper<'_> {
    /// Notes the jobs, and that the files which they were publishing are theirs. What is left of one that has
    /// published goes; with `drop_jobs`, interrupted ones go as well.
    pub(super) fn jobs(&mut self) -> Result<(), StorageError> {
        let _starting = self.lock_start()?;
        let mut removed = false;
        for id in self.list("tmp")?.unwrap_or_default().into_iter().filter(|n| is_job(n)) {
            // Gone meanwhile, or a file of a stranger.
            let Some(files) = self.list(&format!("tmp/{id}"))? else { continue };
            // What cannot be read is no error where the job is dropped.
            let intents = intents_of(self.env, &id);
            let is_over = intents.as_ref().is_ok_and(|intents| self.is_over(&files, intents.as_ref()));
            if is_over && self.remove_unless_held(&format!("tmp/{id}"))? {
                removed = true;
                continue;
            }
            let mut note = JobNote {
                command: read_json_of(self.env, &format!("tmp/{id}/{JOB}"))
                    .ok()
                    .flatten()
                    .map(|j: JobFile| j.command),
                running: is_held(self.env, &id)?,
                bytes: files.iter().map(|f| self.len(&format!("tmp/{id}/{f}"))).sum(),
                dropped: false,
                id,
            };
            if self.options.drop_jobs && !note.running {
                let dropped = self.drop_job(&note.id);
                note.dropped = self.unless_denied(&format!("tmp/{}", note.id), dropped)?;
            }
            if !note.dropped {
                for m in intents?.into_iter().flat_map(|intents| intents.moves) {
                    note.bytes += self.len(&m.to);
                    self.needed.add_file(&m.to);
                }
            }
            self.swept.jobs.push(note);
        }
        self.flush("tmp", removed)?;
        self.held_folders()
    }

    /// Removes the folders of index builds and of files of artifacts whose processes died. None can start
    /// meanwhile.
    fn held_folders(&mut self) -> Result<(), StorageError> {
        let mut removed = false;
        for name in self.list("tmp")?.unwrap_or_default().into_iter().filter(|n| is_held_folder(n)) {
            removed |= self.remove_unless_held(&format!("tmp/{name}"))?;
        }
        self.flush("tmp", removed)
    }

    /// Whether these files of a job are what a kill left of it after its publish: all that it announced is
    /// known to be published, and it has sealed no other vectors. Token counts that it did not announce are those
    /// that another job published first. A folder without either note is being removed.
    fn is_over(&self, files: &[String], intents: Option<&Intents>) -> bool {
        let is_published = |uuid: &Uuid| self.published.contains(uuid);
        let goes = |file: &String| match Content::of(file) {
            Content::Segment { uuid, .. } => is_published(&uuid),
            Content::Encoding(_) | Content::EncodingNote(_) | Content::Own | Content::Leftover => true,
            Content::Stranger => false,
        };
        let is_noted = |note: &str| files.iter().any(|file| file == note);
        let announced = match intents {
            Some(intents) => intents.moves.iter().all(|m| is_published(&m.uuid)),
            None => !is_noted(JOB) && !is_noted(PUBLISH),
        };
        announced && files.iter().all(goes)
    }

    /// Removes an interrupted job. None can start meanwhile.
    fn drop_job(&mut self, id: &str) -> Result<bool, StorageError> {
        let name = format!("tmp/{id}");
        if self.options.dry_run {
            return self.remove_work(&name, FileKind::Jobs);
        }
        match JobFolder::take(self.env, id)? {
            Some(_held) => self.remove_work(&name, FileKind::Jobs),
            None => Ok(false),
        }
    }

    /// Removes what crashes left in `tmp/`.
    pub(super) fn work(&mut self) -> Result<(), StorageError> {
        let mut removed = false;
        for name in self.list("tmp")?.unwrap_or_default() {
            let path = format!("tmp/{name}");
            if is_append(&name) {
                let gone = self.remove_work(&path, FileKind::Leftovers);
                removed |= self.unless_denied(&path, gone)?;
            } else if rewrite::is_work(&name) {
                if !self.options.leave_compactions {
                    removed |= self.remove_unless_held(&path)?;
                }
            } else if !LOCKS.contains(&&*path) && !is_job(&name) && !is_held_folder(&name) {
                self.swept.stranger(path);
            }
        }
        self.flush("tmp", removed)
    }

    /// Removes a folder whose `lock` is not held.
    fn remove_unless_held(&mut self, folder: &str) -> Result<bool, StorageError> {
        let removed = self.remove_if_free(folder);
        self.unless_denied(folder, removed)
    }

    fn remove_if_free(&mut self, folder: &str) -> Result<bool, StorageError> {
        let name = format!("{folder}/{HELD_LOCK}");
        let lock = match self.env.exists(&name)? {
            false => None,
            true => match self.free_lock(&name)? {
                Some(lock) => lock,
                // Its owner is at work, or has finished and removes it.
                None => return Ok(false),
            },
        };
        let removed = self.remove_work(folder, FileKind::Leftovers);
        drop(lock);
        removed
    }

    /// Removes a file that is not locked.
    fn remove_unlocked(&mut self, kind: FileKind, name: &str) -> Result<(), StorageError> {
        let removed = match self.free_lock(name) {
            Ok(Some(_lock)) => self.remove(kind, name),
            Ok(None) => Ok(false),
            Err(e) => Err(e),
        };
        self.unless_denied(name, removed).map(drop)
    }

    /// The lock of a file that no process holds; `None` if one does, or the file is gone. Whether a file of
    /// another user is locked can only be looked at; the folder's permissions decide whether it can be removed.
    fn free_lock(&self, name: &str) -> Result<Option<Option<Box<dyn VfsLock>>>, StorageError> {
        match self.env.lock_there(name, false) {
            Ok(Some(Some(lock))) => Ok(Some(Some(lock))),
            Ok(_) => Ok(None),
            Err(e) if e.is_denied() => Ok((!self.env.is_locked(name)?).then_some(None)),
            Err(e) => Err(e),
        }
    }

    /// What another user's process left, and this one may not touch, stays and is listed.
    fn unless_denied(&mut self, name: &str, done: Result<bool, StorageError>) -> Result<bool, StorageError> {
        match done {
            Err(e) if e.is_denied() => {
                self.swept.denied(name.to_owned());
                Ok(false)
            }
            done => done,
        }
    }

    /// Removes a folder of ours in `tmp/` with the files in it.
    fn remove_work(&mut self, folder: &str, kind: FileKind) -> Result<bool, StorageError> {
        let Some(files) = self.list(folder)? else {
            // Unless its owner was faster.
            if self.env.exists(folder)? {
                self.swept.stranger(folder.to_owned());
            }
            return Ok(false);
        };
        let mut left = false;
        for file in files {
            left |= !self.remove(kind, &format!("{folder}/{file}"))?;
        }
        Ok(!left && self.remove_folder(folder)?)
    }

    /// Removes leases that are not held. They matter only to processes that run, so nothing is flushed; who
    /// must be sure that they are gone flushes the folder.
    pub(super) fn leases(&mut self) -> Result<(), StorageError> {
        for file in self.list(LEASES)?.unwrap_or_default() {
            let name = format!("{}/{file}", LEASES);
            if !lease::is_lease(&file) {
                self.swept.stranger(name);
                continue;
            }
            self.remove_unlocked(FileKind::Leases, &name)?;
        }
        Ok(())
    }

    /// Removes copies of uploads whose server was killed. None is made meanwhile.
    pub(super) fn uploads(&mut self) -> Result<(), StorageError> {
        let mut copies = self.list(UPLOADS)?.unwrap_or_default();
        copies.retain(|name| name.strip_suffix(".arrow").is_some_and(|id| names::uuid(id).is_some()));
        if copies.is_empty() {
            return Ok(());
        }
        let _making = match self.env.lock_there(&format!("{UPLOADS}/{HELD_LOCK}"), true) {
            Err(e) if e.is_denied() => {
                self.swept.denied(UPLOADS.to_owned());
                return Ok(());
            }
            making => making?,
        };
        copies
            .iter()
            .try_for_each(|copy| self.remove_unlocked(FileKind::Leftovers, &format!("{UPLOADS}/{copy}")))
    }
}

/// Whether a folder was made under the start lock, and is in use while its `lock` is held.
fn is_held_folder(name: &str) -> bool {
    index::is_build(name) || artifacts::is_work(name)
}
