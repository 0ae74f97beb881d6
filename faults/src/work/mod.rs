//! The workload: a sequence of changes that follows from a seed, and the content that the store
//! has after each of them.
//!
//! Invariants
//! - a step run again after it was interrupted, or after it was done, ends in the same content
//! - the content after a step depends on the content before it and nothing else

pub mod content;
mod index;
mod life;
mod plan;
pub(crate) mod shard;
mod state;
mod step;

pub use plan::{Plan, Workload};
pub use state::{Rows, Samples, State};
pub use step::{Context, Mode, Step};
pub(crate) use step::{append, start_append};
