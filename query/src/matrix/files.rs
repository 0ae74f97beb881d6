//! Atomically written files, and helpers for files of a matrix.

use std::io::Write;
use std::path::{Path, PathBuf};

use gstore_core::if_there;
use gstore_store::vfs::{parent, sync_folder};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::Serialize;

use super::error::MatrixError;

/// A file that gets its name when it is complete.
pub(super) struct PartPlace {
    pub(super) temporary: PathBuf,
    pub(super) path: PathBuf,
}

impl PartPlace {
    pub(super) fn new(path: PathBuf) -> Self {
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        Self { temporary: temporary.into(), path }
    }

    /// Puts the bytes on the medium, then the file under its name.
    pub(super) fn publish(&self, file: &fs_err::File) -> Result<(), MatrixError> {
        file.sync_all()?;
        fs_err::rename(&self.temporary, &self.path)?;
        Ok(sync_folder(parent(&self.path))?)
    }

    /// What was made of the file, or why there is none: then what was begun of it goes, as no run goes on
    /// from that.
    pub(super) fn made<T>(&self, made: Result<T, MatrixError>) -> Result<T, MatrixError> {
        if made.is_err() {
            let _ = fs_err::remove_file(&self.temporary);
        }
        made
    }

    /// A small file, whole.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), MatrixError> {
        let mut file = fs_err::File::create(&self.temporary)?;
        file.write_all(bytes)?;
        self.publish(&file)
    }
}

/// Bytes of a file, or of all files of a folder.
pub(super) fn bytes(path: &Path) -> Result<u64, MatrixError> {
    let metadata = fs_err::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut sum = 0;
    for entry in fs_err::read_dir(path)? {
        sum += bytes(&entry?.path())?;
    }
    Ok(sum)
}

/// What is left of parts that were never finished.
pub(super) fn remove_temporary(folder: &Path) -> Result<(), MatrixError> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "tmp") {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

/// A value of a Parquet file's metadata.
pub(super) fn metadata(path: &Path, key: &str) -> Result<Option<String>, MatrixError> {
    let file = fs_err::File::open(path)?.into_parts().0;
    let reader = SerializedFileReader::new(file).map_err(|error| MatrixError::parquet(path, error))?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    Ok(metadata.into_iter().flatten().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()))
}

pub(super) fn json(value: &impl Serialize) -> Result<String, MatrixError> {
    serde_json::to_string(value).map_err(unwritable)
}

pub(super) fn pretty(value: &impl Serialize) -> Result<String, MatrixError> {
    serde_json::to_string_pretty(value).map_err(unwritable)
}

pub(super) fn unwritable(error: serde_json::Error) -> MatrixError {
    MatrixError::Refused(format!("the question cannot be written: {error}"))
}

pub(super) fn exists(path: &Path) -> Result<bool, MatrixError> {
    Ok(if_there(fs_err::metadata(path))?.is_some())
}

/// Removes a file or an empty folder; a missing one is no error, and a folder in use stays.
pub(super) fn remove(path: &Path) -> Result<(), MatrixError> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs_err::remove_dir(path),
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match removed {
        Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty) => Err(error.into()),
        _ => Ok(()),
    }
}
