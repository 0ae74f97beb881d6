//! Differentiable decoders: an explicit forward and backward for each layer, written once against a narrow backend.
//!
//! Invariants
//! - no autograd: each layer saves what its backward needs, hands the factors of weight gradients to a sink and returns its input gradient
//! - samples are packed without padding; attention never crosses a sample
//! - logits exist only for scored rows, and only a chunk of rows at a time
//! - nothing is saved and nothing is differentiated below the lowest layer that a sink wants

mod backend;
mod backward;
pub mod cpu;
mod forward;
mod layout;
mod llama;
pub mod portable;
mod rope;
mod sink;

pub use backend::{
    AttentionPlan, AttentionSpan, Backend, BackendError, HeadOutput, HeadTap, Heads, LinearWeights, LoraPart,
    SampleRows,
};
pub use forward::{Forward, LastRows};
pub use layout::{Layout, PackedSample};
pub use llama::{Llama, LoadError, Merge};
pub use sink::Sink;
