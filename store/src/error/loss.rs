//! Errors of reading losses of ensembles.

use super::{LookupError, ReadError};

/// Losses of an ensemble could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    #[error("ensemble {ensemble:?} has no such losses of dataset {dataset:?}{}", known_names(.known))]
    None { ensemble: String, dataset: String, known: Vec<String> },
    #[error(
        "ensemble {ensemble:?} has several losses of dataset {dataset:?}: {}; say which encoding or signal",
        .known.join("; ")
    )]
    Ambiguous { ensemble: String, dataset: String, known: Vec<String> },
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => "; it has none at all yet".to_owned(),
        known => format!("; it has {}", known.join("; ")),
    }
}
