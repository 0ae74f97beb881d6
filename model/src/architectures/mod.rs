//! Model families: decoder descriptions from `config.json`.
//!
//! Each architecture is one small file over shared blocks.
//!
//! Invariants
//! - a setting that would change the mathematics is implemented or refused by name, never ignored
//! - a family only fills in a [`Decoder`]: it adds no code to the engine
//! - the size of a description is bounded, whatever the numbers in the file

mod blocks;
mod decoder;
mod family;
mod gemma2;
mod gpt2;
mod gpt_neox;
mod llama;
mod memory;
mod mistral;
mod olmo2;
mod options;
mod phi3;
mod qwen2;
mod qwen3;
mod registry;
mod rope;
mod windows;

pub use decoder::{
    Decoder, LinearId, LinearKind, Mlp, NormId, NormPlace, Param, PositionEncoding, QkNorm, Residual,
    RopeScaling, RowRuns, TensorRole, WeightSlice,
};
pub use gpt_neox::transformers_name;
