//! Output folder and staging folder of a matrix.
//!
//! Invariants
//! - both are on one file system, so that the result appears in one step
//! - what cannot become the output is refused before anything is computed
//! - a folder that is replaced has the matrix of another question and nothing else, and stays under its name
//!   until the new one is complete

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gstore_core::{Remedy, if_there};
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
/// The target samples of all parts.
pub(super) const TARGETS: &str = "targets.parquet";
/// The folder that a new one replaces, in that: first while it is hidden, then until it is tidied.
pub(super) const REPLACED: &str = ".replaced";
/// The folder with the digests of finished parts, until the matrix has its name.
pub(super) const DIGESTS: &str = ".digests";
/// The key of a [`MatrixInfo`] in the metadata of a single file.
pub(super) const INFO_KEY: &str = "gstore.matrix";

/// The output, and the hidden folder next to it.
pub(super) struct OutputPaths {
    /// Of a file what a symlink leads to.
    pub(super) path: PathBuf,
    /// Whether it is one file.
    pub(super) single: bool,
    pub(super) hidden: PathBuf,
    /// Whether another matrix that is there, and unfinished work for one, may be replaced.
    pub(super) replace: bool,
}

impl OutputPaths {
    pub(super) fn new(output: MatrixOutput<'_>, replace: bool) -> Result<Self, MatrixError> {
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
        Ok(Self { hidden: path.with_file_name(hidden), path: path.with_file_name(name), single, replace })
    }

    /// Whether a file is there that would be replaced.
    pub(super) fn is_taken(&self) -> Result<bool, MatrixError> {
        Ok(self.single && exists(&self.path)?)
    }

    /// The matrix that is in the place already, if it is the one that is asked for. A folder with something
    /// that may not be replaced is refused.
    pub(super) fn finished(&self, question: &MatrixQuestion) -> Result<Option<MatrixInfo>, MatrixError> {
        let path = &self.path;
        if !exists(path)? {
            return Ok(None);
        }
        let text = match self.single {
            // What is no file is refused later; to open a pipe would be to wait for its other end.
            true if !fs_err::metadata(path)?.is_file() => return Ok(None),
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
        let asked = info.as_ref().map(|info| &info.question);
        let Some(difference) = question.unlike(asked, INFO) else { return Ok(info) };
        let remedy = match info {
            _ if self.single => return Ok(None),
            Some(info) if self.replace => return self.check_alone(&info).map(|()| None),
            Some(_) => format!("{} replaces it", Remedy::Option("force", "")),
            None => "remove this one".to_owned(),
        };
        Err(MatrixError::Refused(format!(
            "{} has the matrix of another question: {difference}; name another folder, or {remedy}",
            path.display()
        )))
    }

    /// Refuses to replace a folder that has more in it than its matrix.
    fn check_alone(&self, info: &MatrixInfo) -> Result<(), MatrixError> {
        let groups: Vec<&str> = info.question.groups.iter().map(|group| group.folder.as_str()).collect();
        let mut other = other_entry(&self.path, |name, is_folder| match is_folder {
            true => [REPLACED, DIGESTS].contains(&name) || groups.contains(&name),
            false => [INFO, TARGETS, QUESTION, LOCK].contains(&name),
        })?;
        let is_part = |name: &str, is_folder: bool| {
            let number = name.strip_suffix(".parquet").filter(|_| !is_folder);
            number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        for folder in groups.iter().map(|group| self.path.join(group)).filter(|folder| folder.is_dir()) {
            other = other.or(other_entry(&folder, is_part)?);
        }
        other.map_or(Ok(()), |other| {
            Err(MatrixError::Refused(format!(
                "{} is not a file of the matrix in {}, which is not replaced; move it, or name another folder",
                other.display(),
                self.path.display()
            )))
        })
    }

    /// Moves the matrix that is replaced into the hidden folder, which takes its name next. A run that was
    /// killed in between goes on with the complete work.
    pub(super) fn set_aside(&self) -> Result<(), MatrixError> {
        if !self.replace {
            return Ok(());
        }
        let Some(text) = if_there(fs_err::read_to_string(self.path.join(INFO)))? else { return Ok(()) };
        let info: MatrixInfo = serde_json::from_str(&text).map_err(|error| {
            MatrixError::Refused(format!("{} cannot be read: {error}", self.path.join(INFO).display()))
        })?;
        // Others may have put something there since.
        self.check_alone(&info)?;
        let replaced = self.hidden.join(REPLACED);
        if_there(fs_err::remove_dir_all(&replaced))?;
        Ok(fs_err::rename(&self.path, &replaced)?)
    }

    /// Removes what is not the result from the published folder: working files, also those of a run that was
    /// killed at its end, and the matrix that was replaced.
    pub(super) fn tidy(&self) -> Result<(), MatrixError> {
        if self.single {
            return Ok(());
        }
        let files = [QUESTION, LOCK].map(|name| self.path.join(name));
        let folders = [REPLACED, DIGESTS].map(|name| self.path.join(name));
        if files.iter().chain(&folders).any(|path| path.exists()) {
            for folder in folders {
                if_there(fs_err::remove_dir_all(folder))?;
            }
            files.iter().try_for_each(|path| remove(path))?;
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
            return match found.file_type() {
                kind if kind.is_dir() => refused("a folder; name a file"),
                kind if kind.is_file() || kind.is_symlink() => Ok(()),
                _ => refused("not a regular file; name another one"),
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

/// The first entry of a folder that is none of those `known` by their name and whether they are folders.
fn other_entry(folder: &Path, known: impl Fn(&str, bool) -> bool) -> Result<Option<PathBuf>, MatrixError> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if !known(&entry.file_name().to_string_lossy(), entry.file_type()?.is_dir()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
