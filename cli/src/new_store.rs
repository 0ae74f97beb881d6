//! A store that appears with its first commit: it is made under another name and renamed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail};
use gstore_store::Store;
use tempfile::TempDir;

use crate::stand_ins::stands_for;

/// A store that is to be at a place. Where nothing was there and it is dropped, nothing is left.
pub struct NewStore {
    /// The store, for the time being maybe under another name.
    pub store: Store,
    /// What it is in until it has its name.
    folder: Option<TempDir>,
    place: PathBuf,
}

impl NewStore {
    /// Makes one. A folder that is there, which may be the root of a file system, becomes it at once.
    ///
    /// # Errors
    /// A place that holds something else or is a link to nothing, and a folder that cannot be written to.
    pub fn at(place: &Path) -> Result<Self> {
        let place = std::path::absolute(place)?;
        let parent = match place.parent() {
            Some(parent) if !place.exists() => parent,
            _ => return Ok(Self { store: Store::open_or_create(&place)?, folder: None, place }),
        };
        if place.is_symlink() {
            bail!("{} is a link to a place that is not there; make that or remove the link", place.display());
        }
        fs_err::create_dir_all(parent)?;
        let folder = tempfile::Builder::new().prefix(".gstore-new-").tempdir_in(parent)?;
        let own = folder.path().join("store");
        stands_for(&own, place.display().to_string());
        let store = Store::create(own)?;
        Ok(Self { store, folder: Some(folder), place })
    }

    /// Makes sure that there can be one, before work whose result would have no place. Leaves nothing there.
    ///
    /// # Errors
    /// As of [`NewStore::at`].
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

    /// Gives it its name.
    ///
    /// # Errors
    /// A store that another process made there meanwhile, and whatever keeps a folder from being renamed.
    pub fn keep(self) -> Result<Store> {
        let Self { store, folder, place } = self;
        let Some(folder) = folder else { return Ok(store) };
        let from = store.path().to_owned();
        drop(store);
        fs_err::rename(&from, &place).map_err(|error| {
            let made = matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty);
            let error = Error::new(error);
            match made {
                true => error.context(format!(
                    "{} was made by another process; run the command again",
                    place.display()
                )),
                false => error,
            }
        })?;
        if let Some(parent) = place.parent() {
            fs_err::File::open(parent)?.sync_all()?;
        }
        drop(folder);
        Ok(Store::open(&place)?)
    }
}
