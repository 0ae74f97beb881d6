//! Features of rows: token counts, losses, vectors and metadata columns of a dataset, as columns of numbers.
//!
//! Invariants
//! - values are joined by the row that the store gave a sample, never by a place in a list
//! - a value that a row lacks, or that is not finite, is NaN here; who reads it decides
//! - a text that a row lacks is 0 in all columns of that text, as one that has no column of its own
//! - a vector of another model, projection, loss or encoding than the one that was learned from is refused,
//!   and so are token counts of another encoding

mod columns;
mod find;
mod open;
mod passes;
mod set;
mod vectors;

pub use open::OpenFeatures;
pub use passes::{GRADIENT_PASSES, Passes};
pub use set::FeatureSet;
pub(crate) use set::{MOST_VALUES, feature_of, features_of};
