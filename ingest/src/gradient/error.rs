//! Errors of computing a batch.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_core::{Cancelled, Remedy};
use gstore_model::{BackendError, OutOfMemory};

/// Why a batch could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error("sample {index} of the batch has no tokens")]
    EmptySample { index: usize },
    #[error("sample {index} of the batch has {tokens} tokens and {flags} flags")]
    FlagCount { index: usize, tokens: usize, flags: usize },
    #[error(
        "sample {index} of the batch holds token {token}, the model's vocabulary has {vocab}: the tokenizer belongs to another model"
    )]
    UnknownToken { index: usize, token: u32, vocab: usize },
    #[error(
        "sample {index} of the batch has {tokens} tokens, the model knows {max_positions} positions: give {} or less",
        Remedy::Option("max_length", &max_positions.to_string())
    )]
    TooLong { index: usize, tokens: usize, max_positions: usize },
    #[error("there are no parameters to differentiate by")]
    NoParameters,
    #[error("the computation was cancelled")]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl OutOfMemory for EngineError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, EngineError::Backend(error) if error.is_out_of_memory())
    }
}
