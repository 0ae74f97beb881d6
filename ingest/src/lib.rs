//! From training data and models to features: reading, templates, per-sample gradients, projections, and the job that ties them together.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod data;
pub mod params;
pub mod projection;
