//! Memory of a device, from its driver's pool.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{CudaStream, DriverError, result, sys};
use gstore_model::BackendError;

use crate::runtime::{Memory, Result};

pub(super) fn failed(error: DriverError) -> BackendError {
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => BackendError::out_of_memory("the GPU is out of memory"),
        _ => BackendError::new(format!("CUDA: {error}")),
    }
}

/// Memory of a device, from its driver's pool.
pub struct DeviceMemory {
    address: u64,
    bytes: usize,
    stream: Arc<CudaStream>,
}

impl Memory for DeviceMemory {
    fn address(&self) -> u64 {
        self.address
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.stream.context().bind_to_thread().is_ok() {
            // SAFETY: it came from the same pool and stream, and no later call uses it.
            let _ = unsafe { result::free_async(self.address, self.stream.cu_stream()) };
        }
    }
}

impl DeviceMemory {
    /// Of the pool, for work on a stream. The stream's context is bound to the thread.
    pub(super) fn new(bytes: usize, stream: &Arc<CudaStream>) -> Result<DeviceMemory> {
        // SAFETY: the stream is alive.
        let address = unsafe { result::malloc_async(stream.cu_stream(), bytes) }.map_err(failed)?;
        Ok(DeviceMemory { address, bytes, stream: stream.clone() })
    }

    /// The address of byte `at`; an error unless at least `len` bytes follow.
    pub(super) fn at(&self, at: usize, len: usize) -> Result<u64> {
        match at.checked_add(len) {
            Some(end) if end <= self.bytes => Ok(self.address + at as u64),
            _ => Err(BackendError::new(format!("{len} bytes at {at} of {} of the GPU", self.bytes))),
        }
    }
}
