//! Errors of reading losses of ensembles.

use super::{LookupError, ReadError};

/// Losses of an ensemble could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// There are none of the dataset.
    #[error("ensemble {ensemble:?} has no such losses of dataset {dataset:?}{}", known_names(.known))]
    None {
        /// The ensemble.
        ensemble: String,
        /// The dataset.
        dataset: String,
        /// Those it has, in words.
        known: Vec<String>,
    },
    /// There are several, and nothing says which are meant.
    #[error(
        "ensemble {ensemble:?} has several losses of dataset {dataset:?}: {}; say which encoding or signal",
        .known.join("; ")
    )]
    Ambiguous {
        /// The ensemble.
        ensemble: String,
        /// The dataset.
        dataset: String,
        /// Those it has, in words.
        known: Vec<String>,
    },
    /// No such dataset.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Damage.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => "; it has none at all yet".to_owned(),
        known => format!("; it has {}", known.join("; ")),
    }
}
