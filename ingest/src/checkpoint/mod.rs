//! What training left on disk: model folders, LoRA adapters, optimizer moments, trainer states.
//!
//! Invariants
//! - opening checks names, shapes and element types before any weight is read
//! - nothing that is not implemented is ignored silently: it is refused by name
//! - no byte of a file is executed, and no file can cause a panic

mod adapter;
mod config;
mod digest;
mod error;
mod folder;
mod json;
mod moments;
mod names;
pub mod pickle;
mod schedule;
mod tensors;
mod torch;
mod trainer;

pub use adapter::{Adapter, LoraModule};
pub use config::{LlamaConfig, RopeScaling, SUPPORTED_ARCHITECTURES};
pub use digest::CheckpointId;
pub use error::ModelError;
pub use folder::ModelFolder;
pub use moments::{Moments, MomentsError};
pub use names::{LinearId, LinearKind, canonical};
pub use schedule::Schedule;
pub use tensors::{TensorEntry, TensorSet};
pub use torch::{TorchArchive, TorchError};
pub use trainer::{LogEntry, TrainerError, TrainerState, peak_rate};
