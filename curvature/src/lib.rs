//! Curvature of a loss, one block for each linear module: covariances, eigenbases, damped inverses.
//!
//! For a module with inputs a (a bias is a trailing constant 1) and gradients of its outputs g, the
//! gradient of a sample is `G = sum_t g_t a_t^T`, `[out, input]`. Curvature is approximated by one of the
//! [`Strategy`]s: nothing, the squares of G, the Kronecker product of the covariances of g and a (K-FAC,
//! arXiv 1503.05671), or that product with its eigenvalues measured again in its eigenbasis (EK-FAC,
//! arXiv 1806.03884).
//!
//! - [`Module`]: the shape of a block; [`Covariance`] and [`Squares`]: sums over tokens and over samples
//! - [`Eigen`]: an eigenbasis, with its residual checked; [`Blocks`]: how matrices of wide modules are cut
//! - [`ModuleFactors`]: all that is known of a block; its [`Inverse`], through a [`Filter`] of eigenvalues,
//!   preconditions gradients, and its [`Rotation`] many of them in f32, each as a [`SampleGradient`]
//! - [`conjugate_gradients`]: solves with a matrix of which only products are known, such as the curvature
//!   itself, preconditioned by such inverses
//! - [`low_rank()`]: a preconditioned gradient as a product of two thin matrices
//! - [`Gram`]: sums of outer products of stored rows, whose [`Preconditioner`] preconditions vectors;
//!   [`MixtureBalance`] and [`mixture()`] for TrackStar
//! - [`Spectrum`]: what the eigenvalues of a block look like
//!
//! Everything is in memory, and in f64 except what a [`Rotation`] and a [`SampleGradient`] multiply; nothing
//! here depends on models or stores. Matrices are row-major.
//!
//! Equal inputs give equal bits on one kind of processor: sums run in the order of the calls, and
//! decompositions on one thread.

#![forbid(unsafe_code)]

mod blocks;
mod conjugate;
mod covariance;
mod eigen;
mod error;
mod factors;
mod filter;
mod gram;
mod inversion;
mod low_rank;
mod matrix;
mod mixture;
mod module;
mod outer;
mod rotation;
mod solver;
mod spectrum;
mod sums;

pub use blocks::Blocks;
pub use conjugate::{LinearSystem, ProductResult, Solution, SolveLimits, conjugate_gradients};
pub use covariance::{Covariance, Squares};
pub use eigen::Eigen;
pub use error::CurvatureError;
pub use factors::{Inverse, ModuleFactors, Strategy};
pub use filter::{Damping, Filter};
pub use gram::{Gram, MatrixStrip};
pub use inversion::Inversion;
pub use low_rank::{LowRank, low_rank};
pub use matrix::{dot, product, transposed};
pub use mixture::{MixtureBalance, mixture};
pub use module::Module;
pub use outer::SampleGradient;
pub use rotation::Rotation;
pub use solver::{Preconditioner, Solver};
pub use spectrum::Spectrum;
