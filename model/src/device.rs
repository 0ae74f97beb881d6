//! Backends by name.

use std::fmt;
use std::str::FromStr;

use crate::backend::{BackendError, Compute};
use crate::candle::Candle;
use crate::cpu::Cpu;

/// A backend and where it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// [`crate::cpu`]
    #[default]
    Cpu,
    /// [`crate::candle`] on the CPU.
    Candle,
    /// [`crate::candle`] on the CUDA device of this number, where candle is built with its feature `cuda`.
    CandleCuda(usize),
    /// [`crate::candle`] on the Metal device of this number, where candle is built with its feature `metal`.
    CandleMetal(usize),
}

impl Device {
    /// Bytes that a weight of a linear layer takes, in all the forms in which it is held.
    pub fn bytes_per_weight(self, compute: Compute) -> u64 {
        match self {
            // Panels for the forward pass and for the backward.
            Device::Cpu => 2 * Cpu::new(compute).bytes_per_weight(),
            _ => 4,
        }
    }

    /// The candle backend on this device; on the CPU for [`Device::Cpu`].
    ///
    /// # Errors
    /// A device that is not there, or that candle is not built for.
    pub fn candle(self) -> Result<Candle, BackendError> {
        let missing = |error: candle_core::Error| BackendError(format!("no device for `{self}`: {error}"));
        let device = match self {
            Device::Cpu | Device::Candle => return Ok(Candle::cpu()),
            Device::CandleCuda(number) => candle_core::Device::new_cuda(number),
            Device::CandleMetal(number) => candle_core::Device::new_metal(number),
        };
        Ok(Candle::new(device.map_err(missing)?))
    }

    /// An error unless the backend computes in this precision.
    pub fn check(self, compute: Compute) -> Result<(), BackendError> {
        match (self, compute) {
            (Device::Cpu, _) | (_, Compute::F32) => Ok(()),
            (_, other) => Err(BackendError(format!(
                "the backend `{self}` computes in f32 alone, not in {}; the backend `cpu` does",
                other.name()
            ))),
        }
    }
}

/// As on the command line.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Candle => f.write_str("candle"),
            Device::CandleCuda(number) => write!(f, "candle:cuda:{number}"),
            Device::CandleMetal(number) => write!(f, "candle:metal:{number}"),
        }
    }
}

/// No name of a backend.
#[derive(Debug, thiserror::Error)]
#[error(
    "no backend `{0}`; there are cpu, candle, candle:cuda, candle:metal, and candle:cuda:1 for the second device"
)]
pub struct UnknownDevice(String);

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Device, UnknownDevice> {
        let unknown = || UnknownDevice(name.to_owned());
        let number = |rest: &str| match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok(0),
            Some(digits) => digits.parse().map_err(|_| unknown()),
            None => Err(unknown()),
        };
        match name {
            "cpu" => Ok(Device::Cpu),
            "candle" => Ok(Device::Candle),
            _ => match (name.strip_prefix("candle:cuda"), name.strip_prefix("candle:metal")) {
                (Some(rest), _) => number(rest).map(Device::CandleCuda),
                (_, Some(rest)) => number(rest).map(Device::CandleMetal),
                _ => Err(unknown()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Candle, Device::CandleCuda(0), Device::CandleMetal(3)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("candle:cuda".parse::<Device>().unwrap(), Device::CandleCuda(0));
        for name in ["", "gpu", "cuda", "candle:", "candle:cuda:", "candle:cuda1", "candle:metal:x"] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_cpu_backend_rounds_factors() {
        assert!(Device::Cpu.check(Compute::Bf16).is_ok());
        assert!(Device::Candle.check(Compute::F32).is_ok());
        assert!(Device::Candle.check(Compute::Bf16).unwrap_err().0.contains("candle"));
    }
}
