//! New data files of a repair, moved into place before the snapshot that names them is published.

use crate::error::StorageError;
use crate::layout::Env;
use crate::samples::append_folder;

use std::path::PathBuf;
use std::sync::Arc;

/// Files being made. Unless they are kept, they go away when this is dropped: later repairs would take them
/// for what was published. After a crash the next append removes those that are not in place.
pub(super) struct Files {
    env: Arc<Env>,
    folder: String,
    made: bool,
    /// From where to where in the store.
    moves: Vec<(PathBuf, String)>,
    /// In place, and nothing refers to them yet.
    placed: Vec<String>,
}

impl Files {
    pub(super) fn new(env: &Arc<Env>) -> Files {
        let folder = append_folder();
        Files { env: Arc::clone(env), folder, made: false, moves: Vec::new(), placed: Vec::new() }
    }

    /// Where to write a new file.
    pub(super) fn path(&mut self, name: &str) -> Result<PathBuf, StorageError> {
        if !self.made {
            self.env.create_folder(&self.folder)?;
            self.made = true;
        }
        Ok(self.env.at(&format!("{}/{name}", self.folder)))
    }

    /// A file is finished, and belongs there.
    pub(super) fn add(&mut self, path: PathBuf, to: String) {
        self.moves.push((path, to));
    }

    /// Files were written in their places.
    pub(super) fn placed(&mut self, names: Vec<String>) {
        self.placed.extend(names);
    }

    /// From now on something refers to them, or may do so.
    pub(super) fn keep(&mut self) {
        self.placed.clear();
    }

    /// Moves all files to their places and flushes the folders.
    pub(super) fn place(&mut self) -> Result<(), StorageError> {
        let moves = std::mem::take(&mut self.moves);
        self.placed.extend(moves.iter().map(|(_, to)| to.clone()));
        self.env.move_all(&moves)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.made {
            // A leftover does no harm.
            let _ = self.env.remove_folder(&self.folder);
        }
        self.env.remove_unreferenced(self.placed.drain(..));
    }
}
