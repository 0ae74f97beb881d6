//! Simulated disk in memory, with a model of what a power loss may leave behind.
//!
//! Model
//! - content of a file is durable after the file's sync; before that every write may be lost, kept, torn at a
//!   multiple of 512 bytes, or have its length but zeros for data, each independently of the others
//! - a name (creation, rename, removal, folder) is durable after its folder's sync; before that each change
//!   may be lost or kept, independently of the others. A rename is atomic, also between folders, and a file
//!   has one name at a time
//! - the contents of a folder whose own name was lost are lost
//! - locks end with the process: a new disk made from an image has none

mod image;
mod replay;
mod vfs;

pub use image::{Choice, Image, choices, numbers};
pub use replay::{Pending, Replay};
pub use vfs::SimDisk;

use std::path::PathBuf;
use std::sync::Arc;

/// Number of a file, whatever its name.
pub type FileId = u64;

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file.
    File(FileId),
}

/// A change of the disk, as it is recorded.
#[derive(Debug, Clone)]
pub enum Op {
    /// A new empty file.
    Create {
        /// Its name.
        path: PathBuf,
        /// Its number.
        id: FileId,
    },
    /// Bytes of a file.
    Write {
        /// The file.
        id: FileId,
        /// Where.
        offset: u64,
        /// The bytes.
        data: Arc<[u8]>,
        /// Whether the file is written sequentially, so that neighbouring writes are one for the disk.
        stream: bool,
    },
    /// A new length.
    SetLen {
        /// The file.
        id: FileId,
        /// The length.
        len: u64,
    },
    /// A file's content becomes durable.
    Sync(FileId),
    /// A sync failed, and the system dropped what was not durable.
    Forget(FileId),
    /// A rename.
    Rename {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name is removed.
    Remove(PathBuf),
    /// A new folder.
    MakeFolder(PathBuf),
    /// An empty folder is removed.
    RemoveFolder(PathBuf),
    /// The names in a folder become durable.
    SyncFolder(PathBuf),
    /// That many steps of the workload are acknowledged.
    Mark(usize),
}

impl Op {
    /// A few words, for reports.
    pub fn describe(&self) -> String {
        match self {
            Op::Create { path, .. } => format!("create {}", path.display()),
            Op::Write { id, offset, data, .. } => {
                format!("write {} bytes at {offset} of file {id}", data.len())
            }
            Op::SetLen { id, len } => format!("set length {len} of file {id}"),
            Op::Sync(id) => format!("sync file {id}"),
            Op::Forget(id) => format!("failed sync of file {id}"),
            Op::Rename { from, to } => format!("rename {} to {}", from.display(), to.display()),
            Op::Remove(path) => format!("remove {}", path.display()),
            Op::MakeFolder(path) => format!("make folder {}", path.display()),
            Op::RemoveFolder(path) => format!("remove folder {}", path.display()),
            Op::SyncFolder(path) => format!("sync folder {}", path.display()),
            Op::Mark(n) => format!("{n} steps acknowledged"),
        }
    }
}

/// Writes into a copy of some bytes, which grows as needed.
pub(crate) fn write_into(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(data);
    }
}
