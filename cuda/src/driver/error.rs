//! Errors of opening a device.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use super::raw::Machine;

/// The least compute capability: that of bf16 products.
pub(super) const LEAST_CAPABILITY: (i32, i32) = (8, 0);

/// The least version of CUDA that a driver has to support, in the driver's notation: that of the embedded
/// kernels and of cuBLAS.
pub(super) const LEAST_CUDA: i32 = 13_000;

/// A device that cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "no NVIDIA driver on this machine: the library libcuda.so.1 cannot be loaded; install the driver (580 or newer), or use the backend `cpu`"
    )]
    NoDriver,
    #[error(
        "the NVIDIA driver is too old: it supports CUDA {}, this build needs {}; install driver 580 or newer",
        version(*.0),
        version(LEAST_CUDA)
    )]
    OldDriver(i32),
    #[error(
        "cuBLAS cannot be loaded: libcublas.so.13 or libcublasLt.so.13 is not on the library path; install it (`pip install nvidia-cublas`, or the package of a CUDA 13 toolkit) and add its folder to LD_LIBRARY_PATH"
    )]
    NoBlas,
    /// A number without a device.
    #[error("no GPU with number {number}; there {}", count_of(*.count))]
    NoDevice { number: usize, count: usize },
    /// A device without a feature that the kernels need.
    #[error(
        "GPU {number} ({name}) has compute capability {}.{}; 8.0 (Ampere) or newer is needed",
        capability.0,
        capability.1
    )]
    Capability { number: usize, name: String, capability: (i32, i32) },
    /// Kernels that the driver refuses.
    #[error("the kernels cannot be loaded: {0}")]
    Kernels(String),
    /// Any other failure.
    #[error("GPU {number} cannot be used: {reason}")]
    Device { number: usize, reason: String },
}

/// A version of CUDA in the usual notation.
fn version(of: i32) -> String {
    format!("{}.{}", of / 1000, of % 1000 / 10)
}

fn count_of(devices: usize) -> String {
    match devices {
        0 => "is none".to_owned(),
        1 => "is one, number 0".to_owned(),
        count => format!("are {count}, numbered from 0"),
    }
}

impl Machine {
    /// An error if the machine lacks what the device with this number needs.
    pub(super) fn check(self, number: usize) -> Result<(), OpenError> {
        match self {
            Machine { has_driver: false, .. } => Err(OpenError::NoDriver),
            Machine { cuda, .. } if cuda < LEAST_CUDA => Err(OpenError::OldDriver(cuda)),
            Machine { devices: count, .. } if number >= count => Err(OpenError::NoDevice { number, count }),
            Machine { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_is_said_in_the_order_in_which_it_is_needed() {
        let of = |has_driver, cuda, devices, number| {
            Machine { has_driver, cuda, devices }.check(number).err().map(|error| error.to_string())
        };
        assert!(of(false, 0, 0, 0).unwrap().contains("no NVIDIA driver"));
        let old = of(true, 12_020, 1, 0).unwrap();
        assert!(old.contains("supports CUDA 12.2, this build needs 13.0"), "{old}");
        assert!(of(true, 13_000, 0, 0).unwrap().contains("there is none"));
        assert!(of(true, 13_000, 1, 1).unwrap().contains("no GPU with number 1; there is one, number 0"));
        assert!(of(true, 13_010, 4, 7).unwrap().contains("there are 4"));
        assert_eq!(of(true, 13_010, 1, 0), None);
    }

    #[test]
    fn a_device_that_is_too_old_is_named() {
        let error = OpenError::Capability { number: 2, name: "Tesla V100".to_owned(), capability: (7, 0) };
        assert_eq!(
            error.to_string(),
            "GPU 2 (Tesla V100) has compute capability 7.0; 8.0 (Ampere) or newer is needed"
        );
    }
}
