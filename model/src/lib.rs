//! Language models: weights, architectures, and an explicit forward and backward over a narrow backend.
//!
//! In layers, each of which uses those before it alone:
//! - `files` reads safetensors, restricted pickles and JSON; [`params`] are lists of named tensors
//! - `backend` is the boundary between a model and what computes it: forms, plans and the [`Backend`] trait
//! - [`architectures`] describes the decoder that a configuration means: sizes, form, tensors
//! - [`weights`] reads model folders, LoRA adapters, optimizer moments and trainer states, and names them by
//!   digest
//! - [`Model`] runs it forward and backward, written once against the [`Backend`] trait
//! - [`gradients`] says where the factors of a backward pass are added up
//! - [`cpu`] and [`candle`] are the backends; they know nothing of models
//!
//! Apart from them, [`hub`] finds model folders, on this machine or on the Hugging Face Hub.

#![deny(unsafe_code)]

pub mod architectures;
#[macro_use]
mod backend;
pub mod candle;
pub mod cpu;
mod device;
mod files;
pub mod gradients;
pub mod hub;
mod oom_backoff;
pub mod params;
mod passes;
pub mod weights;

pub use backend::{
    Activation, Attention, AttentionDropout, AttentionForm, AttentionPlan, AttentionSpan, Backend,
    BackendError, CacheSpan, CachedAttention, ColumnMap, ComputePrecision, HEAD_ROWS, HeadOutput, HeadTap,
    HeadTask, Heads, LOGITS_BUDGET, LinearWeights, LoraOperands, MultiDevice, NormFactors, NormForm,
    NormKind, NormWeights, Objective, head_rows,
};
pub use oom_backoff::{Attempt, OomBackoff, OutOfMemory, cut_note};
/// Checks of the sizes of operands, for backends.
pub mod sizes {
    pub use crate::backend::{check, check_rows, check_spans};
}

pub use device::{CandleDevice, Device, DeviceError};
pub use passes::{
    Direction, Dropout, Forward, ForwardOptions, KeyValues, LastRows, Layout, LinearFactors, LoadError,
    LoraWeights, Model, NextTokens, PackedSample, Reduction, SavedActivations, Sink, Slot, StartingPoint,
    TableFactors,
};
