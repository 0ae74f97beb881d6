//! The tests of this crate's public interface in one program: linked once, run by name.

mod common;
mod golden_prefilter;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
