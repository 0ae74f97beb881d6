//! Losses, embeddings and gradients per sample at one checkpoint, and the features computed from them.
//!
//! Invariants
//! - the unit of work is a batch of whole samples; a call runs on the calling thread and
//!   touches nothing shared
//! - results never depend on threads or on earlier calls
//! - gradients are of a sample's loss: the reduction of the losses of its scored tokens
//! - weights, their gradients and their moments are `[out, input]`, whatever the file's order

#[cfg(feature = "on-cuda")]
mod cuda;
mod device;
mod energies;
mod engine;
mod error;
mod factored;
mod features;
mod forms;
mod kurtosis;
mod options;
mod projector;
mod runner;
mod tracked;
mod weights;

pub use device::GradientBackend;
pub(crate) use engine::check_sample;
pub use engine::{CheckpointSource, Engine};
pub use error::EngineError;
pub use features::GradFeatures;
pub use forms::{AdamParams, BiasCorrection, EpsPlacement, GradForm};
pub use options::{EngineOptions, LossForm, RequestedOutputs, SampleOutput};
pub use projector::Projector;
pub use tracked::{ModuleSelection, SelectionError, tensor_specs};
pub use weights::module_shapes;
