//! Gradients of parameters: sinks that accumulate factors, for one sample or for a batch.

mod layout;
mod lora;
mod summed;

pub use layout::{GradLayout, Place, RowOrder, Target, gradient_width};
pub use lora::{HostFactors, HostModule, LoraFactors, LoraSink};
pub use summed::Summed;
