//! Errors of reading optimizer moments.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use crate::files::TorchError;

/// Why optimizer moments could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MomentsError {
    #[error(
        "{folder} has neither optimizer.pt nor optimizer.bin{}{}",
        above.as_ref().map_or_else(String::new, |above| format!(", and neither has {}", above.display())),
        instead.as_ref().map_or_else(String::new, |parts| format!("; {parts}; grad-sgd needs neither"))
    )]
    Missing {
        folder: PathBuf,
        /// The folder around it, where an adapter's state may be as well.
        above: Option<PathBuf>,
        /// A state that is not read, and what to do about it.
        instead: Option<String>,
    },
    #[error(transparent)]
    Archive(#[from] TorchError),
    #[error("{path} is not an optimizer state: {message}")]
    NotAState { path: PathBuf, message: String },
    #[error("the moments in {path} do not fit the trained tensors: {message}")]
    Mismatch { path: PathBuf, message: String },
    #[error(
        "{path}: {name} has a state of bitsandbytes, which is not read: train with a 32-bit optimizer, such as adamw_torch; grad-sgd needs no state"
    )]
    Bitsandbytes { path: PathBuf, name: String },
    /// Numbers that stand for values, which only the optimizer can turn into those.
    #[error(
        "{path}: {moment} of {name} has dtype {dtype}, as the codes of a quantised optimizer have, which are not read: train with a 32-bit optimizer, such as adamw_torch"
    )]
    NotFloat { path: PathBuf, moment: &'static str, name: String, dtype: &'static str },
    /// A moment that no optimizer can have produced.
    #[error("{path}: {moment} of {name} holds {value}")]
    BadValue {
        path: PathBuf,
        /// `exp_avg`, `exp_avg_sq` or one of the latter's factors, or `momentum_buffer`.
        moment: &'static str,
        name: String,
        value: f32,
    },
}
