//! Numbers with what they count.

pub use gstore_core::{many, many_of};
