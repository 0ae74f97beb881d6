//! Files of the folder of a ground truth: each appears when it is whole, with a name that a loss of power
//! does not take again, and what its user keeps there stays.

use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gstore_core::{Remedy, if_there, without_path};
use gstore_store::vfs::{parent, remove_leftovers, sync_folder, unfinished_file};
use tempfile::NamedTempFile;

use crate::error::EvaluateError;

/// How the name of a file begins that is not whole yet, and how many random letters and digits follow.
pub(super) const UNFINISHED: &str = ".truth.";
const RANDOM: usize = 6;

/// Writes a file that appears when it is whole, in the place of one that is there.
pub(super) fn place(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), EvaluateError> {
    let path = folder.join(name);
    written(&path, bytes)?.persist(&path).map_err(|error| unwritten(&path, &error.error))?;
    sync_folder(folder).map_err(|error| unwritten(&path, &error))
}

/// The same, but one that is there stays: of several processes the first gives it its content. Returns
/// whether it is this.
pub(super) fn place_new(folder: &Path, name: &str, bytes: &[u8]) -> Result<bool, EvaluateError> {
    let path = folder.join(name);
    let is_this = match written(&path, bytes)?.persist_noclobber(&path) {
        Ok(_) => true,
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => fs_err::read(&path)? == bytes,
        Err(error) => return Err(unwritten(&path, &error.error)),
    };
    // Also where another process has just named it.
    sync_folder(folder).map_err(|error| unwritten(&path, &error))?;
    Ok(is_this)
}

/// The bytes of a file on the medium, without a name that stays. What killed processes left in the folder of
/// such files is removed.
fn written(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, EvaluateError> {
    remove_leftovers(path, |name| {
        let random = name.strip_prefix(UNFINISHED.as_bytes());
        random.is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
    });
    let make = || {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .rand_bytes(RANDOM)
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(parent(path))
    };
    let write = || {
        let mut file = unfinished_file(make, |made| (made.as_file(), made.path()))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error: Error| unwritten(path, &error))
}

/// The error of a file, without the hidden name, which says nothing to a user.
fn unwritten(path: &Path, error: &Error) -> EvaluateError {
    let why = without_path(error);
    Error::new(error.kind(), format!("{} cannot be written: {why}", path.display())).into()
}

/// Fails if a folder has anything but what a command has left that was cut off while it made this ground
/// truth: files of the same content, a folder of outputs without any, and files that are not whole.
pub(super) fn check_unused(folder: &Path, files: &[(&str, &str)]) -> Result<(), EvaluateError> {
    let Some(entries) = if_there(fs_err::read_dir(folder))? else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_left = match files.iter().find(|(own, _)| *own == name) {
            Some((_, text)) => fs_err::read(&path).is_ok_and(|found| found == text.as_bytes()),
            None if name == "outputs" => {
                fs_err::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none())
            }
            None => name.starts_with(UNFINISHED),
        };
        if !is_left {
            return Err(foreign(folder, &name));
        }
    }
    Ok(())
}

/// The error of what a user keeps in the folder.
pub(super) fn foreign(folder: &Path, name: &str) -> EvaluateError {
    EvaluateError::Option(format!(
        "{} holds {name}, which no ground truth put there; give another folder with {}",
        folder.display(),
        Remedy::Option("truth", "")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_file_and_what_one_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in [".truth.a1B2c3", ".truth.notes.md", ".other.a1b2c3"] {
            fs_err::write(path.join(name), "").unwrap();
        }
        let unfinished = written(&path.join("subsets.jsonl"), b"other").unwrap();
        assert!(place_new(path, "subsets.jsonl", b"mine").unwrap());
        assert!(unfinished.path().exists() && !path.join(".truth.a1B2c3").exists());
        drop(unfinished);
        let mut names: Vec<_> =
            fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".other.a1b2c3", ".truth.notes.md", "subsets.jsonl"]);
    }

    #[test]
    fn errors_have_the_name_of_the_file_and_the_words_of_the_system() {
        let around = tempfile::tempdir().unwrap();
        let said = |folder: &str| place(&around.path().join(folder), "taken", b"").unwrap_err().to_string();
        assert!(
            said("none").ends_with("none/taken cannot be written: No such file or directory (os error 2)")
        );
        fs_err::create_dir(around.path().join("taken")).unwrap();
        assert!(said("").ends_with("/taken cannot be written: Is a directory (os error 21)"));
    }
}
