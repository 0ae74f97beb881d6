//! A folder as an output: it appears when it is complete, like a file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gstore_core::if_there;
use tempfile::TempDir;

use crate::exchange::exchange;
use crate::failure::{UsageError, refuse};
use crate::output::{check_folder, exists, parent, unnamed_folder};

/// Whether an output is a folder: a slash says so, or a saved dataset that is there.
pub(super) fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || is_saved(path)
}

/// Refuses a folder that cannot be made, or that is there and may not be replaced.
pub(super) fn check(path: &Path, force: bool) -> Result<()> {
    let refuse = |why: String| Err(UsageError(format!("{} {why}", path.display())).into());
    let target: PathBuf = path.components().collect();
    if target.is_file() {
        return refuse("is a file; leave out the slash at its end".to_owned());
    }
    check_folder(path, parent(&target))?;
    if is_empty(&target)? || (force && is_saved(&target)) {
        return Ok(());
    }
    match is_saved(&target) {
        true => refuse!("{}", exists(path)),
        false => refuse("holds something else than a saved dataset; name a new or empty folder".to_owned()),
    }
}

/// Whether nothing is there, or an empty folder.
fn is_empty(path: &Path) -> Result<bool> {
    Ok(!path.exists() || fs_err::read_dir(path)?.next().is_none())
}

/// Whether a folder is a saved dataset and nothing else.
fn is_saved(path: &Path) -> bool {
    let known = |name: &str| ["state.json", "dataset_info.json"].contains(&name) || name.ends_with(".arrow");
    path.join("state.json").is_file()
        && fs_err::read_dir(path).is_ok_and(|mut all| {
            all.all(|e| e.is_ok_and(|e| known(&e.file_name().to_string_lossy()) && e.path().is_file()))
        })
}

/// A folder under another name, until it is complete.
pub(super) struct NewFolder {
    made: TempDir,
    target: PathBuf,
    force: bool,
}

impl NewFolder {
    /// Begins one next to its place, which [`check`] found right.
    pub(super) fn begin(path: &Path, force: bool) -> Result<Self> {
        let target: PathBuf = path.components().collect();
        let made =
            unnamed_folder(parent(&target), &target.file_name().unwrap_or_default().to_string_lossy())?;
        Ok(Self { made, target, force })
    }

    /// The folder to write into.
    pub(super) fn path(&self) -> &Path {
        self.made.path()
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Lets it appear under its name: in place of an older one in one step, where the file system can
    /// exchange names.
    pub(super) fn finish(self) -> Result<()> {
        let Self { made, target, force } = self;
        check(&target, force)?;
        let is_new = is_empty(&target)?;
        let made = made.keep();
        let kept = || format!("the result is in {}", made.display());
        if is_new {
            return fs_err::rename(&made, &target).with_context(kept);
        }
        exchange(&made, &target).with_context(kept)?;
        // What the temporary name leads to is the old folder now, or nothing.
        if_there(fs_err::remove_dir_all(&made))?;
        Ok(())
    }
}
