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
use gstore_store::vfs::{self, OsVfs, Vfs as _, VfsLock, sync_folder};

use crate::stand_ins::{stands_for, stands_for_itself};
use crate::streams::say;
use crate::wording::reword_file_errors;

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

    /// Gives what was made a name of its own, under which no command removes it; where it is, if it is still
    /// there.
    pub fn keep(mut self) -> Option<PathBuf> {
        let kept = self.path.with_extension("result");
        if fs_err::rename(&self.content, &kept).is_ok() {
            return Some(kept);
        }
        stands_for_itself(&self.content);
        self.is_kept = self.content.exists();
        if !self.is_kept {
            return None;
        }
        // Without its lock the folder is no leftover.
        let _ = fs_err::remove_file(self.path.join(LOCK));
        Some(self.content.clone())
    }

    /// Ends it after what was made in it got its name. The folder that had the name before goes, once the new
    /// one is on the medium. If it cannot be removed, a note says so: the result is there.
    ///
    /// # Errors
    /// A name that may be lost again: the folder that had it before is kept.
    pub fn settle(self) -> anyhow::Result<()> {
        if let Some(note) = self.settled(sync_folder)? {
            say!("note: {note}");
        }
        Ok(())
    }

    fn settled(self, sync: impl FnOnce(&Path) -> Result<()>) -> anyhow::Result<Option<String>> {
        if let Err(error) = sync(vfs::parent(&self.path)) {
            let error = anyhow::Error::from(error);
            // A name that was free, or a file system that cannot exchange names, leaves nothing here.
            let Some(old) = self.keep() else { return Err(error) };
            return Err(error.context(format!("the folder that was there before is in {}", old.display())));
        }
        let left = remove(&self.path, LOCK).err();
        Ok(left.map(|error| {
            let error = reword_file_errors(&error.to_string());
            format!("{error}; the next command that writes there removes what is left")
        }))
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

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: HiddenName<'static> = (".rows.", ".part");

    /// A folder in which something was made.
    fn with_content(around: &Path) -> LockedFolder {
        let folder = LockedFolder::make(around, HIDDEN, &around.join("rows")).expect("made");
        fs_err::create_dir(folder.content()).expect("made");
        fs_err::write(folder.content().join("file"), "").expect("written");
        folder
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(folder).expect("listed");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn the_folder_before_stays_where_the_error_says_if_the_new_one_may_be_lost() {
        let broken = |_: &Path| Err(Error::other("broken"));
        let around = tempfile::tempdir().expect("a folder");
        let error = with_content(around.path()).settled(broken).expect_err("broken");
        let kept = entries(around.path());
        assert!(kept.len() == 1 && kept[0].join("file").is_file(), "{kept:?}");
        assert!(kept[0].extension().is_some_and(|end| end == "result"), "{kept:?}");
        let said = format!("the folder that was there before is in {}: broken", kept[0].display());
        assert_eq!(format!("{error:#}"), said);
        // Where there was none, nothing is said of one, and nothing stays.
        let folder = with_content(around.path());
        fs_err::remove_dir_all(folder.content()).expect("removed");
        assert_eq!(format!("{:#}", folder.settled(broken).expect_err("broken")), "broken");
        assert_eq!(entries(around.path()), kept);
    }

    #[test]
    fn a_note_names_what_is_left_of_the_folder_before_and_the_next_command_removes_it() {
        let around = tempfile::tempdir().expect("a folder");
        assert_eq!(with_content(around.path()).settled(sync_folder).expect("settled"), None);
        assert!(entries(around.path()).is_empty());
        let folder = with_content(around.path());
        // What is not there cannot be removed.
        fs_err::remove_file(folder.path.join(LOCK)).expect("removed");
        let note = folder.settled(sync_folder).expect("settled").expect("a note");
        let left = entries(around.path());
        assert!(left.len() == 1 && note.contains(&left[0].display().to_string()), "{note}: {left:?}");
        assert!(note.ends_with("; the next command that writes there removes what is left"), "{note}");
        remove_leftovers(HIDDEN, around.path());
        assert!(entries(around.path()).is_empty());
    }

    #[test]
    fn a_result_that_gets_no_name_of_its_own_is_no_leftover() {
        let around = tempfile::tempdir().expect("a folder");
        let folder = with_content(around.path());
        fs_err::write(folder.path.with_extension("result"), "in the way").expect("written");
        let content = folder.content().to_owned();
        assert_eq!(folder.keep().as_ref(), Some(&content));
        remove_leftovers(HIDDEN, around.path());
        assert!(content.join("file").is_file());
        let said = crate::stand_ins::by_their_names(content.display().to_string());
        assert_eq!(said, content.display().to_string());
    }
}
