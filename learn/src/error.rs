//! Errors of fitting, predicting and judging.

use gstore_core::{Cancelled, many_of};
use gstore_store::{LookupError, ReadError};

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// It was told to stop.
    #[error("stopped before it was finished")]
    Cancelled,
    /// A dataset or feature that the snapshot does not have.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Samples or vectors that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A feature that no value of the dataset stands for.
    #[error("feature `{name}`: {why}")]
    Feature {
        /// Its name as it was given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too few labelled rows for what was asked for.
    #[error("{} all features, and {needed} are needed: {why}", have(.rows))]
    TooFewRows {
        /// Rows that can be used.
        rows: usize,
        /// Rows needed.
        needed: usize,
        /// What for.
        why: String,
    },
    /// A target that has the same value in every row.
    #[error(
        "target `{0}` has the same value in every labelled row, so that nothing tells rows apart: label other rows, or leave the target out"
    )]
    ConstantTarget(String),
    /// A target whose labels have one tercile.
    #[error(
        "at least two thirds of the labelled rows have the lowest score of target `{0}`, so that their terciles are one, and a classifier has nothing to tell apart: take another learner, label other rows, or leave the target out"
    )]
    OneLevel(String),
    /// No feature tells rows apart.
    #[error(
        "every feature has the same value in every labelled row ({0}): others are needed, that tell rows apart"
    )]
    ConstantFeatures(String),
    /// A system of equations too large for memory.
    #[error("{features} features of {rows} rows make a system of {size} equations; at most {most} fit")]
    TooLarge {
        /// Columns.
        features: usize,
        /// Rows.
        rows: usize,
        /// The smaller of both.
        size: usize,
        /// The limit.
        most: usize,
    },
    /// An option that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A number that is not finite came out.
    #[error("the fit of target `{0}` gave numbers that are not finite")]
    NotFinite(String),
}

impl From<Cancelled> for LearnError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl LearnError {
    /// Whether the cause is a damaged file of the store.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }
}

/// So many rows, and that they have something.
fn have(rows: &usize) -> String {
    many_of(*rows as u64, "labelled row has", "labelled rows have")
}
