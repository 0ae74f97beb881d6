//! Passes over a model for curvature factors and influence scores, at one checkpoint.
//!
//! A module is a linear layer with its bias, fused or not, in the rows of the file's `[out, in]`; the input
//! that belongs to the bias is the constant 1, its last. A loss is the sum over scored tokens.
//!
//! - [`CurvatureEngine::covariances`]: outer products of inputs and of output gradients, summed over tokens
//! - [`CurvatureEngine::squares`]: squares of the gradients of samples, as they are or in an eigenbasis
//! - [`CurvatureEngine::gradients`]: the gradients themselves, module by module
//! - [`CurvatureEngine::factors`]: what they are products of, for what is asked of single tokens
//! - [`Directions::products`]: the Gauss-Newton matrix times directions of the weights
//!
//! Invariants
//! - all positions of a sample count in covariances: those of the prompt, and the last one
//! - a sample without tokens has a loss and gradients of 0, and no rows of factors; a batch of such samples
//!   alone makes no pass
//! - covariances and bases that are cut into blocks are summed and applied block by block, never as a whole
//! - products are summed in f32 over few rows and in f64 beyond, in the order of the batch
//! - a value that is not finite is an error that names module and sample; what was summed is then of no use
//! - a call runs on the calling thread and touches nothing shared; drawn labels depend on neither batch nor
//!   thread

mod bases;
mod batch;
mod blocks;
mod covariances;
mod directions;
mod engine;
mod error;
mod gradients;
mod head;
mod labels;
mod modules;
mod pass;
mod runner;
mod sink;
mod tokens;

pub use batch::{Labels, Measurement, TargetSample};
pub use directions::Directions;
pub use engine::CurvatureEngine;
pub use error::{CurvatureLoadError, PassError};
