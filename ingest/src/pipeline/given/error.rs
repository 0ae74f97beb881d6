//! Errors of encoding given samples.

use std::path::PathBuf;

use crate::pipeline::IngestError;
use gstore_core::{Cancelled, Remedy};
use gstore_data::{EncodeError, RecordError};
use gstore_model::OutOfMemory;

/// What to do where weights cannot be had.
fn give_weights_hint() -> String {
    let (model, checkpoints) = (Remedy::Option("model", ""), Remedy::Option("checkpoint_folders", ""));
    format!("say where they are with {model} (the base model) and {checkpoints} (adapters, or whole models)")
}

/// Why given samples have no vectors that could be compared with a stored feature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleEncoderError {
    /// It was told to stop.
    #[error("the computation was cancelled")]
    Cancelled,
    /// A text that is no record.
    #[error("given sample {sample}: {source}")]
    Record {
        /// Number of the sample, from 1.
        sample: usize,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A sample that cannot be tokenised.
    #[error("given sample {sample}: {source}")]
    Encode {
        /// Number of the sample, from 1.
        sample: usize,
        /// What is wrong with it.
        source: EncodeError,
    },
    /// A sample longer than the encoding's maximum.
    #[error(
        "given sample {sample} is longer than the {max_length} tokens after which the pool's samples are cut: what was asked about would be \
         cut too; shorten it"
    )]
    Truncated {
        /// Number of the sample, from 1.
        sample: usize,
        /// Maximum length of the encoding.
        max_length: u32,
    },
    /// A sample of which nothing is scored.
    #[error("given sample {sample} has no scored token: {why}")]
    NoScored {
        /// Number of the sample, from 1.
        sample: usize,
        /// What would be one.
        why: &'static str,
    },
    /// A vector with a value that is no number.
    #[error(
        "the {kind} of given sample {sample} is not finite at {checkpoint}, so nothing can be compared with it"
    )]
    NotFinite {
        /// Number of the sample, from 1.
        sample: usize,
        /// The kind.
        kind: &'static str,
        /// The checkpoint.
        checkpoint: String,
    },
    /// The location of the weights is not known.
    #[error(
        "nothing in the store says where the weights of checkpoint `{checkpoint}` are; {}",
        give_weights_hint()
    )]
    Unknown {
        /// The checkpoint.
        checkpoint: String,
    },
    /// The weights are not where they were.
    #[error("the weights of checkpoint `{checkpoint}` were in {}, which no longer exists; {}", folder.display(), give_weights_hint())]
    Gone {
        /// The checkpoint.
        checkpoint: String,
        /// Where they were.
        folder: PathBuf,
    },
    /// Other weights than the feature was computed with.
    #[error(
        "the weights of {} are not those of checkpoint `{checkpoint}`: their digest is not {id}, which the pool's vectors were computed with; \
         {}",
        folder.display(),
        give_weights_hint()
    )]
    OtherWeights {
        /// The checkpoint.
        checkpoint: String,
        /// Its adapter, or else its model.
        folder: PathBuf,
        /// The identity that is wanted.
        id: String,
    },
    /// None of the folders that the user gave.
    #[error(
        "none of the {given} checkpoints that {} gives has the weights of checkpoint `{checkpoint}` (digest {id}) on the model in {}{}",
        Remedy::Option("checkpoint_folders", ""),
        model.display(),
        gone_folder_hint(.was)
    )]
    NotGiven {
        /// The checkpoint.
        checkpoint: String,
        /// How many were given.
        given: usize,
        /// Where they were when the store saw them, if it was a folder of their own.
        was: Option<PathBuf>,
        /// The base model that they were tried with.
        model: PathBuf,
        /// The identity that is wanted.
        id: String,
    },
    /// Something that enters the vectors cannot be had again.
    #[error(
        "the vectors of feature {feature} cannot be computed again, so nothing new can be compared with them: {what}"
    )]
    Feature {
        /// `dataset/label`.
        feature: String,
        /// What it is.
        what: String,
    },
    /// Models and engines.
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

fn gone_folder_hint(was: &Option<PathBuf>) -> String {
    was.as_ref()
        .map_or_else(String::new, |folder| format!(", and they are not in {} any more", folder.display()))
}

impl From<Cancelled> for SampleEncoderError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl OutOfMemory for SampleEncoderError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Ingest(error) if error.is_out_of_memory())
    }
}

#[cfg(test)]
mod tests {
    use gstore_model::{BackendError, LoadError};

    use super::*;
    use crate::gradient::EngineError;

    #[test]
    fn a_device_without_memory_is_told_from_other_failures() {
        let full = || BackendError::out_of_memory("full");
        let is_full = |error: IngestError| SampleEncoderError::from(error).is_out_of_memory();
        assert!(is_full(LoadError::from(full()).into()));
        assert!(is_full(EngineError::from(full()).into()));
        assert!(!is_full(EngineError::from(BackendError::new("lost")).into()));
        assert!(!SampleEncoderError::Cancelled.is_out_of_memory());
    }
}
