//! Feature computation: from samples and checkpoints to stored features.
//!
//! - [`gradient`] turns packed batches into per-sample losses, embeddings and gradients
//! - [`curvature`] makes passes over a model for covariances, squared gradients and gradients, layer by layer
//! - [`projection`] makes long gradients short
//! - [`pipeline`] ties them together into the job that fills a store

#![forbid(unsafe_code)]

pub mod curvature;
pub mod gradient;
pub mod pipeline;
pub mod projection;
