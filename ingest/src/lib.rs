//! Feature computation: from samples and checkpoints to stored features.
//!
//! - [`gradient`] turns packed batches into per-sample losses, embeddings and gradients
//! - [`projection`] makes long gradients short
//! - [`pipeline`] ties them together into the job that fills a store

#![forbid(unsafe_code)]

pub mod gradient;
pub mod pipeline;
pub mod projection;
