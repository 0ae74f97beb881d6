//! Errors of encoding given samples.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

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
    #[error("the computation was cancelled")]
    Cancelled(#[from] Cancelled),
    #[error("given sample {sample}: {source}")]
    Record {
        /// Number of the sample, from 1.
        sample: usize,
        source: RecordError,
    },
    #[error("given sample {sample}: {source}")]
    Encode {
        /// Number of the sample, from 1.
        sample: usize,
        source: EncodeError,
    },
    #[error(
        "given sample {sample} is longer than the {max_length} tokens after which the pool's samples are cut: what was asked about would be \
         cut too; shorten it"
    )]
    Truncated {
        /// Number of the sample, from 1.
        sample: usize,
        max_length: u32,
    },
    #[error("given sample {sample} has no scored token: {why}")]
    NoScored {
        /// Number of the sample, from 1.
        sample: usize,
        why: &'static str,
    },
    #[error(
        "the {kind} of given sample {sample} is not finite at {checkpoint}, so nothing can be compared with it"
    )]
    NotFinite {
        /// Number of the sample, from 1.
        sample: usize,
        kind: &'static str,
        checkpoint: String,
    },
    #[error(
        "nothing in the store says where the weights of checkpoint `{checkpoint}` are; {}",
        give_weights_hint()
    )]
    Unknown { checkpoint: String },
    #[error("the weights of checkpoint `{checkpoint}` were in {}, which no longer exists; {}", folder.display(), give_weights_hint())]
    Gone { checkpoint: String, folder: PathBuf },
    #[error(
        "the weights of {} are not those of checkpoint `{checkpoint}`: their digest is not {id}, which the pool's vectors were computed with; \
         {}",
        folder.display(),
        give_weights_hint()
    )]
    OtherWeights {
        checkpoint: String,
        /// Its adapter, or else its model.
        folder: PathBuf,
        id: String,
    },
    #[error(
        "none of the {given} checkpoints that {} gives has the weights of checkpoint `{checkpoint}` (digest {id}) on the model in {}{}",
        Remedy::Option("checkpoint_folders", ""),
        model.display(),
        gone_folder_hint(.was)
    )]
    NotGiven {
        checkpoint: String,
        given: usize,
        /// Where they were when the store saw them, if it was a folder of their own.
        was: Option<PathBuf>,
        model: PathBuf,
        id: String,
    },
    #[error(
        "the vectors of feature {feature} cannot be computed again, so nothing new can be compared with them: {what}"
    )]
    Feature {
        /// `dataset/label`.
        feature: String,
        what: String,
    },
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

fn gone_folder_hint(was: &Option<PathBuf>) -> String {
    was.as_ref()
        .map_or_else(String::new, |folder| format!(", and they are no longer in {}", folder.display()))
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
        assert!(!SampleEncoderError::from(Cancelled).is_out_of_memory());
    }
}
