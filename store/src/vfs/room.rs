//! Room on the disk of a path.

use gstore_core::human_bytes;
use std::path::{Path, PathBuf};

/// A disk has too little room for what a job will write. Front ends and jobs add what else helps.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} will take about {} more on disk, and {} are free there; free some",
    place.display(),
    human_bytes(*needed),
    human_bytes(*free)
)]
pub struct NoRoom {
    /// What is written, or the folder in which it will be.
    pub place: PathBuf,
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that may be written there.
    pub free: u64,
}

/// Refuses a disk that is too small, before hours are spent on filling it. Where nothing is known of the
/// disk, its end will show.
///
/// # Errors
/// Fewer bytes are free than are needed.
pub fn check_room(place: &Path, needed: u64) -> Result<(), NoRoom> {
    match free_space(place) {
        Some(free) if free < needed => Err(NoRoom { place: place.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Bytes that may be written on the disk of a path, or of the nearest folder above it that is there; `None`
/// where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let place = path.ancestors().find(|place| fs_err::metadata(place).is_ok())?;
    let disk = rustix::fs::statvfs(place).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_named_with_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("not/there");
        check_room(&place, 1).unwrap();
        let error = check_room(&place, u64::MAX).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} will take about 16.00 EiB", place.display())), "{error}");
    }
}
