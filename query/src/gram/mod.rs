//! Artifacts of Gram matrices, which precondition questions about stored features: their description and
//! file.
//!
//! - [`GramContent`]: the description in an artifact of the kind [`KIND`]
//! - [`CheckpointGrams`]: the matrices of one checkpoint, one for each module group, which can be added
//! - [`write()`] and [`GramFile`]: their file, which is named [`FILE`]

mod content;
mod file;

pub use content::{CheckpointGrams, GramCheckpoint, GramContent, GramDataset, GramMixture, GramRows};
pub use file::{GramFile, write};

/// The kind of artifact.
pub const KIND: &str = "gram";

/// Name of the file of an artifact.
pub const FILE: &str = "gram";
