//! Gradients of parameters: sinks that accumulate the factors of a backward pass, for one
//! sample or for a batch.

mod layout;
mod lora;
mod summed;

pub use layout::{GradLayout, Place, RowOrder, Target, gradient_width};
pub use lora::{HostFactors, HostModule, LoraFactors, LoraSink};
pub use summed::Summed;
