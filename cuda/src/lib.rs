//! The backend of models on NVIDIA GPUs, and products of stored rows there.
//!
//! - `kernels/` has the device code, in CUDA C that an ordinary C++ compiler accepts too
//! - `runtime` is the boundary to a device: memory, launches of kernels, products of matrices
//! - [`Driver`] is an NVIDIA device, through its driver and cuBLAS, which are loaded when it is opened
//! - `Emulator` (feature `emulate`, for tests) runs the same kernels on the CPU, slowly
//! - [`Cuda`] is the backend over either of them, and [`CudaScan`] multiplies stored rows with queries
//!
//! Code that reaches memory and kernels of a device is unsafe, and is confined to `driver/raw.rs`,
//! `driver/memory.rs`, `driver/pinned.rs`, `driver/blas.rs`, `driver/lt.rs` and `emulator.rs`.

#![deny(unsafe_code)]

mod backend;
mod driver;
#[cfg(feature = "emulate")]
mod emulator;
mod kernels;
mod runtime;

pub use backend::{Cuda, CudaCache, CudaLinear, CudaRows, CudaScan, CudaTensor};
pub use backend::{DeviceForm, DeviceModule, DeviceSigns, DeviceSums, FormPlace, Formed, ModuleSides};
pub use driver::{DeviceMemory, Driver, OpenError};
#[cfg(feature = "emulate")]
pub use emulator::{EmulatedMemory, Emulator};
pub use runtime::{Added, Arithmetic, Launch, Memory, Precision, Product, Runtime};
