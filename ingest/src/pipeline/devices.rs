//! The devices that compute an ingest together.
//!
//! Invariant: they are all of one sort and model, so that no bit of a row depends on which of them computes it.

use gstore_model::{Device, LoadError};

use super::IngestError;
use super::request::IngestRequest;

/// The NVIDIA GPUs of this machine, of which there is at least one.
///
/// # Errors
/// A build without their backend; a machine without a driver or without a GPU.
pub fn gpus() -> Result<Vec<Device>, IngestError> {
    Ok((0..gpu_names()?.len()).map(Device::Cuda).collect())
}

/// Refuses devices that do not belong together.
///
/// # Errors
/// [`IngestError::UnlikeDevices`]; a GPU that is not there.
pub(super) fn check(request: &IngestRequest) -> Result<(), IngestError> {
    let unlike = |[a, b]: [String; 2]| Err(IngestError::UnlikeDevices { a, b });
    let (first, beside) = (request.device, &request.beside);
    if let Some(other) = beside.iter().find(|other| !first.is_like(**other)) {
        return unlike([first, *other].map(|device| format!("`{device}`")));
    }
    let Device::Cuda(number) = first else { return Ok(()) };
    if beside.is_empty() {
        return Ok(());
    }
    let names = gpu_names()?;
    // One that is not there is refused when it is opened, with what there is.
    let Some(name) = names.get(number) else { return Ok(()) };
    let other_model = |device: &Device| {
        let Device::Cuda(other) = device else { return None };
        names.get(*other).filter(|found| *found != name).map(|found| (*other, found))
    };
    match beside.iter().find_map(other_model) {
        Some(other) => unlike([(number, name), other].map(|(number, name)| format!("GPU {number} ({name})"))),
        None => Ok(()),
    }
}

#[cfg(feature = "cuda")]
fn gpu_names() -> Result<Vec<String>, IngestError> {
    let error = |error: gstore_cuda::OpenError| gstore_model::BackendError::new(error.to_string());
    gstore_cuda::Driver::names().map_err(|found| LoadError::from(error(found)).into())
}

#[cfg(not(feature = "cuda"))]
fn gpu_names() -> Result<Vec<String>, IngestError> {
    Err(LoadError::from(Device::Cuda(0).not_built()).into())
}
