//! Differentiable decoders: an explicit forward and backward of each layer over the backend trait.
//!
//! Invariants
//! - no autograd: each layer saves what its backward needs, hands the factors of weight gradients to a sink
//!   and returns its input gradient
//! - the passes know a model by its [`crate::architectures::Decoder`] alone, and tensors by their
//!   [`crate::Backend`] alone
//! - samples are packed without padding; attention never crosses a sample
//! - logits exist only for scored rows, and only a chunk of rows at a time
//! - a sequence may be fed in parts of any size: keys and values are kept, and positions go on
//! - nothing is saved and nothing is differentiated below the lowest slot that a sink wants
//! - a tangent pass goes up over what a forward pass saved: how the logits move with the weights

mod backward;
mod depth;
mod dropout;
mod extend;
mod forward;
mod head;
mod layer;
mod layer_backward;
mod layout;
mod load;
mod map;
mod model;
mod parts;
mod perturbed;
mod rope;
mod sink;
mod tangent;

pub use dropout::Dropout;
pub use extend::{KeyValues, NextTokens};
pub use forward::{Forward, ForwardOptions, LastRows, SavedActivations};
pub use layout::{Layout, PackedSample, Reduction};
pub use load::LoadError;
pub use map::LoraWeights;
pub use model::Model;
pub use perturbed::StartingPoint;
pub use sink::{LinearFactors, Sink, Slot, TableFactors};
pub use tangent::Direction;
