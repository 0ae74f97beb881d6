//! An NVIDIA device: memory and kernels through its driver, products through cuBLAS, those with a bias through
//! cuBLASLt.
//!
//! Invariants
//! - everything runs on one stream, in the order of the calls
//! - memory comes from the driver's pool and goes back to it in the order of the stream, so that it may be
//!   dropped while it is in use

mod blas;
mod error;
mod lt;
mod memory;
mod module;
mod operand;
mod pinned;
mod raw;

pub use self::error::OpenError;
pub use self::memory::DeviceMemory;
pub use self::raw::Driver;

use self::error::LEAST_CAPABILITY;

impl Driver {
    /// Names of the machine's devices, by number; at least one.
    ///
    /// # Errors
    /// A machine without a recent driver, or without a device.
    pub fn names() -> Result<Vec<String>, OpenError> {
        let machine = raw::machine();
        let count = machine.devices;
        machine.check(0)?;
        let name = |number| {
            raw::name(number).map_err(|error| OpenError::Device { number, reason: error.to_string() })
        };
        (0..count).map(name).collect()
    }

    /// Opens the device with this number.
    ///
    /// # Errors
    /// A machine or a device that lacks what is needed: see [`OpenError`].
    pub fn open(number: usize) -> Result<Driver, OpenError> {
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
        let mut driver = Driver::of(context).map_err(failed)?;
        module::load(&mut driver).map_err(OpenError::Kernels)?;
        Ok(driver)
    }
}
