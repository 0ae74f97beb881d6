//! Errors of computing a batch.

use gstore_core::Remedy;
use gstore_model::{BackendError, OutOfMemory};

/// Why a batch could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A sample has no tokens.
    #[error("sample {index} of the batch has no tokens")]
    EmptySample {
        /// Place in the batch.
        index: usize,
    },
    /// A sample's flags do not match its tokens.
    #[error("sample {index} of the batch has {tokens} tokens and {flags} flags")]
    FlagCount {
        /// Place in the batch.
        index: usize,
        /// Number of tokens.
        tokens: usize,
        /// Number of flags.
        flags: usize,
    },
    /// A token that the model does not know.
    #[error(
        "sample {index} of the batch holds token {token}, the model's vocabulary has {vocab}: the tokenizer belongs to another model"
    )]
    UnknownToken {
        /// Place in the batch.
        index: usize,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A sample that is longer than the model's table of positions.
    #[error(
        "sample {index} of the batch has {tokens} tokens, the model knows {max_positions} positions: give {} or less",
        Remedy::Option("max_length", &max_positions.to_string())
    )]
    TooLong {
        /// Place in the batch.
        index: usize,
        /// Number of tokens.
        tokens: usize,
        /// Positions that have a vector.
        max_positions: usize,
    },
    /// Gradients of a checkpoint without tracked tensors.
    #[error("there are no parameters to differentiate by")]
    NoParameters,
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl OutOfMemory for EngineError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, EngineError::Backend(error) if error.is_out_of_memory())
    }
}
