//! The folder of a report: it appears when it is whole, and takes the place of an older report only.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_core::if_there;
use gstore_evaluate::File;
use tempfile::TempDir;

use crate::context::Context;
use crate::exchange::exchange;
use crate::failure::refuse;
use crate::output::{check_folder, check_outside, exists, parent, sync_folder, unnamed_folder};

/// Names the files of the folder, one on each line: what else is there is its user's.
const LIST: &str = ".report-files";

/// A folder that is written and has no name yet.
pub struct UnpublishedFolder {
    /// Removed when it is dropped.
    made: TempDir,
    target: PathBuf,
    force: bool,
}

/// Refuses a folder that cannot be made, or that is there and may not be replaced.
pub fn check(context: &Context, folder: &Path, force: bool) -> Result<()> {
    check_outside(context, folder)?;
    let refuse = |why: String| -> Result<()> { refuse!("{} {why}", folder.display()) };
    if folder.exists() {
        if !folder.is_dir() {
            return refuse("is not a folder".to_owned());
        }
        if let Some(file) = foreign(folder)? {
            return refuse(format!(
                "holds {}, which no report put there; name another folder",
                file.display()
            ));
        }
        if !force {
            refuse!("{}", exists(folder));
        }
    }
    check_folder(folder, parent(&place(folder)?))
}

impl UnpublishedFolder {
    /// Writes the files next to the folder's place.
    pub fn create(folder: &Path, files: &[File], force: bool) -> Result<UnpublishedFolder> {
        let target = place(folder)?;
        let made = unnamed_folder(parent(&target), "evaluation")?;
        let names: String = files.iter().map(|file| format!("{}\n", file.path)).collect();
        let list = File { path: LIST.to_owned(), content: names.into_bytes() };
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for file in files.iter().chain([&list]) {
            let path = made.path().join(&file.path);
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder)?;
                let own = folder.ancestors().take_while(|folder| folder.starts_with(made.path()));
                folders.extend(own.map(Path::to_owned));
            }
            let mut written = fs_err::File::create(&path)?;
            written.write_all(&file.content)?;
            written.sync_all()?;
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        Ok(UnpublishedFolder { made, target, force })
    }

    /// Gives it its name. A folder that had it is removed after that, or stays if that fails.
    pub fn publish(self) -> Result<()> {
        let UnpublishedFolder { made, target, force } = self;
        if target.exists() {
            if !force {
                bail!("{} appeared meanwhile and stays", target.display());
            }
            if let Some(file) = foreign(&target)? {
                bail!("{} now holds {}, which no report put there", target.display(), file.display());
            }
            exchange(made.path(), &target)?;
            // What the temporary name leads to is the old folder now.
            drop(made);
        } else {
            fs_err::rename(made.path(), &target)?;
            // There is nothing left to remove.
            let _gone = made.keep();
        }
        sync_folder(parent(&target))
    }
}

/// A file of a folder that no report put there.
fn foreign(folder: &Path) -> Result<Option<PathBuf>> {
    let list = if_there(fs_err::read_to_string(folder.join(LIST)))?.unwrap_or_default();
    let own: HashSet<&Path> = list.lines().chain([LIST]).map(Path::new).collect();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs_err::read_dir(&at)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path);
            if !own.contains(name) {
                return Ok(Some(name.to_owned()));
            }
        }
    }
    Ok(None)
}

/// The folder itself, behind the symlinks that lead to it.
fn place(folder: &Path) -> Result<PathBuf> {
    match folder.exists() {
        true => Ok(fs_err::canonicalize(folder)?),
        false => Ok(std::path::absolute(folder)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_an_older_one() {
        let around = tempfile::tempdir().expect("a folder");
        let target = around.path().join("report");
        let make = |text: &str| {
            let files = [File { path: "evaluation.json".to_owned(), content: text.as_bytes().to_vec() }];
            UnpublishedFolder::create(&target, &files, true).expect("written")
        };
        for text in ["one", "two"] {
            make(text).publish().expect("named");
            let now = fs_err::read_to_string(target.join("evaluation.json")).expect("a report");
            assert_eq!(now, text);
        }
        let lost = make("three");
        fs_err::remove_dir_all(lost.made.path()).expect("removed");
        assert!(lost.publish().is_err());
        assert!(target.join("evaluation.json").exists());
        // Nothing is left next to it.
        assert_eq!(fs_err::read_dir(around.path()).expect("a folder").count(), 1);
    }
}
