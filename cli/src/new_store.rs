//! Places of stores, and a store that appears with its first commit: it is made in a held folder and renamed.

use std::io::Error;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use gstore_store::Store;
use gstore_store::vfs::{create_flushed, resolve, sync_folder};
use rustix::io::Errno;

use crate::failure::refuse;
use crate::held::{self, HiddenName, LockedFolder};

/// The names of folders that hold a store until it has its name.
const HIDDEN: HiddenName<'static> = (".gstore-new-", "");

/// A store that is to be at a place. Where nothing was there and it is dropped, nothing is left.
pub struct NewStore {
    /// The store, for the time being maybe under another name.
    pub store: Store,
    /// What it is in until it has its name.
    folder: Option<LockedFolder>,
    place: PathBuf,
}

impl NewStore {
    /// Makes one. A folder that is there, which may be the root of a file system, becomes it at once.
    ///
    /// # Errors
    /// A place that holds something else, is a link to nothing or is inside another store, and a folder that
    /// cannot be written to.
    pub fn at(place: &Path) -> Result<Self> {
        refuse_inside(place)?;
        let place = std::path::absolute(place)?;
        let parent = match place.parent() {
            Some(parent) if !place.exists() => parent,
            _ => return Ok(Self { store: Store::open_or_create(&place)?, folder: None, place }),
        };
        refuse_dangling(&place)?;
        create_flushed(parent)?;
        let folder = LockedFolder::make(parent, HIDDEN, &place)?;
        let store = Store::create(folder.content())?;
        Ok(Self { store, folder: Some(folder), place })
    }

    /// Makes sure that there can be one, before work whose result would have no place. Leaves nothing there.
    pub fn check(place: &Path) -> Result<()> {
        let place = std::path::absolute(place)?;
        // The folder that would be made first, or one in a folder that would become the store.
        let missing = place.ancestors().take_while(|folder| !folder.exists()).last();
        let is_empty = || fs_err::read_dir(&place).is_ok_and(|mut entries| entries.next().is_none());
        match missing {
            Some(missing) => Self::at(missing).map(drop),
            None if is_empty() => Self::at(&place.join("store")).map(drop),
            None => Self::at(&place).map(drop),
        }
    }

    /// Gives it its name. `None`: another process gave that to something else meanwhile, and nothing is left
    /// of this.
    pub fn keep(self) -> Result<Option<Store>> {
        let Self { store, folder, place } = self;
        let Some(folder) = folder else { return Ok(Some(store)) };
        let from = store.path().to_owned();
        drop(store);
        match rustix::fs::rename(&from, &place) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(None),
            Err(error) => {
                return Err(Error::from(error)).with_context(|| format!("cannot make {}", place.display()));
            }
        }
        if let Some(parent) = place.parent() {
            sync_folder(parent)?;
        }
        drop(folder);
        Ok(Some(Store::open(&place)?))
    }
}

/// Refuses a link to nothing in the place of a store.
pub fn refuse_dangling(place: &Path) -> Result<()> {
    if place.is_symlink() && !place.exists() {
        bail!("{} is a link to a place that is not there; make that or remove the link", place.display());
    }
    Ok(())
}

/// Whether a folder looks like a store, from outside.
pub fn is_store(path: &Path) -> bool {
    path.join("CURRENT").is_file() && path.join("manifests").is_dir()
}

/// The store whose folder a place is in, or is.
pub fn store_around(place: &Path) -> Option<&Path> {
    place.ancestors().find(|folder| is_store(folder))
}

/// Refuses a path in a store.
pub fn refuse_in(store: Option<&Path>, path: &Path) -> Result<()> {
    match store {
        None => Ok(()),
        Some(store) => {
            refuse!("{} is inside the store {}; name a place outside it", path.display(), store.display())
        }
    }
}

/// Refuses the place of a new store inside another one, every file of which is its own.
pub fn refuse_inside(path: &Path) -> Result<()> {
    let place = resolve(path);
    refuse_in(store_around(&place).filter(|store| *store != place), path)
}

/// Removes what processes that were killed left next to the place of a store.
pub fn remove_leftovers(place: &Path) {
    let Ok(place) = std::path::absolute(place) else { return };
    if let Some(parent) = place.parent() {
        held::remove_leftovers(HIDDEN, parent);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Result as IoResult;

    use super::*;

    const PREFIX: &str = HIDDEN.0;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(folder).expect("listed");
        let name = |entry: IoResult<fs_err::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn leftovers_go_and_what_a_process_holds_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("s");
        let new = NewStore::at(&place).expect("made");
        // Left by a process that was killed before it had a lock, with its lock, and at its end.
        for folder in ["aaaaaa", "bbbbbb/content/manifests", "cccccc"] {
            fs_err::create_dir_all(dir.path().join(format!("{PREFIX}{folder}"))).expect("made");
        }
        for folder in ["bbbbbb", "cccccc"] {
            fs_err::write(dir.path().join(format!("{PREFIX}{folder}/lock")), "").expect("written");
        }
        // Not ours.
        fs_err::create_dir_all(dir.path().join(format!("{PREFIX}notes/mine"))).expect("made");
        assert_eq!(names(dir.path()).len(), 5);
        remove_leftovers(&place);
        assert!(new.store.path().join("CURRENT").exists());
        assert_eq!(names(dir.path()).len(), 2, "{:?}", names(dir.path()));
        assert!(new.keep().expect("renamed").is_some());
        assert_eq!(names(dir.path()), [format!("{PREFIX}notes"), "s".to_owned()]);
    }

    #[test]
    fn of_two_that_are_made_at_once_the_second_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("s");
        let (first, second) = (NewStore::at(&place).expect("made"), NewStore::at(&place).expect("made"));
        assert!(first.keep().expect("renamed").is_some());
        assert!(second.keep().expect("told").is_none());
        assert_eq!(names(dir.path()), ["s"]);
        NewStore::check(&dir.path().join("other")).expect("there can be one");
        assert_eq!(names(dir.path()), ["s"]);
        // A folder in which nothing can be made, by anybody.
        let Err(error) = NewStore::at(Path::new("/proc/x")) else { panic!("a store in /proc") };
        let error = error.to_string();
        assert!(
            error.starts_with("/proc/x: no folder can be made in /proc") && !error.contains(PREFIX),
            "{error}"
        );
        // Something that is no folder has the name meanwhile.
        let third = NewStore::at(&dir.path().join("t")).expect("made");
        fs_err::write(dir.path().join("t"), "").expect("written");
        let Err(error) = third.keep() else { panic!("a store in place of a file") };
        let error = error.to_string();
        assert!(error.starts_with("cannot make") && !error.contains(PREFIX), "{error}");
    }
}
