//! Small models that predict the influence of samples from features that cost little.
//!
//! - [`Matrix`], [`learners`]: ridge, logistic regression, boosted trees, networks
//! - [`folds()`], [`out_of_fold`]: cross-validation
//! - [`judge`]: recall at each budget, other measures with their intervals, costs, the budget; the
//!   cuts of a cascade
//! - [`FeatureSet`]: what is read of each row of a store, joined by row
//! - [`Prefilter`]: all of it, fitted, as a value that is stored
//!
//! Invariants
//! - equal data, options and seeds give equal bits, whatever the number of threads
//! - no prediction that is judged comes from a learner that has seen its row

#![forbid(unsafe_code)]

mod cross;
mod data;
mod error;
mod features;
mod folds;
pub mod judge;
pub mod learners;
mod matrix;
mod options;
mod prefilter;
mod random;
mod standard;

pub use cross::{OutOfFold, out_of_fold};
pub use data::{Labelled, ScoredRows};
pub use error::LearnError;
pub use features::{FeatureSet, GRADIENT_PASSES, OpenFeatures, Passes};
pub use folds::folds;
pub use matrix::Matrix;
pub use options::FitOptions;
pub use prefilter::{KIND, Prediction, Prefilter};
