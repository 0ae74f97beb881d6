//! Ownership of the files in the server's folder: only the owner may read them, so they belong to the user
//! that the server runs as, even where root writes them.
//!
//! Invariants
//! - it is that of the owner of the folder; of the folder around it where there is none yet, or where it
//!   is root's, who may have made it for the server
//! - root gives that user what it makes, and nothing else: in a folder of others any name may lead elsewhere
//! - no other user writes what only its owner may read

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt;
use gstore_core::if_there;
use rustix::fs::OFlags;
use rustix::process::geteuid;

const ROOT: u32 = 0;

/// The user and the group whose the files of a folder are, and the folder that says so.
fn owner(folder: &Path) -> Result<(u32, u32, &Path)> {
    if let Some(found) = if_there(fs_err::metadata(folder))?
        && found.uid() != ROOT
    {
        return Ok((found.uid(), found.gid(), folder));
    }
    let around = folder.parent().filter(|around| !around.as_os_str().is_empty());
    let around = around.unwrap_or(Path::new("."));
    let found = fs_err::metadata(around)?;
    Ok((found.uid(), found.gid(), around))
}

/// Gives a file that was made in a folder to the owner of such files, if this is root.
pub(super) fn give(file: &File, folder: &Path) -> Result<()> {
    let (user, group, _) = owner(folder)?;
    match geteuid().is_root() && user != ROOT {
        true => fchown(file, Some(user), Some(group)),
        false => Ok(()),
    }
}

/// The same of a folder that was made.
pub(super) fn give_folder(folder: &Path) -> Result<()> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    give(OpenOptions::new().read(true).custom_flags(flags).open(folder)?.file(), folder)
}

/// Gives a folder that is root's own, and its lock, to the owner of such files, if this is root: an earlier
/// version made them so. Only root can have created a name there.
pub(super) fn give_own(folder: &Path, lock: &str) -> Result<()> {
    if !geteuid().is_root() || fs_err::metadata(folder)?.uid() != ROOT {
        return Ok(());
    }
    let opened = OpenOptions::new().write(true).open(folder.join(lock));
    if let Some(lock) = if_there(opened)? {
        give(lock.file(), folder)?;
    }
    give_folder(folder)
}

/// Refuses a user who could only write a file that the server cannot read.
pub(super) fn check(folder: &Path) -> Result<()> {
    let (user, _, place) = owner(folder)?;
    check_user(geteuid().as_raw(), user, place)
}

fn check_user(own: u32, user: u32, place: &Path) -> Result<()> {
    if own == user || [own, user].contains(&ROOT) {
        return Ok(());
    }
    let (place, name) = (place.display(), name_of(user));
    let remedy = format!("run this as {name}: `sudo -u {name} gstore token ...`");
    let why = format!("{place} belongs to {name}, who could not read them; {remedy}");
    Err(Error::new(ErrorKind::PermissionDenied, why))
}

/// Whose a file is that may not be read, to follow the error; empty where that is not known, or not why.
pub(super) fn hint(error: &Error, path: &Path) -> String {
    match fs_err::metadata(path) {
        Ok(found) if error.kind() == ErrorKind::PermissionDenied => {
            format!("; they belong to {}", name_of(found.uid()))
        }
        _ => String::new(),
    }
}

/// The name of a user, or the number as `sudo -u` takes it.
fn name_of(user: u32) -> String {
    let known = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>() == Ok(user)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_told_whom_to_be() {
        let place = Path::new("s/server");
        for (own, user) in [(1, 1), (ROOT, 1), (1, ROOT)] {
            check_user(own, user, place).unwrap();
        }
        let refused = check_user(1, 4_000_000_001, place).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("s/server belongs to #4000000001"), "{refused}");
        assert!(refused.to_string().contains("`sudo -u #4000000001 gstore token"), "{refused}");
        assert_eq!(name_of(ROOT), "root");
    }

    #[test]
    fn a_file_that_may_not_be_read_is_said_to_be_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let name = name_of(geteuid().as_raw());
        let denied = Error::from(ErrorKind::PermissionDenied);
        assert_eq!(hint(&denied, folder.path()), format!("; they belong to {name}"));
        assert_eq!(hint(&denied, &folder.path().join("away")), "");
        assert_eq!(hint(&Error::from(ErrorKind::IsADirectory), folder.path()), "");
    }
}
