//! Models that are small enough to be retrained exactly: logistic regression and a network of one hidden
//! layer over exported features, and influence functions of both.
//!
//! Here retraining costs milliseconds and ends at the optimum, so that a low correlation is the method's own.
//!
//! Invariant: everything is in f64, in the order of the rows; bits depend on the data and the seeds alone.

pub mod fit;
pub mod influence;
mod matrix;
pub mod model;
pub mod problem;
mod read;
