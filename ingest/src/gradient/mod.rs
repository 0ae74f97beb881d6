//! Per-sample losses, embeddings and gradients of one checkpoint, and the feature kinds made of gradients.
//!
//! Invariants
//! - the unit of work is a batch of whole samples; a call runs on the calling thread and touches nothing shared
//! - the bits of a result depend on the batch that it was in, never on threads or on earlier calls
//! - gradients are of the mean cross-entropy over a sample's scored tokens, in parameter order

mod engine;
mod feature;
mod lora;
mod weights;

pub use engine::{CheckpointSource, Engine, EngineError, SampleOutput, Want};
pub use feature::{AdamParams, BiasCorrection, EpsPlacement, adam_feature, sign_feature};
pub use weights::WeightSink;
