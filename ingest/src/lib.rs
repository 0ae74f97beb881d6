//! Training data and models in, per-sample features out: reading, templates, gradients, projections.
#![forbid(unsafe_code)]

pub mod data;
pub mod params;
pub mod projection;
