//! Projections of one module at a time: `two_sided`, `fact_mask`, `fact_sjlt`, `ekfac`.
//!
//! A sample's gradient of a linear layer is `G = sum_t e_t a_t^T` over its tokens, e the output gradients and
//! a the inputs. Each side is projected by its own matrix,
//! `C = sum_t (P_out e_t)(P_in a_t)^T = P_out G P_in^T`, so G need not exist.
//!
//! Invariants
//! - the factors and the formed gradient give the same vector up to rounding; which way is taken depends on
//!   shapes and a nominal number of tokens only ([`choose_module`]), so bits never depend on a batch
//! - C is row-major, the output side first; `two_sided` stores it, the fact kinds project it once more
//!   (side `post`, s = 1)
//! - every module has the same number of coordinates, whatever its size, and they follow each other
//!   in the modules' order; of `ekfac` a smaller module has no more than there are
//! - a bias is the last column of G: its input is a constant 1
//! - a tensor of one axis has no factors; it is projected by `sjlt` with s = 1

mod cost;
mod explain;
mod fact_mask;
mod fact_sjlt;
mod kurtosis;
mod noise;
mod projector;
mod sparse;
mod two_sided;

pub use cost::ProjectionRoute;
pub(crate) use cost::{NOMINAL_TOKENS, choose_module, table_bytes};
pub use explain::ProjectionSummary;
pub(crate) use explain::explain;
pub(crate) use kurtosis::{KURTOSIS_LIMIT, kurtosis};
pub use noise::{ProjectionNoise, noise};
pub use projector::{FactoredProjector, PostProjection};
