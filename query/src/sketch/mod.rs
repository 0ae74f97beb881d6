//! Sketches: short codes of vectors that rule out most rows of a ranking, so that few are read in full.
//!
//! A vector is rotated at random ([`Rotation`]) and coded three times: a sign bit, a nibble and a signed byte
//! for each coordinate (`build`), of which a sketch keeps those that are chosen ([`Planes`]). Queries are
//! rotated and rounded likewise (`SketchQueries`). `influence` makes estimates and bounds of scores from
//! them; the mathematics is in `docs/methods.md`.
//!
//! Invariants
//! - a sketch is a function of the stored vectors and its seed
//! - codes never give a score: they only tell which rows need not be read

mod build;
mod encode;
mod files;
mod format;
mod making;
mod planes;
mod query;
mod random;
mod rotation;
mod section;
mod source;

pub use build::{BlockCodes, check, encode_block};
pub use files::{FileSections, KIND, found, kept, most_kept, open};
pub use format::{SketchHeader, can_sketch};
pub use making::{RebuildScope, SketchOptions, build};
pub use planes::Planes;
pub use rotation::{Rotation, padded_dim};
pub use section::Section;
pub use source::{Sections, Sketch};

#[cfg(test)]
pub(crate) use encode::Encoder;
pub(crate) use encode::tail_excess;
pub(crate) use query::{QUERY_NORMS, Query, SketchQueries};
pub(crate) use random::split_mix;
pub(crate) use section::{ByteFactors, Class, Factor, Residual, RowRecord};
