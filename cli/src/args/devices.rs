//! The devices that compute a command together.

use std::str::FromStr;

use clap::Args;
use gstore_model::{Device, DeviceError};

use super::backends;

/// What computes.
#[derive(Args, Debug, Clone)]
pub struct DevicesArgs {
    /// What computes
    #[arg(long, alias = "device", visible_alias = "devices", value_name = "NAME", value_delimiter = ',', num_args = 1.., default_value = "cpu",
        help = format!("{}; several of one kind (cuda:0,cuda:1), or all NVIDIA GPUs (all), share the work", backends()))]
    pub backend: Vec<DeviceName>,
}

/// A device, or all GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// This one.
    One(Device),
    /// All NVIDIA GPUs of the machine.
    All,
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<DeviceName, DeviceError> {
        match name {
            // A build without their backend refuses the first of them.
            "all" => "cuda".parse::<Device>().map(|_| DeviceName::All),
            name => name.parse().map(DeviceName::One),
        }
    }
}
