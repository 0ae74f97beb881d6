//! Gram matrices of stored features as artifacts that precondition questions: what they are of, their file.
//!
//! - [`GramContent`]: what an artifact of the kind [`KIND`] says of itself
//! - [`CheckpointGrams`]: the matrices of one checkpoint, one for each module group, which can be added
//! - [`write()`] and [`GramFile`]: their file, which is named [`FILE`]

mod content;
mod file;

pub use content::{CheckpointGrams, GramCheckpoint, GramContent, GramDataset, GramMixture};
pub use file::{GramFile, write};

/// The kind of artifact.
pub const KIND: &str = "gram";

/// Name of the file of an artifact.
pub const FILE: &str = "gram";
