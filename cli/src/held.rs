//! Hidden folders next to results, in which results are written until they get their names.
//!
//! Invariants
//! - such a folder has a lock file that its process holds until the folder is gone: one whose lock is free is
//!   a leftover of a process that was killed
//! - nothing but the lock file and what is made is in it: a folder with something else is somebody else's
//! - the lock file is made once, and removed under its lock and after all else in the folder: a process that
//!   has locked it and still finds it under its name is the only one that uses or removes the folder

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use gstore_core::{if_there, without_path};
use gstore_store::vfs::{OsVfs, Vfs as _, VfsLock};

use crate::stand_ins::{stands_for, stands_for_itself};

/// The names of what is made in such a folder, and of its lock.
const CONTENT: &str = "content";
const LOCK: &str = "lock";

/// How the name of such a folder begins and ends, with [random characters](is_random) in between.
pub type HiddenName<'a> = (&'a str, &'a str);

/// The random characters in a hidden name.
pub const RANDOM: usize = 6;

/// Whether what is between the beginning and the end of a hidden name was made for it. Names of others, such
/// as that of the unfinished matrix `scores.parquet` next to a folder `scores`, begin and end alike.
pub fn is_random(characters: &[u8]) -> bool {
    characters.len() == RANDOM && characters.iter().all(u8::is_ascii_alphanumeric)
}

/// A folder with its lock. It goes away when this is dropped.
pub struct LockedFolder {
    path: PathBuf,
    content: PathBuf,
    /// None where there are no locks: no process takes the folder for a leftover there.
    _lock: Option<Box<dyn VfsLock>>,
    /// Whether what is in it has no other place.
    is_kept: bool,
}

impl LockedFolder {
    /// Makes one. Messages call what is made in it by the place that it will have.
    pub fn make(parent: &Path, (prefix, suffix): HiddenName<'_>, place: &Path) -> Result<Self> {
        // A process that looks for leftovers may take the new folder for one before its lock is held.
        const ATTEMPTS: usize = 10;
        let unmade = |error: Error| {
            let (place, parent, why) = (place.display(), parent.display(), without_path(&error));
            Error::new(error.kind(), format!("{place}: no folder can be made in {parent}: {why}"))
        };
        for _ in 0..ATTEMPTS {
            let mut name = tempfile::Builder::new();
            let made = name.prefix(prefix).rand_bytes(RANDOM).suffix(suffix).tempdir_in(parent);
            let path = made.map_err(unmade)?.keep();
            let (content, lock) = (path.join(CONTENT), path.join(LOCK));
            stands_for(&content, place.display().to_string());
            stands_for(&lock, place.display().to_string());
            match OsVfs.lock(&lock, false) {
                Ok(Some(held)) if lock.exists() => {
                    return Ok(Self { path, content, _lock: Some(held), is_kept: false });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Self { path, content, _lock: None, is_kept: false });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    // Empty, or a leftover.
                    let _ = fs_err::remove_dir(&path);
                    return Err(error);
                }
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Where the result is made; nothing is there yet.
    pub fn content(&self) -> &Path {
        &self.content
    }

    /// Gives what was made a name of its own, under which no command removes it; where it is.
    pub fn keep(mut self) -> PathBuf {
        let kept = self.path.with_extension("result");
        if fs_err::rename(&self.content, &kept).is_ok() {
            return kept;
        }
        // Without its lock the folder is no leftover.
        let _ = fs_err::remove_file(self.path.join(LOCK));
        stands_for_itself(&self.content);
        self.is_kept = true;
        self.content.clone()
    }
}

impl Drop for LockedFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays is a leftover, which the next command removes.
            let _ = remove(&self.path, LOCK);
        }
    }
}

/// Removes the folders with such names that processes which were killed left in a folder. What cannot be
/// removed, such as that of another user, does no harm.
pub fn remove_leftovers((prefix, suffix): HiddenName<'_>, parent: &Path) {
    for entry in fs_err::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        let is_named = random.is_some_and(|random| is_random(random.as_bytes()));
        if is_named && entry.file_type().is_ok_and(|found| found.is_dir()) {
            let _ = remove_leftover(&entry.path());
        }
    }
}

/// Removes a folder that no process holds, unless it has something of somebody else.
fn remove_leftover(folder: &Path) -> Result<()> {
    match if_there(fs_err::OpenOptions::new().read(true).write(true).open(folder.join(LOCK)))? {
        Some(lock) if lock.file().try_lock().is_ok() && has_only_own(folder)? => remove(folder, LOCK),
        Some(_) => Ok(()),
        // Its process was killed before it made the lock, or will find out and make another folder.
        None => fs_err::remove_dir(folder),
    }
}

fn has_only_own(folder: &Path) -> Result<bool> {
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        if name != CONTENT && name != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a folder. The file in it by which it is known goes after all else: what a kill leaves still has
/// it.
pub fn remove(folder: &Path, mark: &str) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            _ if entry.file_name() == mark => {}
            true => fs_err::remove_dir_all(entry.path())?,
            false => fs_err::remove_file(entry.path())?,
        }
    }
    fs_err::remove_file(folder.join(mark))?;
    fs_err::remove_dir(folder)
}
