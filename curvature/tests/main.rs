//! The tests of this crate's public interface in one program: linked once, run by name.

mod acceptance;
mod bad_input;
mod blocks;
mod common;
mod golden_precond;
mod invariants;
mod source;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
