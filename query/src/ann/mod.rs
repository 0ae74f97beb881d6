//! HNSW graphs of neighbours over normalised vectors: nearest rows without a full comparison.
//!
//! A graph is made by usearch ([`build()`], feature `ann`) for each segment and kept as an index of it
//! ([`Graphs`]). Searching it is our own code ([`Graph`]), over verified bytes of the map and without
//! `unsafe`: whatever a file holds, the worst is an error.
//!
//! Invariants
//! - a graph only proposes rows: what is reported of them is computed from the stored
//!   vectors by the exact scan
//! - graphs never use raw inner products: where lengths are uneven, a few long vectors take all edges
//! - no byte is used before the chunk it lies in agreed with its digest; vectors are verified when a
//!   search first touches them

#[cfg(feature = "ann")]
mod build;
mod evaluate;
mod files;
mod format;
mod graph;
#[cfg(feature = "ann")]
mod mend;
mod search;
mod segments;

#[cfg(feature = "ann")]
pub use build::{GraphOptions, build};
pub use evaluate::{EvaluateOptions, Evaluation, evaluate};
pub use files::{Estimate, Graphs, check, estimate, found, room};
pub use format::{GraphHeader, KIND, LeftOut};
pub use graph::{Graph, NearestRows};
pub use search::NearestOptions;
pub use segments::{SearchCounts, pays};

pub use crate::influence::NO_DOT;
