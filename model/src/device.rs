//! Devices and backends by name.

use std::fmt;
use std::str::FromStr;

use crate::backend::{BackendError, ComputePrecision, HEAD_ROWS, LOGIT_BYTES, LOGITS_BUDGET, head_rows};
use crate::candle::Candle;
use crate::cpu::Cpu;

/// A backend and where it computes. Who runs one matches all of them, so that the compiler names the places
/// that a new one has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// [`crate::cpu`]
    #[default]
    Cpu,
    /// [`crate::candle`]
    Candle(CandleDevice),
    /// The crate `gstore-cuda` on the NVIDIA GPU of this number.
    Cuda(usize),
}

/// Where the candle backend computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandleDevice {
    /// On the CPU.
    Host,
    /// On the CUDA device of this number, where candle is built with its feature `cuda` (here `candle-cuda`).
    Cuda(usize),
    /// On the Metal device of this number, where candle is built with its feature `metal`.
    Metal(usize),
}

impl CandleDevice {
    /// The candle backend on this device.
    ///
    /// # Errors
    /// A device that is not there, or that candle is not built for.
    pub fn open(self) -> Result<Candle, BackendError> {
        let missing = |error: candle_core::Error| {
            BackendError::new(format!("no device for `{}`: {error}", Device::Candle(self)))
        };
        let device = match self {
            CandleDevice::Host => return Ok(Candle::cpu()),
            CandleDevice::Cuda(number) => candle_core::Device::new_cuda(number),
            CandleDevice::Metal(number) => candle_core::Device::new_metal(number),
        };
        Ok(Candle::new(device.map_err(missing)?))
    }
}

impl Device {
    /// The names, for help and messages; N counts the devices from 0 on.
    pub const NAMES: &'static str =
        "cpu (fastest on a CPU), `cuda[:N]` (an NVIDIA GPU), candle, `candle:cuda[:N]` or `candle:metal[:N]`";

    /// The feature of a build that this device needs, and whether this build has it.
    fn feature(self) -> Option<(&'static str, bool)> {
        match self {
            Device::Cpu | Device::Candle(CandleDevice::Host) => None,
            Device::Candle(CandleDevice::Cuda(_)) => Some(("candle-cuda", cfg!(feature = "candle-cuda"))),
            Device::Candle(CandleDevice::Metal(_)) => Some(("metal", cfg!(feature = "metal"))),
            Device::Cuda(_) => Some(("cuda", cfg!(feature = "cuda"))),
        }
    }

    /// What is to be said of a device that this build cannot compute on.
    pub fn not_built(self) -> BackendError {
        let feature = self.feature().map_or("", |(feature, _)| feature);
        BackendError::new(DeviceError::NotBuilt { device: self, feature }.to_string())
    }

    /// Bytes that a weight of a linear layer takes, in all the forms in which it is held; what each output or
    /// row has besides is not counted.
    pub fn bytes_per_weight(self, compute: ComputePrecision) -> u64 {
        match self {
            // Panels for the forward pass and for the backward.
            Device::Cpu => 2 * Cpu::new(compute).bytes_per_weight(),
            Device::Candle(_) => 4,
            Device::Cuda(_) => match compute {
                ComputePrecision::F32 | ComputePrecision::Tf32 | ComputePrecision::Bf16x3 => 4,
                ComputePrecision::Bf16 => 2,
                ComputePrecision::I8 => 1,
            },
        }
    }

    /// Bytes that a value of an activation takes at most. On a GPU a tensor's bf16 roundings, which are made for a
    /// product, stay as long as the tensor, and so does the f32 of values in bf16 that are read in f32.
    pub fn bytes_per_activation(self, compute: ComputePrecision) -> u64 {
        match self {
            Device::Cpu | Device::Candle(_) => 4,
            Device::Cuda(_) => match compute {
                ComputePrecision::F32 | ComputePrecision::Tf32 | ComputePrecision::Bf16x3 => 4,
                ComputePrecision::Bf16 | ComputePrecision::I8 => 6,
            },
        }
    }

    /// Bytes that each of [`values_inside_layer`](crate::architectures::Decoder::values_inside_layer) takes as
    /// long as nothing reads it in f32: in bf16 on a GPU it is there as its rounding alone.
    pub fn bytes_inside_layer(self, compute: ComputePrecision) -> u64 {
        match (self, compute.product_precision()) {
            (Device::Cuda(_), ComputePrecision::Bf16) => 2,
            _ => self.bytes_per_activation(compute),
        }
    }

    /// How often a gradient of weights is held while it is used: the backend `cuda` copies it to the host, or
    /// to where it takes the form of a feature.
    pub fn gradient_copies(self) -> u64 {
        match self {
            Device::Cpu | Device::Candle(_) => 1,
            Device::Cuda(_) => 2,
        }
    }

    /// Bytes of the logits that a thread has at a time: those of a chunk of the head.
    pub fn logits_bytes(self, vocab: usize) -> u64 {
        let rows = match self {
            Device::Cpu | Device::Candle(_) => HEAD_ROWS,
            Device::Cuda(_) => head_rows(vocab, LOGITS_BUDGET),
        };
        (LOGIT_BYTES * rows) as u64 * vocab as u64
    }

    /// The precision where none is asked for: bf16 on a GPU, whose products are many times as fast as those
    /// of f32.
    pub fn default_compute(self) -> ComputePrecision {
        match self {
            Device::Cpu | Device::Candle(_) => ComputePrecision::F32,
            Device::Cuda(_) => ComputePrecision::Bf16,
        }
    }

    /// The name of the backend and its kind of device, without a number.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Candle(CandleDevice::Host) => "candle",
            Device::Candle(CandleDevice::Cuda(_)) => "candle:cuda",
            Device::Candle(CandleDevice::Metal(_)) => "candle:metal",
            Device::Cuda(_) => "cuda",
        }
    }

    /// Whether weights and activations are in the memory of the host.
    pub fn is_host(self) -> bool {
        matches!(self, Device::Cpu | Device::Candle(CandleDevice::Host))
    }

    /// The first device of its sort.
    pub fn first(self) -> Device {
        match self {
            Device::Cuda(_) => Device::Cuda(0),
            Device::Candle(CandleDevice::Cuda(_)) => Device::Candle(CandleDevice::Cuda(0)),
            Device::Candle(CandleDevice::Metal(_)) => Device::Candle(CandleDevice::Metal(0)),
            Device::Cpu | Device::Candle(CandleDevice::Host) => self,
        }
    }

    /// Its number among those of its sort.
    pub fn number(self) -> usize {
        match self {
            Device::Cpu | Device::Candle(CandleDevice::Host) => 0,
            Device::Candle(CandleDevice::Cuda(number) | CandleDevice::Metal(number))
            | Device::Cuda(number) => number,
        }
    }

    /// An error unless the devices `beside` it compute the same bits: those of another kind do not, nor does
    /// a GPU of another model. `gpu_names` are those of [`gpu_names!`](crate::gpu_names).
    ///
    /// # Errors
    /// Such a device, and those of `gpu_names`. A GPU that is not there is refused when it is opened, with
    /// what there is.
    pub fn check_beside(
        self,
        beside: &[Device],
        gpu_names: impl FnOnce() -> Result<Vec<String>, BackendError>,
    ) -> Result<(), BackendError> {
        if let Some(other) = beside.iter().find(|other| self.first() != other.first()) {
            return Err(unlike([self, *other].map(|device| format!("`{device}`"))));
        }
        let (Device::Cuda(number), false) = (self, beside.is_empty()) else { return Ok(()) };
        let names = gpu_names()?;
        let Some(name) = names.get(number) else { return Ok(()) };
        let mut others =
            beside.iter().filter_map(|device| Some((device.number(), names.get(device.number())?)));
        match others.find(|(_, found)| *found != name) {
            Some(other) => {
                Err(unlike([(number, name), other].map(|(number, name)| format!("GPU {number} ({name})"))))
            }
            None => Ok(()),
        }
    }

    /// An error of this device, with its name.
    pub fn failed(self, error: BackendError) -> BackendError {
        error.within(format_args!("`{self}`"))
    }

    /// An error unless the backend computes in this precision.
    pub fn check(self, compute: ComputePrecision) -> Result<(), BackendError> {
        let others = match (self, compute) {
            (_, ComputePrecision::F32)
            | (Device::Cpu, ComputePrecision::Bf16 | ComputePrecision::Bf16x3)
            | (Device::Cuda(_), ComputePrecision::Tf32 | ComputePrecision::Bf16 | ComputePrecision::I8) => {
                return Ok(());
            }
            (_, ComputePrecision::Bf16x3) => "the backend `cpu` does",
            (_, ComputePrecision::Bf16) => "the backends `cpu` and `cuda` do",
            (_, ComputePrecision::Tf32 | ComputePrecision::I8) => "the backend `cuda` does",
        };
        let name = compute.name();
        Err(BackendError::new(format!("the backend `{self}` does not compute in {name}; {others}")))
    }
}

/// Devices whose results differ.
fn unlike([a, b]: [String; 2]) -> BackendError {
    BackendError::new(format!(
        "{a} and {b} do not compute the same bits, and which of them would compute what is left to chance: give \
         devices of one backend and model"
    ))
}

/// As on the command line.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_host() {
            true => f.write_str(self.name()),
            false => write!(f, "{}:{}", self.name(), self.number()),
        }
    }
}

/// A name that is no backend, or one that this build does not have.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum DeviceError {
    #[error("no backend `{0}`; give {names}, with N as 1 for the second device", names = Device::NAMES)]
    Unknown(String),
    #[error("the backend `{device}` is not in this build, which was made without the feature `{feature}`")]
    NotBuilt { device: Device, feature: &'static str },
}

/// A device that this build cannot use is refused here, before any work.
impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Device, DeviceError> {
        let unknown = || DeviceError::Unknown(name.to_owned());
        let number = |rest: &str| match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok(0),
            Some(digits) => digits.parse().map_err(|_| unknown()),
            None => Err(unknown()),
        };
        let candle = |rest: &str| match (rest, rest.strip_prefix(":cuda"), rest.strip_prefix(":metal")) {
            ("", ..) => Ok(CandleDevice::Host),
            (_, Some(rest), _) => Ok(CandleDevice::Cuda(number(rest)?)),
            (_, _, Some(rest)) => Ok(CandleDevice::Metal(number(rest)?)),
            _ => Err(unknown()),
        };
        let device = match (name, name.strip_prefix("cuda"), name.strip_prefix("candle")) {
            ("cpu", ..) => Device::Cpu,
            (_, Some(rest), _) => Device::Cuda(number(rest)?),
            (_, _, Some(rest)) => Device::Candle(candle(rest)?),
            _ => return Err(unknown()),
        };
        match device.feature() {
            Some((feature, false)) => Err(DeviceError::NotBuilt { device, feature }),
            _ => Ok(device),
        }
    }
}

/// Computes with the backend of a device: `backend => ...`, or `cpu => ..., backend => ...` where the CPU is
/// used in another way. A backend that does not open, or does not compute in the precision, returns what `error`
/// makes of a [`BackendError`] from the function. A crate that uses this has a feature `cuda` with which it
/// depends on `gstore-cuda`.
#[macro_export]
macro_rules! with_backend {
    (($device:expr, $precision:expr), $error:expr, $backend:ident => $on:expr $(,)?) => {
        $crate::with_backend!(($device, $precision), $error, $backend => $on, $backend => $on)
    };
    (($device:expr, $precision:expr), $error:expr, $cpu:ident => $on_cpu:expr, $backend:ident => $on_other:expr $(,)?) => {{
        $crate::Device::check($device, $precision).map_err($error)?;
        match $device {
            $crate::Device::Cpu => {
                let $cpu = $crate::cpu::Cpu::new($precision);
                $on_cpu
            }
            $crate::Device::Candle(on) => {
                let $backend = on.open().map_err($error)?;
                $on_other
            }
            #[cfg(feature = "cuda")]
            $crate::Device::Cuda(number) => {
                let $backend = gstore_cuda::Cuda::open(number, $precision).map_err($error)?;
                $on_other
            }
            #[cfg(not(feature = "cuda"))]
            device @ $crate::Device::Cuda(_) => {
                match ::std::result::Result::Err::<::std::convert::Infallible, _>(device.not_built())
                    .map_err($error)? {}
            }
        }
    }};
}

/// The names of this machine's NVIDIA GPUs, of which there is at least one, by their numbers; or a
/// [`BackendError`]. A crate that uses this has the feature of [`with_backend!`](crate::with_backend).
#[macro_export]
macro_rules! gpu_names {
    () => {{
        #[cfg(feature = "cuda")]
        let names =
            gstore_cuda::Driver::names().map_err(|error| $crate::BackendError::new(error.to_string()));
        #[cfg(not(feature = "cuda"))]
        let names: ::std::result::Result<
            ::std::vec::Vec<::std::string::String>,
            $crate::BackendError,
        > = ::std::result::Result::Err($crate::Device::Cuda(0).not_built());
        names
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutOfMemory;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        let candles = [CandleDevice::Host, CandleDevice::Cuda(0), CandleDevice::Metal(3)];
        for device in candles.map(Device::Candle).into_iter().chain([Device::Cuda(0), Device::Cuda(7)]) {
            match device.to_string().parse::<Device>() {
                Ok(read) => assert_eq!(read, device),
                Err(DeviceError::NotBuilt { device: refused, feature }) => {
                    assert_eq!(refused, device);
                    assert_eq!(device.feature(), Some((feature, false)));
                }
                Err(other) => panic!("{other}"),
            }
        }
        for name in [
            "",
            "gpu",
            "cuda:",
            "cuda1",
            "candle:",
            "candlecuda",
            "candle:cuda:",
            "candle:cuda1",
            "candle:metal:x",
        ] {
            assert!(matches!(name.parse::<Device>(), Err(DeviceError::Unknown(_))), "{name}");
        }
    }

    #[cfg(not(any(feature = "candle-cuda", feature = "cuda")))]
    #[test]
    fn a_device_that_this_build_lacks_is_refused_by_its_feature() {
        let error = |name: &str| name.parse::<Device>().unwrap_err().to_string();
        assert_eq!(
            error("candle:cuda"),
            "the backend `candle:cuda:0` is not in this build, which was made without the feature `candle-cuda`"
        );
        assert_eq!(
            error("cuda"),
            "the backend `cuda:0` is not in this build, which was made without the feature `cuda`"
        );
    }

    #[test]
    fn devices_are_alike_whatever_their_number() {
        let sorts: [fn(usize) -> Device; 5] = [
            |_| Device::Cpu,
            |_| Device::Candle(CandleDevice::Host),
            |number| Device::Candle(CandleDevice::Cuda(number)),
            |number| Device::Candle(CandleDevice::Metal(number)),
            Device::Cuda,
        ];
        let names = || Ok(vec!["H100".to_owned(); 2]);
        for (i, a) in sorts.iter().enumerate() {
            assert_eq!(a(0).is_host(), i < 2, "{}", a(0));
            for (j, b) in sorts.iter().enumerate() {
                let checked = a(0).check_beside(&[b(1)], names);
                assert_eq!(checked.is_ok(), i == j, "{checked:?}");
            }
            assert_eq!(a(1).first(), a(0));
        }
        assert_eq!(sorts.map(|sort| sort(3).number()), [0, 0, 3, 3, 3]);
    }

    #[test]
    fn gpus_of_other_models_are_unlike() {
        let names = || Ok(["H100", "H100", "A100"].map(str::to_owned).to_vec());
        let check = |first: usize, beside: &[usize]| {
            let beside: Vec<Device> = beside.iter().copied().map(Device::Cuda).collect();
            Device::Cuda(first).check_beside(&beside, names)
        };
        assert!(check(0, &[1]).is_ok());
        let unlike = check(0, &[1, 2]).unwrap_err().to_string();
        assert!(unlike.starts_with("GPU 0 (H100) and GPU 2 (A100) do not compute the same bits"), "{unlike}");
        // Refused when they are opened.
        assert!(check(0, &[7]).is_ok() && check(7, &[0]).is_ok());
        let none = || Err(BackendError::new("no driver"));
        assert!(Device::Cuda(0).check_beside(&[], none).is_ok(), "there is nothing to look up");
        assert!(Device::Cuda(0).check_beside(&[Device::Cuda(1)], none).is_err());
        let failed = Device::Cuda(1).failed(BackendError::out_of_memory("full"));
        assert!(failed.is_out_of_memory() && failed.to_string() == "`cuda:1`: full", "{failed}");
    }

    #[test]
    fn a_gpu_has_logits_of_more_rows_at_a_time() {
        for (vocab, rows) in [(5, 4096), (50_304, 1280), (128_256, 512), (256_000, 256), (1_000_000, 128)] {
            let bytes = 8 * vocab as u64;
            assert_eq!(Device::Cuda(1).logits_bytes(vocab), rows * bytes, "{vocab}");
            for other in [Device::Cpu, Device::Candle(CandleDevice::Cuda(0))] {
                assert_eq!(other.logits_bytes(vocab), 128 * bytes, "{other}, {vocab}");
            }
        }
    }

    #[test]
    fn a_precision_that_a_backend_lacks_is_refused() {
        let (cpu, gpu, candle) = (Device::Cpu, Device::Cuda(0), Device::Candle(CandleDevice::Host));
        for (device, lacks) in
            [(cpu, vec!["tf32", "i8"]), (gpu, vec!["bf16x3"]), (candle, vec!["tf32", "bf16x3", "bf16", "i8"])]
        {
            for name in ["f32", "tf32", "bf16x3", "bf16", "i8"] {
                let checked = device.check(ComputePrecision::parse(name).unwrap());
                assert_eq!(checked.is_err(), lacks.contains(&name), "{device}, {name}");
            }
            assert!(device.check(device.default_compute()).is_ok());
        }
        assert_eq!(
            cpu.check(ComputePrecision::Tf32).unwrap_err().to_string(),
            "the backend `cpu` does not compute in tf32; the backend `cuda` does"
        );
        assert_eq!(
            gpu.check(ComputePrecision::Bf16x3).unwrap_err().to_string(),
            "the backend `cuda:0` does not compute in bf16x3; the backend `cpu` does"
        );
        assert_eq!(
            [cpu, gpu, candle].map(Device::default_compute).map(ComputePrecision::name),
            ["f32", "bf16", "f32"]
        );
    }
}
