//! The devices that compute an ingest together.
//!
//! Invariant: they are all of one sort and model, so that no bit of a row depends on which of them computes
//! it.

use gstore_model::{Device, LoadError, gpu_names};

use super::IngestError;
use super::request::IngestRequest;

/// The NVIDIA GPUs of this machine, of which there is at least one.
///
/// # Errors
/// A build without their backend; a machine without a driver or without a GPU.
pub fn gpus() -> Result<Vec<Device>, IngestError> {
    let names = gpu_names!().map_err(LoadError::from)?;
    Ok((0..names.len()).map(Device::Cuda).collect())
}

/// Refuses devices that do not belong together.
///
/// # Errors
/// [`IngestError::UnlikeDevices`]; a machine without a GPU.
pub(super) fn check(request: &IngestRequest) -> Result<(), IngestError> {
    let names = || gpu_names!();
    match request.device.unlike(&request.beside, names).map_err(LoadError::from)? {
        Some([a, b]) => Err(IngestError::UnlikeDevices { a, b }),
        None => Ok(()),
    }
}
