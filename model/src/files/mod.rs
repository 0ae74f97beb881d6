//! Files of models, read and written: safetensors, restricted pickles and JSON.
//!
//! Invariants
//! - names, shapes and element types are checked before any weight is read
//! - no byte of a file is executed, and no file can cause a panic

mod error;
pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod pickle;
mod tensor_map;
mod tensor_writer;
mod tensors;
mod torch;
mod torch_writer;
mod until_error;

pub use error::ModelError;
pub use names::canonical;
pub use pickle::{PickleLimits, PickleValue, parse as parse_pickle};
pub use tensor_map::TensorMap;
pub use tensor_writer::write_tensors;
pub use tensors::{TensorEntry, TensorSet};
pub use torch::{TorchArchive, TorchError};
pub use torch_writer::{SavedValue, write_torch};
