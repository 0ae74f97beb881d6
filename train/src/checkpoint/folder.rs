//! Atomically written folders: written under another name, flushed, then renamed, by one process at a time.

use std::path::{Path, PathBuf};

use gstore_store::vfs::{CreatedFolder, OsVfs, Vfs, VfsLock, sync_folder, write_whole};
use serde_json::Value;

use super::json::json_text;
use super::read::is_interim;
use super::{Checkpoint, checkpoints};
use crate::error::TrainError;

/// The beginning of the name of a folder that is not finished.
const UNFINISHED: &str = ".unfinished-";

/// The picture of the curves that a front end draws into an output folder.
pub const CURVES: &str = "loss.svg";

const LOCK: &str = ".lock";

/// The right to write to an output folder, which one process has at a time. The system gives it back where
/// that ends, however it does; the file stays, since a process that waits for it may have it open. Where the
/// folder was made for it and nothing is written there, both go.
#[derive(Debug)]
pub struct FolderLock {
    /// Goes before the lock is given back.
    made: CreatedFolder,
    #[expect(dead_code, reason = "is locked as long as it is there")]
    lock: Box<dyn VfsLock>,
}

impl FolderLock {
    /// The lock of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it; a folder that cannot be written to.
    pub fn of(output: &Path) -> Result<FolderLock, TrainError> {
        let made = CreatedFolder::of(output)?;
        let path = output.join(LOCK);
        let lock = OsVfs.lock(&path, false)?.filter(|_| path.exists());
        lock.map(|lock| FolderLock { made, lock }).ok_or_else(|| TrainError::Busy(output.to_owned()))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let Some(output) = self.made.made() else { return };
        let is_lock =
            |entry: std::io::Result<fs_err::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == LOCK);
        if fs_err::read_dir(output).is_ok_and(|mut entries| entries.all(is_lock)) {
            let _ = fs_err::remove_file(output.join(LOCK));
        }
    }
}

/// Makes `output/name` by `fill`, which flushes what it writes. What has that name already is replaced, so the
/// caller has the [`FolderLock`] of `output`, or for a model of an ensemble the lock of that model.
pub(super) fn write_folder(
    output: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    fs_err::create_dir_all(output)?;
    let (unfinished, finished) = (output.join(format!("{UNFINISHED}{name}")), output.join(name));
    if unfinished.exists() {
        fs_err::remove_dir_all(&unfinished)?;
    }
    fs_err::create_dir(&unfinished)?;
    let filled = fill(&unfinished).and_then(|()| Ok(sync_folder(&unfinished)?));
    if let Err(error) = filled {
        // The disk may be full: what is there in part takes room for nothing.
        let _ = fs_err::remove_dir_all(&unfinished);
        return Err(error);
    }
    if finished.exists() {
        remove(&finished)?;
    }
    fs_err::rename(&unfinished, &finished)?;
    Ok(sync_folder(output)?)
}

/// Writes a file of JSON that is there as a whole or not at all; what has its name already is replaced.
/// Several processes may write it at once: that of the last one stays.
pub(crate) fn make_json(folder: &Path, name: &str, value: &Value) -> Result<(), TrainError> {
    fs_err::create_dir_all(folder)?;
    Ok(write_whole(&folder.join(name), &json_text(value)?)?)
}

/// An error unless folders can be made in `output`, which is made if it is not there: before steps are taken,
/// not with their first checkpoint.
pub(crate) fn check_writable(output: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(output)?;
    let tried = output.join(format!("{UNFINISHED}tried"));
    fs_err::create_dir(&tried)?;
    fs_err::remove_dir(&tried)
}

/// Removes a folder, first its name: a process that is killed meanwhile leaves no part of it that looks
/// whole, and [`remove_unfinished`] takes the rest.
pub(crate) fn remove(folder: &Path) -> Result<(), TrainError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.with_file_name(format!("{UNFINISHED}removed-{name}"));
    if gone.exists() {
        fs_err::remove_dir_all(&gone)?;
    }
    fs_err::rename(folder, &gone)?;
    Ok(fs_err::remove_dir_all(&gone)?)
}

/// Folders and files that a killed training left unfinished.
pub(crate) fn unfinished_paths(output: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !output.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(output)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(UNFINISHED)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Removes what a killed training left unfinished.
pub(crate) fn remove_unfinished(output: &Path) -> Result<(), TrainError> {
    for path in unfinished_paths(output)? {
        match path.is_dir() {
            true => fs_err::remove_dir_all(&path)?,
            false => fs_err::remove_file(&path)?,
        }
    }
    Ok(())
}

/// Checkpoints that the one after `taken` steps takes the place of: those that only kept what was done when a
/// training was told to stop, and of the others all but the newest `limit`.
pub(crate) fn superseded_checkpoints(
    output: &Path,
    taken: u64,
    limit: Option<usize>,
) -> Result<Vec<Checkpoint>, TrainError> {
    let (mut replaced, mut kept) = (Vec::new(), Vec::new());
    for checkpoint in checkpoints(output)? {
        let is_replaced = checkpoint.step < taken && is_interim(&checkpoint.folder)?;
        if is_replaced { &mut replaced } else { &mut kept }.push(checkpoint);
    }
    let beyond = limit.map_or(0, |limit| kept.len().saturating_sub(limit));
    replaced.extend(kept.drain(..beyond));
    Ok(replaced)
}

/// Removes what the checkpoint after `taken` steps takes the place of.
pub(crate) fn remove_replaced(output: &Path, taken: u64, limit: Option<usize>) -> Result<(), TrainError> {
    superseded_checkpoints(output, taken, limit)?.iter().try_for_each(|checkpoint| remove(&checkpoint.folder))
}

/// Removes all checkpoints, and their curves first: beside checkpoints of the next training, which may be
/// killed before it draws, they would be taken for its own.
pub(crate) fn remove_all(output: &Path) -> Result<(), TrainError> {
    let curves = output.join(CURVES);
    if curves.is_file() {
        fs_err::remove_file(&curves)?;
    }
    checkpoints(output)?.iter().try_for_each(|checkpoint| remove(&checkpoint.folder))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folders_that_cannot_be_written_are_found_and_others_stay_empty() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("runs/one");
        check_writable(&output).unwrap();
        assert_eq!(fs_err::read_dir(&output).unwrap().count(), 0);
        // What a killed training may leave.
        fs_err::create_dir(output.join(".unfinished-checkpoint-3")).unwrap();
        fs_err::write(output.join(".unfinished-losses.json"), b"{").unwrap();
        remove_unfinished(&output).unwrap();
        assert_eq!(fs_err::read_dir(&output).unwrap().count(), 0);
        let file = folder.path().join("file");
        fs_err::write(&file, b"").unwrap();
        assert!(check_writable(&file.join("one")).is_err());
    }

    #[test]
    fn several_write_the_same_json_at_once_and_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let value = json!({ "numbers": (0..1000).collect::<Vec<u32>>() });
        let write = || (0..10).try_for_each(|_| make_json(folder.path(), "note.json", &value));
        std::thread::scope(|scope| {
            let writers = [(); 4].map(|()| scope.spawn(write));
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        let text = fs_err::read(folder.path().join("note.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_process_at_a_time_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("runs/one");
        let first = FolderLock::of(&output).unwrap();
        assert!(matches!(FolderLock::of(&output), Err(TrainError::Busy(path)) if path == output));
        drop(first);
        FolderLock::of(&output).unwrap();
    }

    #[test]
    fn a_folder_that_was_made_for_nothing_goes_with_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (runs, output) = (folder.path().join("runs"), folder.path().join("runs/one"));
        drop(FolderLock::of(&output).unwrap());
        assert!(!runs.exists());
        // What holds something else stays, and so does a folder that was there before.
        let lock = FolderLock::of(&output).unwrap();
        fs_err::write(runs.join("notes.txt"), b"").unwrap();
        drop(lock);
        assert!(runs.exists() && !output.exists());
        let lock = FolderLock::of(&output).unwrap();
        fs_err::create_dir(output.join("checkpoint-1")).unwrap();
        drop(lock);
        assert!(output.join(LOCK).exists());
        let there = folder.path().join("there");
        fs_err::create_dir(&there).unwrap();
        drop(FolderLock::of(&there).unwrap());
        assert!(there.join(LOCK).exists());
    }
}
