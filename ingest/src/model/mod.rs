//! Differentiable decoders: an explicit forward and backward for each layer, written once against a narrow backend.
//!
//! Invariants
//! - no autograd: each layer saves what its backward needs, hands the factors of weight gradients to a sink and returns its input gradient
//! - the passes know a model by its [`crate::family::Decoder`] alone, and tensors by their [`Backend`] alone
//! - samples are packed without padding; attention never crosses a sample
//! - logits exist only for scored rows, and only a chunk of rows at a time
//! - nothing is saved and nothing is differentiated below the lowest slot that a sink wants

mod backend;
mod backward;
pub mod cpu;
mod depth;
mod forward;
mod layer;
mod layer_backward;
mod layout;
pub mod portable;
mod rope;
mod sink;
mod weights;

pub use backend::{
    Activation, AttentionForm, AttentionPlan, AttentionSpan, Backend, BackendError, ColumnMap, HEAD_ROWS,
    HeadOutput, HeadTap, HeadTask, Heads, LinearWeights, LoraPart, NormForm, NormKind, NormWeights,
    Objective, SampleRows,
};
pub use forward::{Forward, Keep, LastRows, Pass};
pub use layout::{Layout, PackedSample, Reduction};
pub use sink::{NormFactors, Sink, Slot, TableFactors};
pub use weights::{LoadError, Merge, Model};
