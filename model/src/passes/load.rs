//! Inputs of loading a model onto a backend, and errors of it.

use crate::architectures::{Decoder, Param};
use crate::backend::BackendError;
use crate::device::Device;
use crate::oom_backoff::OutOfMemory;
use crate::weights::ModelError;

/// Why a model could not be put on a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum LoadError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the backend could not take the weights: {0}")]
    Backend(#[from] BackendError),
    #[error("a form of the gradient needs moments of {values} values, {found} are there")]
    Moments { values: usize, found: usize },
    #[error("the model has {layers} layers, so there are no hidden states after {layer}")]
    NoLayer { layer: usize, layers: usize },
}

impl LoadError {
    /// The same; where the device failed, with its name.
    pub fn on(self, device: Device) -> LoadError {
        match self {
            LoadError::Backend(error) => LoadError::Backend(device.failed(error)),
            other => other,
        }
    }
}

impl OutOfMemory for LoadError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, LoadError::Backend(error) if error.is_out_of_memory())
    }
}

pub(super) type ReadParam<'a> = &'a mut dyn FnMut(&Param) -> Result<Vec<f32>, ModelError>;

/// A family's description that lacks a part: a defect of the description, not of the user's files.
pub(super) fn incomplete(decoder: &Decoder, what: &str) -> LoadError {
    BackendError::new(format!("the description of {} lacks {what}", decoder.architecture)).into()
}
