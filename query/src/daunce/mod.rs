//! Daunce: attribution from the covariance of losses over the models of an ensemble.
//!
//! A row's losses under K models that were perturbed at random vary together with those of a query where
//! training on the row lowers the query's loss. The score is their covariance, or their correlation.
//!
//! - [`CovarianceOptions`], [`Models`], [`Centring`]: what is taken over which models, and what is subtracted
//!   first
//! - [`Pair`]: a row and a query; [`estimate()`]: the score of a row with its standard error
//! - [`Products`]: the scores of many rows with many queries
//! - [`agreement()`]: how far K models rank alike, by which one knows when to stop
//! - [`Diagnosis`]: what is wrong with the models or the losses
//!
//! Invariants
//! - values are `rows x models`, one row after the other; a cell that is missing is NaN
//! - sums are taken in f64 and in one order, so that the bits of a score do not depend on the rows, queries
//!   or threads that it is computed with
//! - what does not vary has a covariance of exactly 0 with everything, and no correlation

mod agreement;
mod centring;
mod diagnosis;
mod estimate;
mod how;
mod noise;
mod pair;
mod products;
mod stored;

pub use agreement::{Agreement, AgreementAsk, AgreementAt, agreement};
pub use centring::{Centring, Models};
pub use diagnosis::{Diagnosis, DiagnosisAsk, Finding, ModelNotes, Severity, diagnose};
pub(crate) use estimate::without_model;
pub use estimate::{Estimate, estimate};
pub(crate) use how::FEW_MODELS;
pub use how::{Center, Covariance, CovarianceOptions, MissingCells, Score};
pub(crate) use noise::{largest_of, noise_of_correlations};
pub use pair::Pair;
pub use products::{ProductScratch, Products};
pub use stored::diagnose_stored;
