//! The devices that compute an ingest together.
//!
//! Invariant: they are all of one sort and model, so that no bit of a row depends on which of them computes
//! it.

use gstore_model::{Device, gpu_names};

use super::IngestError;
use super::request::IngestRequest;
use crate::gradient::EngineError;

/// The NVIDIA GPUs of this machine, of which there is at least one.
///
/// # Errors
/// A build without their backend; a machine without a driver or without a GPU.
pub fn gpus() -> Result<Vec<Device>, IngestError> {
    let names = gpu_names!().map_err(EngineError::from)?;
    Ok((0..names.len()).map(Device::Cuda).collect())
}

/// Refuses devices that do not belong together.
///
/// # Errors
/// Those of another sort or model; a machine without a GPU.
pub fn check_devices(request: &IngestRequest) -> Result<(), IngestError> {
    let checked = request.device.check_beside(&request.beside, || gpu_names!());
    Ok(checked.map_err(EngineError::from)?)
}
