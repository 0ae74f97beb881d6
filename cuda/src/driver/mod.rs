//! An NVIDIA device: memory and kernels by its driver, products by cuBLAS.
//!
//! Invariants
//! - everything runs on one stream, in the order of the calls
//! - memory comes from the driver's pool and goes back to it in the order of the stream, so that it may be dropped
//!   while it is in use

mod blas;
mod error;
mod module;
mod raw;

pub use self::error::OpenError;
pub use self::raw::DeviceMemory;

use self::error::LEAST_CAPABILITY;
use self::raw::Device;
use crate::runtime::{Launch, Product, Result, Runtime};

/// An NVIDIA device.
pub struct Driver {
    device: Device,
}

impl Driver {
    /// Opens the device of a number.
    ///
    /// # Errors
    /// A machine or a device that lacks what is needed: see [`OpenError`].
    pub fn open(number: usize) -> std::result::Result<Driver, OpenError> {
        raw::machine().check(number)?;
        let failed =
            |reason: gstore_model::BackendError| OpenError::Device { number, reason: reason.to_string() };
        let context = raw::context(number).map_err(failed)?;
        let (name, capability) = raw::describe(&context).map_err(failed)?;
        if capability < LEAST_CAPABILITY {
            return Err(OpenError::Capability { number, name, capability });
        }
        if !raw::has_blas() {
            return Err(OpenError::NoBlas);
        }
        let mut device = Device::open(context).map_err(failed)?;
        module::load(&mut device).map_err(OpenError::Kernels)?;
        Ok(Driver { device })
    }

    /// The device's name, and its memory: what is free and what there is, in bytes.
    ///
    /// # Errors
    /// A device that is lost.
    pub fn describe(&self) -> Result<(String, usize, usize)> {
        self.device.describe()
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// A kernel that failed.
    pub fn synchronize(&self) -> Result<()> {
        self.device.synchronize()
    }
}

impl Runtime for Driver {
    type Memory = DeviceMemory;

    fn free(&self) -> Result<usize> {
        Ok(self.describe()?.1)
    }

    fn allocate(&self, bytes: usize) -> Result<DeviceMemory> {
        self.device.allocate(bytes)
    }

    fn write(&self, to: &DeviceMemory, at: usize, from: &[u8]) -> Result<()> {
        self.device.write(to, at, from)
    }

    fn read(&self, from: &DeviceMemory, at: usize, to: &mut [u8]) -> Result<()> {
        self.device.read(from, at, to)
    }

    fn copy(&self, from: (&DeviceMemory, usize), to: (&DeviceMemory, usize), bytes: usize) -> Result<()> {
        self.device.copy(from, to, bytes)
    }

    fn clear(&self, memory: &DeviceMemory, at: usize, bytes: usize) -> Result<()> {
        self.device.clear(memory, at, bytes)
    }

    fn launch(&self, launch: &Launch<'_, DeviceMemory>) -> Result<()> {
        self.device.launch(launch)
    }

    fn multiply(&self, product: &Product<'_, DeviceMemory>) -> Result<()> {
        self.device.multiply(product)
    }
}
