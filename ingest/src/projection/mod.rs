//! Random projections of gradients: linear, unbiased, reproducible from a seed.
//!
//! An entry is a pure function of seed, kind, tensor name and index.
//!
//! Invariants
//! - `E<Px, Py> = <x, y>` over seeds; every scale factor lives inside P
//! - no entry depends on the batch, the chunking, the number of threads or the device
//! - sub-seeds are derived by hashing (`key`), never by arithmetic
//! - the flat kinds take the concatenated gradient ([`FlatProjector`]); the factored kinds take each
//!   module's gradient as the factors that it is a sum of, or formed, with the same result up to
//!   rounding ([`FactoredProjector`])
//! - a matrix is known by its [`ProjectionSpec::fingerprint`]; only vectors of one
//!   fingerprint may be compared

mod error;
mod factored;
mod flat;
mod gaussian;
mod groups;
mod key;
mod kind;
mod mask;
mod modules;
mod philox;
mod rademacher;
mod sjlt;
mod spec;
mod summed;
mod text;

pub use error::ProjectionError;
pub use factored::{
    FactoredProjector, PostProjection, ProjectionNoise, ProjectionRoute, ProjectionSummary, noise,
};
pub(crate) use factored::{KURTOSIS_LIMIT, NOMINAL_TOKENS, choose_module, explain, kurtosis, table_bytes};
pub use flat::FlatProjector;
pub(crate) use flat::TABLE_BUDGET;
pub use kind::{DEFAULT_MODULE_DIM, ProjectionKind};
pub use modules::{EigenBasis, EigenBlock, GradientShape, ModuleShape, SideEntries, modules_of};
pub(crate) use modules::{SideMatrix, tensor_modules};
pub use spec::ProjectionSpec;
pub use summed::BLOCK;

pub use gstore_model::params::TensorSpec;
