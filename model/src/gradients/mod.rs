//! Gradients of parameters: sinks that accumulate factors, for one sample or for a batch.

mod formed;
mod layout;
mod lora;
mod summed;

pub use formed::{FormedSink, GradientBuffers};
pub use layout::{GradLayout, RowOrder, SlotOffsets, TensorSlice, gradient_width};
pub use lora::{HostFactors, HostModule, LoraFactors, LoraSink};
pub use summed::BatchSumSink;
