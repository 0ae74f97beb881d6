//! Vectors of samples that are given with a question, as an ingest of the same records would compute them.
//!
//! Invariants
//! - a vector is handed out only if its space, encoding and precision are those of the stored feature that it
//!   is to be compared with, and the weights have the digest of the feature's checkpoint
//! - its bits are those that an ingest would store before rounding: the CPU backend's results do
//!   not depend on the batch

mod error;
mod locate;
mod reproduce;
mod sample_encoder;
mod texts;

pub use error::SampleEncoderError;
pub use sample_encoder::{SampleEncoder, SampleEncoderOptions, request_like};
