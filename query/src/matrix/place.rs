//! Output folder and staging folder of a matrix.
//!
//! Invariants
//! - both are on one file system, so that the result appears in one step
//! - what cannot become the output is refused before anything is computed

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gstore_store::vfs::{parent, sync_folder};

use super::MatrixOutput;
use super::error::MatrixError;
use super::files::{self, exists, metadata, remove};
use super::question::{MatrixInfo, MatrixQuestion};

/// The question and its outcome.
pub(super) const INFO: &str = "matrix.json";
/// What is being made, while it is.
pub(super) const QUESTION: &str = "question.json";
pub(super) const LOCK: &str = "lock";
/// The key of a [`MatrixInfo`] in the metadata of a single file.
pub(super) const INFO_KEY: &str = "gstore.matrix";

/// The output, and the hidden folder next to it.
pub(super) struct OutputPaths {
    /// Of a file what a symlink leads to.
    pub(super) path: PathBuf,
    /// Whether it is one file.
    pub(super) single: bool,
    pub(super) hidden: PathBuf,
}

impl OutputPaths {
    pub(super) fn new(output: MatrixOutput<'_>) -> Result<Self, MatrixError> {
        let (given, single) = match output {
            MatrixOutput::File(path) => (path, true),
            MatrixOutput::Folder(path) => (path, false),
        };
        let path = match single && exists(given)? {
            true => fs_err::canonicalize(given)?,
            false => given.to_owned(),
        };
        let Some(name) = path.file_name() else {
            return Err(MatrixError::Refused(format!("{} is not a name for an output", given.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".part");
        // Without a slash at the end, which would follow a symlink.
        Ok(Self { hidden: path.with_file_name(hidden), path: path.with_file_name(name), single })
    }

    /// Whether a file is there that would be replaced.
    pub(super) fn is_taken(&self) -> Result<bool, MatrixError> {
        Ok(self.single && exists(&self.path)?)
    }

    /// The matrix that is in the place already, if it is the one that is asked for.
    pub(super) fn finished(&self, question: &MatrixQuestion) -> Result<Option<MatrixInfo>, MatrixError> {
        let path = &self.path;
        if !exists(path)? {
            return Ok(None);
        }
        let text = match self.single {
            // A file that is something else may be replaced when the new one is complete.
            true => match metadata(path, INFO_KEY) {
                Ok(Some(text)) => text,
                _ => return Ok(None),
            },
            false => match fs_err::read_to_string(path.join(INFO)) {
                Ok(text) => text,
                Err(_) if fs_err::metadata(path)?.is_dir() && fs_err::read_dir(path)?.next().is_none() => {
                    return Ok(None);
                }
                Err(_) => {
                    return Err(MatrixError::Refused(format!(
                        "{} exists and is not a matrix; name another folder",
                        path.display()
                    )));
                }
            },
        };
        let info: Option<MatrixInfo> = serde_json::from_str(&text).ok();
        match question.unlike(info.as_ref().map(|info| &info.question), INFO) {
            None => Ok(info),
            Some(_) if self.single => Ok(None),
            Some(difference) => Err(MatrixError::Refused(format!(
                "{} has the matrix of another question: {difference}; name another folder, or remove this one",
                path.display()
            ))),
        }
    }

    /// Removes working files other than the result, which a run that was killed at its end left
    /// in the published folder.
    pub(super) fn tidy(&self) -> Result<(), MatrixError> {
        if self.single {
            return Ok(());
        }
        let left = [QUESTION, LOCK].map(|name| self.path.join(name));
        if left.iter().any(|path| path.exists()) {
            left.iter().try_for_each(|path| remove(path))?;
            sync_folder(&self.path)?;
        }
        Ok(())
    }

    /// Refuses what a finished matrix cannot take the place of.
    pub(super) fn check(&self) -> Result<(), MatrixError> {
        let path = &self.path;
        let folder = parent(path);
        if !folder.is_dir() {
            return Err(MatrixError::Refused(format!(
                "{} would be in {}, and there is no such folder",
                path.display(),
                folder.display()
            )));
        }
        let Ok(found) = fs_err::symlink_metadata(path) else { return Ok(()) };
        let refused = |why: &str| Err(MatrixError::Refused(format!("{} is {why}", path.display())));
        if self.single {
            return match found.is_dir() {
                true => refused("a folder; name a file"),
                false => Ok(()),
            };
        }
        if found.is_symlink() {
            return refused(
                "a symlink, and a folder cannot take its place in one step; name what it leads to",
            );
        }
        if found.is_dir() && found.dev() != fs_err::metadata(parent(path))?.dev() {
            return refused("a mount point, and a folder cannot take its place; name a folder inside it");
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> Result<u64, MatrixError> {
        files::bytes(&self.path)
    }

    pub(super) fn display(&self) -> std::path::Display<'_> {
        let path: &Path = &self.path;
        path.display()
    }
}
