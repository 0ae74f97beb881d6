//! The workload: a seeded sequence of changes, and the expected content of the store after each.
//!
//! Invariants
//! - a step that is repeated after an interruption, or after it was done, leads to the same content
//! - the content after a step depends only on the content before it

pub mod content;
pub(crate) mod ensemble;
mod index;
mod life;
mod past;
mod plan;
pub(crate) mod shard;
mod state;
mod step;

pub use past::Past;
pub use plan::{Plan, Workload};
pub use state::{Rows, Samples, State};
pub use step::{Context, Step};
pub(crate) use step::{append, start_append};
