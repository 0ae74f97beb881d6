//! Errors of passes for curvature.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_core::Remedy;
use gstore_curvature::CurvatureError;
use gstore_model::{BackendError, Device, LoadError, OutOfMemory};

use crate::gradient::{EngineError, SelectionError};

/// Why a checkpoint cannot be loaded for such passes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurvatureLoadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(
        "{} selects no linear layer, and only linear layers have curvature here: leave it out",
        Remedy::Option("modules", .0)
    )]
    NoLinear(String),
    #[error(
        "the head shares the weight of {embedding} in this model, so it is not a linear layer of its own, \
         and only linear layers have curvature here: leave it out of {}",
        Remedy::Option("modules", "")
    )]
    TiedHead { embedding: String },
}

/// Why a batch could not be passed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    #[error(transparent)]
    Sample(#[from] EngineError),
    #[error("module `{module}`: {what} of sample {sample} of the batch is {value}")]
    NotFinite { module: String, what: &'static str, sample: usize, value: f32 },
    #[error("module `{module}`: a product of {what} of the batch is {value}")]
    Overflow { module: String, what: &'static str, value: f32 },
    #[error("the loss of sample {sample} of the batch is {value}")]
    Loss { sample: usize, value: f32 },
    #[error("{rows} rows for the {samples} samples of a batch whose labels are drawn")]
    RowNumbers { rows: usize, samples: usize },
    #[error("factors of {found} modules where those of {expected} are due")]
    Factors { found: usize, expected: usize },
    #[error(transparent)]
    Curvature(#[from] CurvatureError),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl CurvatureLoadError {
    /// The same; where the device failed, with its name.
    pub fn on(self, device: Device) -> Self {
        match self {
            Self::Load(error) => Self::Load(error.on(device)),
            other => other,
        }
    }
}

impl PassError {
    /// The same; where the device failed, with its name.
    pub fn on(self, device: Device) -> Self {
        match self {
            Self::Backend(error) => Self::Backend(device.failed(error)),
            other => other,
        }
    }

    /// Place in the batch of the sample that it is of, if it is of one.
    pub fn sample(&self) -> Option<usize> {
        match self {
            Self::NotFinite { sample, .. } | Self::Loss { sample, .. } => Some(*sample),
            _ => None,
        }
    }

    /// What is wrong, for who says himself which sample it is of.
    pub fn detail(&self) -> String {
        match self {
            Self::NotFinite { module, what, value, .. } => format!("module `{module}`: {what} is {value}"),
            Self::Loss { value, .. } => format!("the loss is {value}"),
            error => error.to_string(),
        }
    }
}

impl OutOfMemory for PassError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Backend(error) if error.is_out_of_memory())
    }
}

/// The first value that is not finite.
pub(super) fn not_finite(values: &[f32]) -> Option<f32> {
    // A maximum is taken in lanes, the search for one value is not.
    let largest = values.iter().fold(0, |most, value| value.abs().to_bits().max(most));
    match largest < f32::INFINITY.to_bits() {
        true => None,
        false => values.iter().copied().find(|value| !value.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_on_a_device_has_its_name() {
        let full = PassError::Backend(BackendError::out_of_memory("full")).on(Device::Cuda(1));
        assert!(full.is_out_of_memory() && full.to_string() == "`cuda:1`: full", "{full}");
        let lost = CurvatureLoadError::Load(LoadError::Backend(BackendError::new("lost")));
        let lost = lost.on(Device::Cuda(0)).to_string();
        assert!(lost.ends_with(": `cuda:0`: lost"), "{lost}");
        let loss = PassError::Loss { sample: 3, value: f32::NAN };
        assert_eq!(loss.on(Device::Cuda(1)).to_string(), "the loss of sample 3 of the batch is NaN");
    }

    #[test]
    fn what_is_no_number_is_found() {
        assert_eq!(not_finite(&[]), None);
        assert_eq!(not_finite(&[0.0, -f32::MAX, f32::MIN_POSITIVE]), None);
        assert_eq!(not_finite(&[1.0, f32::NEG_INFINITY, f32::NAN]), Some(f32::NEG_INFINITY));
        assert!(not_finite(&[1.0, -f32::NAN]).is_some_and(f32::is_nan));
    }
}
