//! Files of the folder of a ground truth: each appears when it is whole, with a name that a loss of power
//! does not take again, and what its user keeps there stays.

use std::io::Write;
use std::path::Path;

use gstore_core::{Remedy, if_there};
use gstore_store::vfs::{self, PendingFile};

use crate::error::EvaluateError;

/// Whether a file of this name is not whole yet; earlier versions called it `.truth.` and random letters.
pub(super) fn is_unfinished(name: &str) -> bool {
    vfs::is_unfinished(name) || name.starts_with(".truth.")
}

/// Writes a file that appears when it is whole. One that is there stays: of several processes the first gives
/// it its content. Returns whether it has the content of this one.
pub(super) fn place_new(folder: &Path, name: &str, bytes: &[u8]) -> Result<bool, EvaluateError> {
    let path = folder.join(name);
    let mut file = PendingFile::new(&path)?;
    file.write_all(bytes)?;
    Ok(file.finish_new()? || fs_err::read(&path)? == bytes)
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
            None => is_unfinished(&name),
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
