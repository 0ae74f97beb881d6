//! Layout of a store's folder: names, paths, and the file system below them.
//!
//! Nothing here knows what a file contains. Every other part of the crate may use it.

mod clock;
mod env;
mod held;
pub(crate) mod names;
mod paths;

pub use names::FileKind;

pub(crate) use clock::now;
pub(crate) use env::{Env, NamedFile};
pub(crate) use held::{HELD_LOCK, HeldFolder};
pub(crate) use paths::{
    artifact_file, deleted_ids_file, deleted_ids_folder, encoding_file, sample_file, sample_folder,
    segment_file, tombstone_file, tombstone_folder,
};
