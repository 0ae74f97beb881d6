//! New folders that are removed again if they stay empty.

use std::path::{Path, PathBuf};

/// A folder that was made where it was missing, with those above it. Those of them that are empty in the end
/// are removed, so that what is refused leaves nothing behind.
#[derive(Debug)]
pub struct CreatedFolder {
    /// The innermost first.
    folders: Vec<PathBuf>,
}

impl CreatedFolder {
    /// The folder, made if it is not there.
    ///
    /// # Errors
    /// One that cannot be made.
    pub fn of(folder: &Path) -> std::io::Result<CreatedFolder> {
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let folders = folder.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        fs_err::create_dir_all(folder)?;
        Ok(CreatedFolder { folders })
    }

    /// The folder itself; none if it was there before.
    pub fn made(&self) -> Option<&Path> {
        self.folders.first().map(PathBuf::as_path)
    }
}

impl Drop for CreatedFolder {
    fn drop(&mut self) {
        // Removal ends at the first folder that is not empty.
        let _ = self.folders.iter().try_for_each(fs_err::remove_dir);
    }
}
