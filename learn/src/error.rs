//! Errors of fitting, predicting and judging.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_core::{Cancelled, many_of};
use gstore_store::{LookupError, ReadError};

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    #[error("stopped before it was finished")]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A feature that no value of the dataset stands for.
    #[error("feature `{name}`: {why}")]
    Feature { name: String, why: String },
    #[error("{} all features, and {needed} are needed: {why}", have(.rows))]
    TooFewRows { rows: usize, needed: usize, why: String },
    #[error(
        "target `{0}` has the same value in every labelled row that has all features, so that nothing tells rows apart: label other rows, or leave the target out"
    )]
    ConstantTarget(String),
    #[error(
        "at least two thirds of the labelled rows have the lowest score of target `{0}`, so that their terciles are one, and a classifier has nothing to tell apart: take another learner, label other rows, or leave the target out"
    )]
    OneLevel(String),
    #[error(
        "every feature has the same value in every labelled row that has all of them, or values that f64 does not tell apart ({0}): others are needed, that tell rows apart"
    )]
    ConstantFeatures(String),
    #[error("{features} features of {rows} rows make a system of {size} equations; at most {most} fit")]
    TooLarge { features: usize, rows: usize, size: usize, most: usize },
    /// An option that makes no sense.
    #[error("{0}")]
    Invalid(String),
    #[error("the fit of target `{0}` gave numbers that are not finite")]
    NotFinite(String),
}

/// So many rows, and that they have something.
fn have(rows: &usize) -> String {
    many_of(*rows as u64, "labelled row has", "labelled rows have")
}
