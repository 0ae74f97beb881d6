//! From training data and checkpoints to features.
//!
//! - [`data`] reads samples and turns them into tokens and labels
//! - [`checkpoint`] reads model folders, LoRA adapters, optimizer moments and trainer states, and names them by digest
//! - [`family`] describes the decoder that a configuration means: sizes, form, tensors
//! - [`model`] is the decoder with an explicit backward, written once against the [`model::Backend`] trait
//! - [`gradient`] turns packed batches into per-sample losses, embeddings and gradients
//! - [`projection`] makes long gradients short
//! - [`pipeline`] ties them together into the job that fills a store
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod data;
pub mod family;
pub mod gradient;
pub mod model;
pub mod params;
pub mod pipeline;
pub mod projection;
