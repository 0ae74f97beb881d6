//! Staging folder of a matrix, next to its destination.
//!
//! Invariants
//! - one process works in it at a time
//! - a part under its name is complete: it was durable before it got the name, and so was its digest
//! - a part counts only with the bytes that were written
//! - a part counts only for the question whose digest it has

use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::path::PathBuf;

use gstore_core::{Cancel, Digest, Remedy, if_there, xxh3_hex};
use gstore_store::vfs::{OsVfs, Vfs, VfsLock, sync_folder};
use serde::{Deserialize, Serialize};

use super::error::MatrixError;
use super::files::{PartPlace, json, metadata, remove};
use super::place::{DIGESTS, INFO, LOCK, OutputPaths, QUESTION, REPLACED, TARGETS};
use super::question::MatrixQuestion;
use crate::influence::ExcludedCounts;

/// How often the folder is made that others remove before it is locked.
const ATTEMPTS: usize = 10;

/// The key of a [`PartNote`] in a part's metadata.
pub(super) const PART_KEY: &str = "gstore.part";
/// The key of the target samples, in the order of the scores, in the metadata of a single file or of batches.
pub(super) const TARGETS_KEY: &str = "gstore.targets";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartNote {
    /// Digest of the question.
    pub(super) question: String,
    /// Its number in the group.
    pub(super) part: usize,
    /// How many the group has.
    pub(super) parts: usize,
    /// Rows that have scores.
    pub(super) rows: u64,
    /// Rows that have none.
    pub(super) excluded: ExcludedCounts,
}

impl PartNote {
    pub(super) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.excluded.merge(&other.excluded);
    }
}

/// The folder, held by this process.
pub(super) struct WorkFolder<'a> {
    pub(super) place: &'a OutputPaths,
    pub(super) question: &'a MatrixQuestion,
    pub(super) digest: String,
    /// Held until the work is dropped.
    _lock: Box<dyn VfsLock>,
}

impl<'a> WorkFolder<'a> {
    /// Begins, or goes on where the same question was left.
    pub(super) fn open(place: &'a OutputPaths, question: &'a MatrixQuestion) -> Result<Self, MatrixError> {
        let Some(lock) = lock(place)? else {
            return Err(MatrixError::Refused(format!(
                "another process is making {}; wait for it",
                place.display()
            )));
        };
        let folder = &place.hidden;
        if !is_begun(place, question)? {
            // Leftovers of unknown origin, or work that may be replaced.
            clear(place)?;
            PartPlace::new(folder.join(QUESTION)).write(json(question)?.as_bytes())?;
        }
        for name in question.groups.iter().map(|group| group.folder.as_str()).chain([DIGESTS]) {
            fs_err::create_dir_all(folder.join(name))?;
        }
        Ok(Self { place, question, digest: xxh3_hex(json(question)?.as_bytes()), _lock: lock })
    }

    /// A file of the result.
    pub(super) fn file(&self, name: &str) -> PartPlace {
        PartPlace::new(self.place.hidden.join(name))
    }

    pub(super) fn part_path(&self, group: usize, part: usize) -> Result<PathBuf, MatrixError> {
        Ok(self.place.hidden.join(self.group_folder(group)?).join(format!("{part:05}.parquet")))
    }

    fn group_folder(&self, group: usize) -> Result<&str, MatrixError> {
        let group = self.question.groups.get(group);
        Ok(&group.ok_or_else(|| MatrixError::Refused("a part of no group".into()))?.folder)
    }

    /// The file with the digest of a part. It is not next to that: readers of a folder take every file there.
    pub(super) fn digest_place(&self, group: usize, part: usize) -> Result<PartPlace, MatrixError> {
        let name = format!("{}-{part:05}", self.group_folder(group)?);
        Ok(PartPlace::new(self.place.hidden.join(DIGESTS).join(name)))
    }

    /// What a part holds, if it is finished. One that cannot be read, is of another question, or is not the
    /// one that was written is made again. Its bytes are read.
    pub(super) fn part(
        &self,
        group: usize,
        part: usize,
        cancel: &Cancel,
    ) -> Result<Option<PartNote>, MatrixError> {
        cancel.check()?;
        match self.noted(group, part)? {
            Some(note) if self.is_sound(group, part)? => Ok(Some(note)),
            _ => Ok(None),
        }
    }

    /// Whether a part has the bytes that were written: another score is still a number, and nothing else
    /// would notice. Those of an earlier version have no digest.
    fn is_sound(&self, group: usize, part: usize) -> Result<bool, MatrixError> {
        let said = if_there(fs_err::read(self.digest_place(group, part)?.path))?;
        let Some(said) = said else { return Ok(false) };
        let found = Digest::of_read(fs_err::File::open(self.part_path(group, part)?)?)?;
        Ok(found.to_string().as_bytes() == said)
    }

    /// The note in the footer of a part; its scores are not read.
    fn noted(&self, group: usize, part: usize) -> Result<Option<PartNote>, MatrixError> {
        let path = self.part_path(group, part)?;
        let Some(found) = if_there(fs_err::metadata(&path))? else { return Ok(None) };
        if !found.is_file() {
            return Err(MatrixError::Refused(format!(
                "{} is in the place of a part of the matrix and is not a file; remove it, and run the same command again",
                path.display()
            )));
        }
        let text = match metadata(&path, PART_KEY) {
            Err(MatrixError::Parquet { .. }) => None,
            text => text?,
        };
        let note: Option<PartNote> = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(note.filter(|note| note.question == self.digest && note.part == part))
    }

    /// What the parts of a group hold, if all are finished.
    pub(super) fn finished_group(
        &self,
        group: usize,
        cancel: &Cancel,
    ) -> Result<Option<Vec<PartNote>>, MatrixError> {
        let Some(notes) = self.noted_group(group)? else { return Ok(None) };
        for part in 0..notes.len() {
            cancel.check()?;
            if !self.is_sound(group, part)? {
                return Ok(None);
            }
        }
        Ok(Some(notes))
    }

    /// The notes in the footers of all parts of a group, if all are there; their scores are not read.
    pub(super) fn noted_group(&self, group: usize) -> Result<Option<Vec<PartNote>>, MatrixError> {
        let Some(first) = self.noted(group, 0)? else { return Ok(None) };
        let parts = first.parts;
        let mut notes = vec![first];
        for part in 1..parts {
            match self.noted(group, part)? {
                Some(note) => notes.push(note),
                None => return Ok(None),
            }
        }
        Ok(Some(notes))
    }

    /// Gives the work up, with all that was made.
    pub(super) fn discard(self) -> Result<(), MatrixError> {
        discard(self.place)
    }
}

/// Whether work for this question was begun.
///
/// # Errors
/// Work for another question that may not be replaced.
pub(super) fn is_begun(place: &OutputPaths, question: &MatrixQuestion) -> Result<bool, MatrixError> {
    let bytes = if_there(fs_err::read(place.hidden.join(QUESTION)))?;
    let Some(bytes) = bytes else { return Ok(false) };
    let theirs: Option<MatrixQuestion> = serde_json::from_slice(&bytes).ok();
    match question.unlike(theirs.as_ref(), QUESTION) {
        None => Ok(true),
        Some(_) if place.replace => Ok(false),
        Some(difference) => Err(MatrixError::Refused(format!(
            "{} has unfinished work for another question or another state of the store: {difference}; ask as it was asked then \
             ({} names the state), or give that work up by {}",
            place.hidden.display(),
            Remedy::Option("snapshot", ""),
            Remedy::Option("force", "")
        ))),
    }
}

/// Removes the work for a matrix that is finished, which a run that was killed at its end has left. A foreign
/// folder, and work for another question, stay.
pub(super) fn remove_leftover(place: &OutputPaths, question: &MatrixQuestion) -> Result<(), MatrixError> {
    let theirs = fs_err::read(place.hidden.join(QUESTION)).ok();
    let theirs: Option<MatrixQuestion> = theirs.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // The lock goes last, so a run may have been killed when it alone was left.
    let left =
        fs_err::read_dir(&place.hidden).map(|entries| entries.flatten().any(|e| e.file_name() != LOCK));
    if left.unwrap_or(true) && theirs.is_none_or(|theirs| question.difference(&theirs).is_some()) {
        return Ok(());
    }
    match lock(place)? {
        Some(_held) => discard(place),
        None => Ok(()),
    }
}

/// Makes the folder and takes its lock; `None` while another process has it.
fn lock(place: &OutputPaths) -> Result<Option<Box<dyn VfsLock>>, MatrixError> {
    let path = place.hidden.join(LOCK);
    let mut why = None;
    for _ in 0..ATTEMPTS {
        match fs_err::create_dir_all(&place.hidden) {
            // It was there, and had become the result when it was looked at; a file there is an error.
            Err(error) if error.kind() == AlreadyExists => {
                if fs_err::symlink_metadata(&place.hidden).is_ok_and(|found| !found.is_dir()) {
                    return Err(error.into());
                }
                why = Some(error);
                continue;
            }
            made => made?,
        }
        match OsVfs.lock(&path, false) {
            // The folder became the result, or was removed, by a run that has just finished; or the lock is a
            // link to nowhere.
            Err(error) if error.kind() == NotFound => why = Some(error),
            lock => return Ok(lock?),
        }
    }
    why.map_or(Ok(None), |error| Err(error.into()))
}

/// Removes what this module makes, except the lock; anything else is refused.
fn clear(place: &OutputPaths) -> Result<(), MatrixError> {
    let mut cleared = false;
    for entry in fs_err::read_dir(&place.hidden)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name == LOCK {
            continue;
        }
        let folder = entry.file_type()?.is_dir();
        if folder && (name.starts_with("scores-") || name == REPLACED || name == DIGESTS) {
            fs_err::remove_dir_all(path)?;
        } else if !folder && (name == INFO || name == TARGETS || name == QUESTION || name.ends_with(".tmp")) {
            remove(&path)?;
        } else {
            return Err(MatrixError::Refused(format!(
                "{} is not a file of a matrix; remove {}, where {} is to grow",
                path.display(),
                place.hidden.display(),
                place.display()
            )));
        }
        cleared = true;
    }
    match cleared {
        true => Ok(sync_folder(&place.hidden)?),
        false => Ok(()),
    }
}

/// The lock goes last, so that no run begins in a folder that is being emptied; a run that begins between the
/// removal of the lock and that of the folder keeps the folder.
pub(super) fn discard(place: &OutputPaths) -> Result<(), MatrixError> {
    clear(place)?;
    remove(&place.hidden.join(LOCK))?;
    remove(&place.hidden)
}
