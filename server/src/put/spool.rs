//! Temporary copies of uploads that are read twice: files in [`gstore_store::Store::uploads_folder`], each
//! locked as long as it is in use. Those of killed servers are removed by the next upload or by `gc`.

use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use gstore_core::if_there;
use uuid::Uuid;

use crate::access::{create_private, with_lock};

/// A copy, which goes away with this.
pub(super) struct Spool {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Spool {
    /// An empty file. Removes those that servers left behind that were killed.
    pub(super) fn create(folder: &Path) -> std::io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        // Held while a file is made and not locked yet.
        with_lock(folder, || {
            clear(folder)?;
            let path = folder.join(format!("{}.arrow", Uuid::new_v4()));
            let file = create_private(&path)?;
            let spool = Self { path, file };
            spool.file.file().lock()?;
            Ok(spool)
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next upload.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Removes the files that no upload holds.
fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "arrow") {
            continue;
        }
        let Some(file) = if_there(OpenOptions::new().write(true).open(&path))? else { continue };
        if file.file().try_lock().is_ok() {
            fs_err::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_when_they_are_dropped_and_leftovers_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let held = Spool::create(folder.path()).unwrap();
        let left = folder.path().join("left.arrow");
        fs_err::write(&left, [1]).unwrap();
        let other = Spool::create(folder.path()).unwrap();
        assert!(held.path.exists() && !left.exists());
        let path = other.path.to_owned();
        drop(other);
        assert!(!path.exists() && held.path.exists());
    }
}
