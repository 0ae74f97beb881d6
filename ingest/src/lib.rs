//! From text and checkpoints to per-sample features: model folders, the differentiable decoder, the gradient engine.
//!
//! - [`checkpoint`] reads model folders, LoRA adapters, optimizer moments and trainer states, and names them by digest
//! - [`model`] is the decoder with an explicit backward, written once against the [`model::Backend`] trait
//! - [`gradient`] turns packed batches into per-sample losses, embeddings and gradients
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod gradient;
pub mod model;
pub mod params;
