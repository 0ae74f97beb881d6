//! The exchange of a folder for another, in one step where the file system can exchange names.

use std::path::Path;

use anyhow::{Context as _, Result};
use gstore_store::vfs::sync_folder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Gives the folder `new` the name `target`. The one that had it is called `new` after that, or is gone; it
/// stays where it is if there is an error.
///
/// Both are on one file system. A process that is killed leaves one of them under the name, unless the file
/// system cannot exchange names.
pub fn exchange(new: &Path, target: &Path) -> Result<()> {
    match renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => by_two_names(new, target),
        Err(error) => Err(std::io::Error::from(error)).with_context(|| target.display().to_string()),
    }
}

/// The same where the file system cannot exchange names.
fn by_two_names(new: &Path, target: &Path) -> Result<()> {
    let around = target.parent().unwrap_or(Path::new("/"));
    let old = tempfile::Builder::new().prefix(".exchange.").suffix(".old").tempdir_in(around)?;
    let aside = old.path().join("folder");
    fs_err::rename(target, &aside)?;
    let Err(error) = fs_err::rename(new, target) else {
        // Before the old folder goes. Who calls does it too, and says what fails.
        let _ = sync_folder(around);
        return Ok(());
    };
    // From here on it is the only folder that there is, so that nothing may remove it.
    let old = old.keep();
    fs_err::rename(&aside, target).with_context(|| format!("the old folder is in {}", aside.display()))?;
    fs_err::remove_dir(old)?;
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_folder_comes_back_where_the_new_one_cannot_take_its_place() {
        let around = tempfile::tempdir().expect("a folder");
        let [new, target] = ["new", "target"].map(|name| around.path().join(name));
        let make = |path: &Path, text: &str| {
            fs_err::create_dir(path).expect("made");
            fs_err::write(path.join("file"), text).expect("written");
        };
        let text = |path: &Path| fs_err::read_to_string(path.join("file")).expect("a file");
        make(&target, "one");
        make(&new, "two");
        exchange(&new, &target).expect("exchanged");
        assert_eq!(text(&target), "two");
        if new.exists() {
            assert_eq!(text(&new), "one");
            fs_err::remove_dir_all(&new).expect("removed");
        }
        make(&new, "three");
        by_two_names(&new, &target).expect("replaced");
        assert_eq!((text(&target).as_str(), new.exists()), ("three", false));
        assert!(exchange(&new, &target).is_err() && by_two_names(&new, &target).is_err());
        assert_eq!(text(&target), "three");
        // Nothing is left next to it.
        assert_eq!(fs_err::read_dir(around.path()).expect("a folder").count(), 1);
    }
}
