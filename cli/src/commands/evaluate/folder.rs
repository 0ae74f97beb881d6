//! The folder of a report, which lists its own files: it takes the place of an older report only.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore_core::if_there;
use gstore_evaluate::File;
use gstore_store::vfs::sync_folder;

use crate::commands::folder::{FolderKind, NewFolder};

/// Names the files of the folder, one on each line: what else is there is its user's.
const LIST: &str = ".report-files";

/// A report in all formats.
pub(super) const REPORT: FolderKind = FolderKind { called: "a report", mark: LIST, foreign };

pub(super) fn write(folder: &Path, files: &[File], force: bool) -> Result<NewFolder> {
    let made = NewFolder::begin(folder, REPORT, force)?;
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
    Ok(made)
}

fn foreign(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let list = if_there(fs_err::read(folder.join(LIST)))?.unwrap_or_default();
    let listed = list.split(|byte| *byte == b'\n').map(OsStr::from_bytes);
    let own: HashSet<&Path> = listed.chain([OsStr::new(LIST)]).map(Path::new).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::folder::check;

    #[test]
    fn a_report_takes_the_place_of_an_older_one() {
        let around = tempfile::tempdir().expect("a folder");
        let target = around.path().join("report");
        let make = |text: &str| {
            let files = [File { path: "evaluation.json".to_owned(), content: text.as_bytes().to_vec() }];
            write(&target, &files, true).expect("written")
        };
        for text in ["one", "two"] {
            make(text).finish().expect("named");
            let now = fs_err::read_to_string(target.join("evaluation.json")).expect("a report");
            assert_eq!(now, text);
        }
        let lost = make("three");
        fs_err::remove_dir_all(lost.path()).expect("removed");
        assert!(lost.finish().is_err());
        assert!(target.join("evaluation.json").exists());
        // Nothing is left next to it.
        assert_eq!(fs_err::read_dir(around.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_folder_of_empty_folders_is_no_report() {
        let around = tempfile::tempdir().expect("a folder");
        let target = around.path().join("report");
        let refused = || format!("{:#}", check(&target, REPORT, true).expect_err("no report"));
        fs_err::create_dir_all(target.join("plots")).expect("made");
        let said = refused();
        assert!(
            said.ends_with(" has no .report-files, which marks a report; name a new or empty folder"),
            "{said}"
        );
        fs_err::write(target.join("plots/mine.txt"), "mine").expect("written");
        let said = refused();
        assert!(said.contains("holds something other than a report: plots/mine.txt; "), "{said}");
        // Nor is one with a list of anything else.
        fs_err::write(target.join(LIST), b"\xff\xfe\n").expect("written");
        assert_eq!(refused(), said);
    }
}
